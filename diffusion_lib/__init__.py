"""A small library for learning denoising diffusion: one idea per module, one equation per line.

Import from the module that holds the idea, for example ``from diffusion_lib.diffusion import q_sample``.
Nothing is loaded before it is needed, so ``import diffusion_lib`` itself costs almost nothing.
"""

__version__ = "0.1.0"
