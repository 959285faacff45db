"""The probe of the way into latent space."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from diffusion_lib.homework.probing import Observation, filled, on_copies, trace, uniform


def encode_scaled(f: Callable[..., Tensor], key: int) -> Observation:
    """Latents of variance 1, Rombach et al. 2022, appendix G."""
    from diffusion_lib.latents import Autoencoder

    seen, raw, f = Observation(), f, on_copies(f)
    model, x = filled(Autoencoder(2, 4), key), 2 * uniform(3, 1, 8, 12, key=key + 50) - 1
    model.get_buffer("scale").fill_(0.7)  # is not the scale that is given
    for scale in (0.5, 1.0, 2.0, 0.02):
        seen.case(f"S scale {scale:g}", partial(f, model, x, scale))
    given = torch.tensor(0.3, dtype=torch.float64)
    seen.case("S the scale is a tensor", lambda: f(model, x, given))
    seen.case("S a single image", lambda: f(model, x[:1], 0.5))
    spread = model.encode(x).mean.std()  # type: ignore[operator]
    seen.case("G spread of latents, given their own spread", lambda: f(model, x, spread).std())
    seen.case("G half the scale, half the latent", lambda: f(model, x, 0.5) / 2 - f(model, x, 1.0))
    trace(seen, raw, model, x, given)
    return seen
