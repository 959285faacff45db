from . import viz
from .diagrams import moving_panels, unet_diagram
from .tries import try_it
from .widgets import FrameSlider, SketchPad

__all__ = ["FrameSlider", "SketchPad", "moving_panels", "try_it", "unet_diagram", "viz"]
