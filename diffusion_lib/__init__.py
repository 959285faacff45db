"""A small library for learning denoising diffusion: one idea per module, one equation per line.

The names of ``__init__.pyi`` can be imported from here, as in ``from diffusion_lib import q_sample, linear_betas``.
Nothing is loaded before it is needed, so ``import diffusion_lib`` itself costs almost nothing.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
