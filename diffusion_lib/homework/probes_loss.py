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


def ddpm_loss(f: Callable[..., Tensor], key: int) -> Observation:
    """DDPM Algorithm 1."""
    seen, raw, f = Observation(), f, on_copies(f)
    x, noise = 2 * uniform(*SHAPE, key=key) - 1, normal(*SHAPE, key=key + 1)
    label = torch.tensor([7, 2, 0, 9, 4])
    batches = {name: Batch(s, x, label, levels(s), noise) for name, s in schedules().items()}
    for name, batch in batches.items():
        seen.case(f"S {name}", partial(batch.ask, f))
    batch = batches["T = 1000"]
    seen.case("S no label", lambda: f(Spy(), batch.schedule, x, t=batch.t, noise=noise))
    seen.case("S gradient", lambda: gradient(f, batch))
    _closed_forms(seen, f, batch)
    _traces(seen, f, batch)
    trace(seen, lambda s, x, t, e: Batch(s, x, label, t, e).ask(raw).detach(), batch.schedule, x, batch.t, noise)
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


def _closed_forms(seen: Observation, f: Callable[..., Tensor], batch: Batch) -> None:
    """A perfect guess costs nothing; the answer 0 costs the mean square of the noise."""
    signal, sigma = batch.factors()
    perfect = Spy(lambda x_t, t, label: (x_t - signal * batch.x) / sigma)
    seen.case("G loss of a perfect guess", lambda: batch.ask(f, perfect))
    unit = batch._replace(noise=batch.noise / batch.noise.square().mean().sqrt())
    seen.case("G loss of the answer 0", lambda: unit.ask(f, silent()))


def _traces(seen: Observation, f: Callable[..., Tensor], batch: Batch) -> None:
    """What the model was asked, and how often."""
    seen.case("T times the model is called", lambda: torch.tensor(float(len(batch.spied(f).log))))
    seen.case("S model sees x_t", lambda: batch.spied(f).log[0][0])
    seen.case(ASKED, lambda: asked(f, batch))
    seen.case("T the noise that it is given is in x_t, and in the loss", lambda: _given(f, batch))


def asked(f: Callable[..., Tensor], batch: Batch) -> Tensor:
    """Five flags of the first call: t as given, the label as given, gradients on, train mode, and still so after it."""

    def same(got: Any, wanted: Tensor) -> float:
        return float(isinstance(got, Tensor) and got.shape == wanted.shape and bool((got == wanted).all()))

    spy = batch.spied(f)
    _, t, label, *modes = spy.log[0]
    return torch.tensor([same(t, batch.t), same(label, batch.label), *map(float, modes), float(spy.training)])


def _given(f: Callable[..., Tensor], batch: Batch) -> Tensor:
    """Two flags: is a given noise in x_t, and in the loss?"""
    (signal, sigma), noise, spy = batch.factors(), LARGE * batch.noise.sign(), silent()
    loss = batch._replace(noise=noise).ask(f, spy)
    in_x_t = torch.allclose(spy.log[0][0].double(), signal * batch.x + sigma * noise, atol=1e-4)
    in_loss = (loss.detach().double() - noise.square().mean()).abs() < 1e-3
    return torch.tensor([float(in_x_t), float(in_loss)])


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
