"""Training: the recipe and the loop, what a run leaves behind, and weights on disk."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
