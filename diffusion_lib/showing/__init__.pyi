from . import viz
from .diagrams import unet_diagram
from .tries import try_it
from .widgets import FrameSlider, SketchPad

__all__ = ["FrameSlider", "SketchPad", "try_it", "unet_diagram", "viz"]
