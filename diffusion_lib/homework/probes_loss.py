"""Probes of the loss: its value and gradient, what it asks of the model, and what it draws."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffusion_lib.homework.draws import Sixes, kinds
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
from diffusion_lib.schedules import NoiseSchedule

ASKED = "T model sees t, label, gradients on, train mode, and is left in it"


class Batch(NamedTuple):
    """What a loss is given."""

    schedule: NoiseSchedule
    x: Tensor
    label: Tensor
    t: Tensor
    noise: Tensor

    def ask(self, f: Callable[..., Tensor], spy: Spy | None = None) -> Tensor:
        """The loss of this batch."""
        return f(spy or Spy(), self.schedule, self.x, self.label, t=self.t, noise=self.noise)

    def spied(self, f: Callable[..., Tensor]) -> Spy:
        """A model in train mode, after the loss of this batch was taken."""
        spy = Spy().train()
        self.ask(f, spy)
        return spy

    def factors(self) -> tuple[Tensor, Tensor]:
        """The signal's and the noise's factor at t."""
        at = partial(self.schedule.at, t=self.t, like=self.x)
        return at("sqrt_alphas_cumprod"), at("sqrt_one_minus_alphas_cumprod")


class Regression(NamedTuple):
    """Which noisy image a loss shows to the network, and what it asks for, as formulas of a batch and a noise."""

    name: str  # of the noisy image, as messages have it
    point: Callable[[Batch, Tensor], Tensor]  # linear in the noise
    target: Callable[[Batch, Tensor], Tensor]

    def guess(self, batch: Batch) -> Spy:
        """A model that finds the noise in what it is shown, and answers as well as one can."""

        def answer(x: Tensor, t: Tensor, label: Any) -> Tensor:
            still, one = (self.point(batch, noise) for noise in (0 * x, torch.ones_like(x)))
            return self.target(batch, (x - still) / (one - still))

        return Spy(answer)

    def given(self, f: Callable[..., Tensor], batch: Batch) -> Tensor:
        """Three flags: is a given noise in the noisy image, at its level, or in whatever shares; and in the loss?"""
        large, spy = batch._replace(noise=LARGE * batch.noise.sign()), silent()
        loss = large.ask(f, spy)
        x = spy.log[0][0].double()
        at_level = torch.allclose(x, self.point(large, large.noise), atol=1e-4)
        in_loss = (loss.detach().double() - self.target(large, large.noise).square().mean()).abs() < 1e-3
        return torch.tensor([float(at_level), float(_mixed(x, large)), float(in_loss)])


def _mixed(x: Tensor, batch: Batch) -> bool:
    """Is each image a sum of its clean image and its noise, each times a number?"""
    parts = torch.stack([batch.x, batch.noise], dim=-1).flatten(1, 3)  # (B, pixels, 2)
    shares = torch.linalg.lstsq(parts, x.flatten(1)[..., None]).solution
    return torch.allclose(parts @ shares, x.flatten(1)[..., None], atol=1e-4)


def _noised(batch: Batch, noise: Tensor) -> Tensor:
    """DDPM eq. 4."""
    signal, sigma = batch.factors()
    return signal * batch.x + sigma * noise


NOISED = Regression("x_t", _noised, lambda batch, noise: noise)


def loss_on(asks: Regression, f: Callable[..., Tensor], key: int) -> tuple[Observation, Batch]:
    """What every loss is asked that is called as ddpm_loss is; also a batch of the long schedule, for more."""
    seen, raw, f = Observation(), f, on_copies(f)
    x, noise = 2 * uniform(*SHAPE, key=key) - 1, normal(*SHAPE, key=key + 1)
    label = torch.tensor([7, 2, 0, 9, 4])
    batches = {name: Batch(s, x, label, levels(s), noise) for name, s in schedules().items()}
    for name, each in batches.items():
        seen.case(f"S {name}", partial(each.ask, f))
    batch = batches["T = 1000"]
    seen.case("S no label", lambda: f(Spy(), batch.schedule, x, t=batch.t, noise=noise))
    seen.case("S gradient", lambda: gradient(f, batch))
    seen.case("G loss of a perfect guess", lambda: batch.ask(f, asks.guess(batch)))
    seen.case("T times the model is called", lambda: torch.tensor(float(len(batch.spied(f).log))))
    seen.case(f"S model sees {asks.name}", lambda: batch.spied(f).log[0][0])
    seen.case(ASKED, lambda: asked(f, batch))
    seen.case(f"T the noise that it is given is in {asks.name}, and in the loss", lambda: asks.given(f, batch))
    trace(seen, lambda s, x, t, e: Batch(s, x, label, t, e).ask(raw).detach(), batch.schedule, x, batch.t, noise)
    return seen, batch


def ddpm_loss(f: Callable[..., Tensor], key: int) -> Observation:
    """DDPM Algorithm 1."""
    seen, batch = loss_on(NOISED, f, key)
    f, x, label = on_copies(f), batch.x, batch.label
    unit = batch._replace(noise=batch.noise / batch.noise.square().mean().sqrt())
    seen.case("G loss of the answer 0", lambda: unit.ask(f, silent()))
    short = NoiseSchedule.from_betas(torch.tensor([0.05, 0.1, 0.2, 0.3, 0.4, 0.5]))
    seen.case("T what is drawn", lambda: drawn(f, short, x[:1].expand(16, -1, -1, -1), label[:1].expand(16)))
    return seen


def gradient(f: Callable[..., Tensor], batch: Batch) -> Tensor:
    """The gradient that a loss leaves in the model; 0 where it leaves none."""
    spy = Spy()
    batch.ask(f, spy).backward()
    return spy.weight.grad if spy.weight.grad is not None else torch.zeros(())


def silent() -> Spy:
    """A model that answers 0."""
    return Spy(lambda x_t, t, label: torch.zeros_like(x_t))


def asked(f: Callable[..., Tensor], batch: Batch) -> Tensor:
    """Five flags of the first call: t as given, the label as given, gradients on, train mode, and still so after it."""

    def same(got: Any, wanted: Tensor) -> float:
        return float(isinstance(got, Tensor) and got.shape == wanted.shape and bool((got == wanted).all()))

    spy = batch.spied(f)
    _, t, label, *modes = spy.log[0]
    return torch.tensor([same(t, batch.t), same(label, batch.label), *map(float, modes), float(spy.training)])


def drawn(f: Callable[..., Tensor], schedule: NoiseSchedule, x: Tensor, label: Tensor, calls: int = 150) -> Tensor:
    """Facts about what a loss draws when t and noise are not given, coarse enough never to depend on luck.

    One flag for each level (is it ever drawn?), are levels unequally likely, one t for the whole batch, one noise
    for the whole batch, is the noise in x_t normal (1) or uniform (2), fresh each call, loss taken of that noise, what
    is linked in the noise (see :func:`linked`), is a pixel of it not standard normal, is large noise cut off.
    With one t for the whole batch, 150 calls miss one of 6 levels with a chance of 1e-11.
    """
    spy = Spy(lambda x_t, t, label: torch.zeros_like(x_t))
    losses = torch.stack([f(spy, schedule, x, label).detach().double().mean() for _ in range(calls)])
    x_t, t = (torch.stack([entry[i] for entry in spy.log[:calls]]) for i in (0, 1))
    signal, sigma = schedule.sqrt_alphas_cumprod[t], schedule.sqrt_one_minus_alphas_cumprod[t]
    noise = (x_t - signal[..., None, None, None] * x) / sigma[..., None, None, None]
    counts = torch.bincount(t.flatten(), minlength=len(schedule)).double()
    alike = bool((t == t[:, :1]).all())
    expected = t.numel() / len(schedule)
    uneven = not alike and ((counts - expected) ** 2 / expected).sum() > 80  # chance of luck: about 1e-15
    own = (losses - noise.square().mean(dim=(1, 2, 3, 4))).abs().max() < 1e-5
    one_noise = (noise - noise[:, :1]).abs().max() < 1e-4
    fresh = (noise - noise[:1]).abs().max() > 1e-3  # of all calls: two of them may draw the same t
    kind, link, crooked = kinds(noise)
    cut = kind == 1 and _cut(f, schedule, x, label)
    facts = [uneven, alike, one_noise, kind, fresh, own, link, crooked, cut]
    return torch.cat([(counts > 0).double(), torch.tensor([float(fact) for fact in facts]).double()])


def _cut(f: Callable[..., Tensor], schedule: NoiseSchedule, x: Tensor, label: Tensor) -> bool:
    """Where every normal number that torch draws is ±6: is what arrives in x_t smaller?

    Noise that is drawn in another way, or code that cannot be watched so, is not called cut.
    """
    spy = silent()
    try:
        with Sixes() as sixes:
            f(spy, schedule, x, label)
        x_t, t = spy.log[0][:2]
    except Exception:
        return False
    signal, sigma = (schedule.at(name, t, x_t) for name in ("sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod"))
    return sixes.drew and bool(((x_t - signal * x) / sigma).abs().max() < LARGE - 0.1)
