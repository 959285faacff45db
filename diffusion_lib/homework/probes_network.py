"""Probes of what stands around the equations: embeddings, network blocks, guidance."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from diffusion_lib.homework.probing import SHAPE, Observation, Spy, filled, normal, trace


def timestep_embedding(f: Callable[..., Tensor], key: int) -> Observation:
    """Vaswani et al. 2017, section 3.5."""
    seen = Observation()
    t = torch.tensor([0, 1, 10, 250, 999]) + torch.tensor([0, 0, 1, 1, 0]) * (key % 7)
    for dim in (8, 6, 32):
        seen.case(f"S dim {dim}", partial(f, t, dim))
    seen.case("S max_period 100", lambda: f(t, 8, 100.0))

    def circles() -> Tensor:
        sines, cosines = f(t, 16).chunk(2, dim=1)
        return sines**2 + cosines**2

    seen.case("G sine squared plus cosine squared", circles)
    return seen


def res_block(f: Callable[..., Tensor], key: int) -> Observation:
    """Time as one bias per channel, between two convolutions."""
    from diffusion_lib.unet import ResBlock

    seen = Observation()
    for name, (channels, out) in {"S more channels": (8, 16), "S same channels": (8, 8)}.items():
        block = filled(ResBlock(channels, out, 12), key)
        x, time = normal(3, channels, 4, 6, key=key + 50), normal(3, 12, key=key + 51)
        seen.case(name, partial(f, block, x, time))
    block, square = filled(ResBlock(4, 4, 4), key), normal(4, 4, 4, 4, key=key + 52)
    seen.case("S all sides equal", lambda: f(block, square, square[0, 0]))
    return seen


def attention(f: Callable[..., Tensor], key: int) -> Observation:
    """Vaswani et al. 2017, eq. 1."""
    from diffusion_lib.unet import Attention

    seen = Observation()
    x, context = normal(2, 5, 64, key=key), normal(2, 3, 24, key=key + 1)
    cross, own = filled(Attention(64, 24), key + 2), filled(Attention(64), key + 3)
    seen.case("S from a context", lambda: f(cross, x, context))
    seen.case("S from itself", lambda: f(own, x))
    seen.case("S from a single token", lambda: f(cross, x, context[:, :1]))
    alike = context[:, :1].expand(-1, 3, -1)
    seen.case("G the mean of tokens that are all alike", lambda: f(cross, x, alike))
    trace(seen, f, cross, x, context)
    return seen


def guided(f: Callable[..., Callable[..., Tensor]], key: int) -> Observation:
    """Classifier-free guidance, Ho and Salimans 2022, eq. 6."""
    seen = Observation()
    x, label, t = normal(*SHAPE, key=key), torch.tensor([7, 2, 1, 9, 4]), torch.tensor([0, 1, 10, 20, 39])

    def step(scale: float) -> Tensor:
        return f(Spy(), label.clone(), scale)(x, t)

    for scale in (0.0, 1.0, 3.0):
        seen.case(f"S scale {scale:g}", partial(step, scale))

    blank = Spy(lambda x, t, label: torch.full_like(x, 1.0 if label is None else 3.0))
    seen.case("G between the answers 1 and 3, at scale 2", lambda: f(blank, label.clone(), 2.0)(x, t))

    def third_call() -> Tensor:
        model = f(Spy(), label.clone(), 3.0)
        return [model(x, t) for _ in range(3)][-1]

    seen.case("T third step", third_call)

    seen.case("T labels after a step", lambda: _labels_after(f, x, t, label.clone()))
    return seen


def _labels_after(f: Callable[..., Callable[..., Tensor]], x: Tensor, t: Tensor, given: Tensor) -> Tensor:
    """The caller's labels after one guided step."""
    f(Spy(), given, 3.0)(x, t)
    return given
