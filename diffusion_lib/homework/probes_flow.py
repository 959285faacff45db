"""Probes of straight paths: the loss that teaches a velocity, and the step that walks along it."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from diffusion_lib.homework.probes_loss import ASKED, Batch, asked, gradient, silent
from diffusion_lib.homework.probing import (
    LARGE,
    SHAPE,
    SIXFOLD,
    Observation,
    Spy,
    levels,
    normal,
    on_copies,
    schedules,
    sixfold,
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


def euler_step(f: Callable[..., Tensor], key: int) -> Observation:
    """Euler's method along a straight path."""
    seen, raw, f = Observation(), f, on_copies(f)
    x, u = normal(*SHAPE, key=key), normal(*SHAPE, key=key + 1)
    for tau, tau_next in ((0.95, 0.6), (0.5, 0.375), (0.3, 0.0), (0.25, 0.7)):
        seen.case(f"S from {tau:g} to {tau_next:g}", partial(f, x, tau, tau_next, u))
    start, end = (
        torch.tensor(taus).double().view(-1, 1, 1, 1) for taus in ((0.9, 0.7, 0.5, 0.3, 0.1), (0.8, 0, 0.4, 0.1, 0.05))
    )
    seen.case("S each image from its own τ", lambda: f(x, start, end, u))
    square = normal(3, 3, 3, 3, key=key + 2)
    seen.case("S all sides equal", lambda: f(square, start[:3], end[:3], square.flip(0)))
    seen.case("S float32", lambda: f(x.float(), 0.75, 0.5, u.float()))
    seen.case(f"S {SIXFOLD}", lambda: sixfold(lambda e: f(e, 0.9, 0.6, e / 2), key + 3))
    noise = normal(*SHAPE, key=key + 4)
    line = 0.2 * x + 0.8 * noise
    seen.case("G distance from the image, after a whole line", lambda: f(line, 0.8, 0.0, noise - x) - x)
    seen.case("G two steps beside one", lambda: f(f(x, 0.8, 0.5, u), 0.5, 0.1, u) - f(x, 0.8, 0.1, u))
    trace(seen, lambda _, *given: raw(given[0], 0.8, 0.5, given[1]), None, x, u)
    return seen
