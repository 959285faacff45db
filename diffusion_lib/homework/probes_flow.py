"""Probes of straight paths: the loss that teaches a velocity."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from diffusion_lib.homework.probes_loss import ASKED, Batch, asked, gradient, silent
from diffusion_lib.homework.probing import (
    LARGE,
    SHAPE,
    Observation,
    Spy,
    levels,
    normal,
    on_copies,
    schedules,
    trace,
    uniform,
)


def flow_loss(f: Callable[..., Tensor], key: int) -> Observation:
    """Liu et al. 2023, eq. 1."""
    seen, raw, f = Observation(), f, on_copies(f)
    x, noise = 2 * uniform(*SHAPE, key=key) - 1, normal(*SHAPE, key=key + 1)
    label = torch.tensor([7, 2, 0, 9, 4])
    batches = {name: Batch(s, x, label, levels(s), noise) for name, s in schedules().items()}
    for name, batch in batches.items():
        seen.case(f"S {name}", partial(batch.ask, f))
    batch = batches["T = 1000"]
    seen.case("S no label", lambda: f(Spy(), batch.schedule, x, t=batch.t, noise=noise))
    seen.case("S gradient", lambda: gradient(f, batch))
    square = normal(3, 3, 3, 3, key=key + 2)
    sides = Batch(batch.schedule, square / 3, label[:3], batch.t[1:4], square.flip(0))
    seen.case("S all sides equal", lambda: sides.ask(f))
    perfect = Spy(lambda x_tau, t, label: (x_tau - x) / _tau(batch))
    seen.case("G loss of a perfect guess", lambda: batch.ask(f, perfect))
    apart = batch._replace(noise=x + noise / noise.square().mean().sqrt())
    seen.case("G loss of the answer 0, where image and noise are 1 apart", lambda: apart.ask(f, silent()))
    seen.case("T times the model is called", lambda: torch.tensor(float(len(batch.spied(f).log))))
    seen.case("S model sees x_τ", lambda: batch.spied(f).log[0][0])
    seen.case(ASKED, lambda: asked(f, batch))
    seen.case("T the noise that it is given is in x_τ, and in the loss", lambda: _given(f, batch))
    trace(seen, lambda s, x, t, e: Batch(s, x, label, t, e).ask(raw).detach(), batch.schedule, x, batch.t, noise)
    return seen


def _tau(batch: Batch) -> Tensor:
    """Where the levels of a batch lie on the line."""
    signal, sigma = batch.factors()
    return sigma / (signal + sigma)


def _given(f: Callable[..., Tensor], batch: Batch) -> Tensor:
    """Two flags: is a given noise in x_τ, and in the loss?"""
    tau, noise, spy = _tau(batch), LARGE * batch.noise.sign(), silent()
    loss = batch._replace(noise=noise).ask(f, spy)
    in_x_tau = torch.allclose(spy.log[0][0].double(), (1 - tau) * batch.x + tau * noise, atol=1e-4)
    in_loss = (loss.detach().double() - (noise - batch.x).square().mean()).abs() < 1e-3
    return torch.tensor([float(in_x_tau), float(in_loss)])
