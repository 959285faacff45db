from . import viz
from .diagrams import unet_diagram
from .widgets import FrameSlider, SketchPad

__all__ = ["FrameSlider", "SketchPad", "unet_diagram", "viz"]
