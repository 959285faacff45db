"""The probe of inpainting's step."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from diffusion_lib.homework.probing import (
    SHAPE,
    SIXFOLD,
    Observation,
    levels,
    normal,
    on_copies,
    schedules,
    sixfold,
    trace,
    uniform,
)
from diffusion_lib.schedules import NoiseSchedule


def inpaint_step(f: Callable[..., Tensor], key: int) -> Observation:
    """Lugmayr et al. 2022, eq. 8."""
    seen, raw, f = Observation(), f, on_copies(f)
    x, known, noise = normal(*SHAPE, key=key), 2 * uniform(*SHAPE, key=key + 1) - 1, normal(*SHAPE, key=key + 2)
    own, square = _mask(5, 1, 3, 4, key=key + 3), normal(3, 3, 3, 3, key=key + 4)
    for name, schedule in schedules().items():
        seen.case(f"S {name}, t_prev = t − 1", partial(f, schedule, x, known, own, _arrivals(schedule), noise))
    short = schedules()["T = 40"]
    t_prev = _arrivals(short)
    seen.case("S one mask for all images", lambda: f(short, x, known, _mask(1, 1, 3, 4, key=key + 5), t_prev, noise))
    seen.case("S a mask for each channel", lambda: f(short, x, known, _mask(*SHAPE, key=key + 6), t_prev, noise))
    seen.case("S other order", lambda: f(short, x, known, own, t_prev.flip(0), noise))
    sides = (square / 3, square.flip(0), _mask(3, 1, 3, 3, key=key + 7), t_prev[1:4], square.flip(1))
    seen.case("S all sides equal", lambda: f(short, *sides))
    seen.case("S float32", lambda: f(short, x.float(), known.float(), own.float(), t_prev, noise.float()))
    seen.case(f"S {SIXFOLD}", lambda: sixfold(lambda e: f(short, 0 * e, 0 * e, own * 0 + 1, t_prev, e), key + 8))
    sign = torch.tensor([1.0, 1, -1, -1], dtype=torch.float64).view(1, 1, 2, 2).expand(5, -1, -1, -1)
    other = torch.tensor([1.0, -1, 1, -1], dtype=torch.float64).view(1, 1, 2, 2).expand(5, -1, -1, -1)
    whole = torch.ones(1, 1, 2, 2).double()
    seen.case("G spread of known pixels of spread 1",
              lambda: f(short, 3 * sign, sign, whole, t_prev, other).square().mean(dim=(1, 2, 3)).sqrt())  # fmt: skip
    seen.case("G distance from x_prev, where nothing is known", lambda: f(short, x, known, 0 * own, t_prev, noise) - x)
    trace(seen, raw, short, x, known, own, t_prev, noise)
    return seen


def _arrivals(schedule: NoiseSchedule) -> Tensor:
    """One below each of :func:`levels`; -1 is the clean image."""
    return levels(schedule) - 1


def _mask(*shape: int, key: int) -> Tensor:
    """1 where a pixel is known, about half of them, and 0 elsewhere."""
    return (uniform(*shape, key=key) > 0.5).double()
