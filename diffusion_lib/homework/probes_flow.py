"""Probes of straight paths: the loss that teaches a velocity, and the step that walks along it."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from diffusion_lib.homework.probes_loss import Batch, Regression, loss_on, silent
from diffusion_lib.homework.probing import SHAPE, SIXFOLD, Observation, normal, on_copies, sixfold, trace


def _straight(batch: Batch, noise: Tensor) -> Tensor:
    """The points of a batch on their lines from image to noise (Liu et al. 2023, section 2.1)."""
    signal, sigma = batch.factors()
    tau = sigma / (signal + sigma)
    return (1 - tau) * batch.x + tau * noise


STRAIGHT = Regression("x_τ", _straight, lambda batch, noise: noise - batch.x)


def flow_loss(f: Callable[..., Tensor], key: int) -> Observation:
    """Liu et al. 2023, eq. 1."""
    seen, batch = loss_on(STRAIGHT, f, key)
    f, x, noise, square = on_copies(f), batch.x, batch.noise, normal(3, 3, 3, 3, key=key + 2)
    sides = Batch(batch.schedule, square / 3, batch.label[:3], batch.t[1:4], square.flip(0))
    seen.case("S all sides equal", lambda: sides.ask(f))
    apart = batch._replace(noise=x + noise / noise.square().mean().sqrt())
    seen.case("G loss of the answer 0, where image and noise are 1 apart", lambda: apart.ask(f, silent()))
    return seen


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
