"""Probes of the equations, one for each exercise, and ``observe``, which runs them by name."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from diffusion_lib.homework.probes_network import attention, guided, res_block, timestep_embedding
from diffusion_lib.homework.probing import (
    SHAPE,
    H,
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


def q_sample(f: Callable[..., Tensor], key: int) -> Observation:
    """DDPM eq. 4."""
    seen, raw, f = Observation(), f, on_copies(f)
    x, noise = 2 * uniform(*SHAPE, key=key) - 1, normal(*SHAPE, key=key + 1)
    for name, schedule in schedules().items():
        seen.case(f"S {name}", partial(f, schedule, x, levels(schedule), noise))
    schedule = schedules()["T = 1000"]
    t = levels(schedule)
    seen.case("S float32", lambda: f(schedule.to("cpu"), x.float(), t, noise.float()))
    square = normal(5, 5, 5, 5, key=key + 2)
    seen.case("S all sides equal", lambda: f(schedule, square / 3, t, square.flip(0)))
    sign = torch.tensor([1.0, 1, -1, -1], dtype=torch.float64).view(1, 1, 2, 2).expand(5, -1, -1, -1)
    other = torch.tensor([1.0, -1, 1, -1], dtype=torch.float64).view(1, 1, 2, 2).expand(5, -1, -1, -1)
    seen.case("G spread of x_t for data of spread 1",
              lambda: f(schedule, sign, t, other).square().mean(dim=(1, 2, 3)).sqrt())  # fmt: skip
    trace(seen, raw, schedule, x, t, noise)
    return seen


def p_sample(f: Callable[..., Tensor], key: int) -> Observation:
    """DDPM Algorithm 2, line 4."""
    seen, raw, f = Observation(), f, on_copies(f)
    x, eps, noise = (normal(*SHAPE, key=key + i) for i in range(3))
    for name, schedule in schedules().items():
        seen.case(f"S {name}", partial(f, schedule, x, levels(schedule), eps, noise))
    schedule = schedules()["T = 1000"]
    t = levels(schedule)
    seen.case("S float32", lambda: f(schedule.to("cpu"), x.float(), t, eps.float(), noise.float()))
    square = normal(5, 5, 5, 5, key=key + 3)
    seen.case("S all sides equal", lambda: f(schedule, square, t, square.flip(0), square.flip(1)))
    seen.case("G mean and spread of Gaussian data (0.3, 0.5)", lambda: chain(f, schedules()["T = 40"]))
    trace(seen, raw, schedule, x, t, eps, noise)
    return seen


def chain(step: Callable[..., Tensor], schedule: NoiseSchedule) -> Tensor:
    """Mean and spread that a sampler reaches on Gaussian data, where the best guess of the noise is a formula.

    A step is affine in x, eps and z. Its slopes at every t give mean and variance exactly, with no sampling.
    """
    T = len(schedule)
    t, zero, one = torch.arange(T), torch.zeros(T, 1, 1, 1).double(), torch.full((T, 1, 1, 1), H).double()
    start = step(schedule, zero, t, zero, zero).flatten()
    pairs = ((one, zero, zero), (zero, one, zero), (zero, zero, one))
    of_x, of_eps, of_z = ((step(schedule, x, t, e, z).flatten() - start) / H for x, e, z in pairs)
    alpha_bar = schedule.alphas_cumprod
    guess = (1 - alpha_bar).sqrt() / (alpha_bar * 0.5**2 + 1 - alpha_bar)  # eps = guess * (x - signal * mean)
    mean, variance = torch.zeros(()).double(), torch.ones(()).double()
    for i in reversed(range(T)):
        slope = of_x[i] + of_eps[i] * guess[i]
        mean = slope * mean - of_eps[i] * guess[i] * alpha_bar[i].sqrt() * 0.3 + start[i]
        variance = slope**2 * variance + of_z[i] ** 2
    return torch.stack([mean, variance.sqrt()]).nan_to_num(1e6, 1e6, -1e6).clamp(-1e6, 1e6)


def ddpm_loss(f: Callable[..., Tensor], key: int) -> Observation:
    """DDPM Algorithm 1."""
    seen, raw, f = Observation(), f, on_copies(f)
    x, noise = 2 * uniform(*SHAPE, key=key) - 1, normal(*SHAPE, key=key + 1)
    label = torch.tensor([7, 2, 0, 9, 4])
    for name, schedule in schedules().items():
        seen.case(f"S {name}", partial(f, Spy(), schedule, x, label, t=levels(schedule), noise=noise))
    schedule = schedules()["T = 1000"]
    t = levels(schedule)
    seen.case("S no label", lambda: f(Spy(), schedule, x, t=t, noise=noise))

    def gradient() -> Tensor:
        spy = Spy()
        f(spy, schedule, x, label, t=t, noise=noise).backward()
        return spy.weight.grad if spy.weight.grad is not None else torch.zeros(())

    seen.case("S gradient", gradient)
    signal, sigma = (schedule.at(n, t, x) for n in ("sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod"))
    perfect = Spy(lambda x_t, t, label: (x_t - signal * x) / sigma)
    seen.case("G loss of a perfect guess", lambda: f(perfect, schedule, x, label, t=t, noise=noise))
    unit = noise / noise.square().mean().sqrt()
    silent = Spy(lambda x_t, t, label: torch.zeros_like(x_t))
    seen.case("G loss of the answer 0", lambda: f(silent, schedule, x, label, t=t, noise=unit))

    def asked(what: Callable[[Spy], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            spy = Spy().train()
            f(spy, schedule, x, label, t=t, noise=noise)
            return what(spy)

        return run

    def same(got: Any, wanted: Tensor) -> float:
        return float(isinstance(got, Tensor) and got.shape == wanted.shape and bool((got == wanted).all()))

    seen.case("T times the model is called", asked(lambda spy: torch.tensor(float(len(spy.log)))))
    seen.case("S model sees x_t", asked(lambda spy: spy.log[0][0]))
    seen.case(
        "T model sees t, label, gradients on, train mode, and is left in it",
        asked(lambda spy: torch.tensor([
            same(spy.log[0][1], t), same(spy.log[0][2], label), *map(float, spy.log[0][3:]), float(spy.training)])),
    )  # fmt: skip

    def given() -> Tensor:
        spy = Spy(lambda x_t, t, label: torch.zeros_like(x_t))
        loss = f(spy, schedule, x, label, t=t, noise=2 * noise)
        in_x_t = torch.allclose(spy.log[0][0], signal * x + 2 * sigma * noise, atol=1e-4)
        in_loss = (loss.detach() - 4 * noise.square().mean()).abs() < 1e-3
        return torch.tensor([float(in_x_t), float(in_loss)])

    seen.case("T the noise that it is given is in x_t, and in the loss", given)
    trace(seen, lambda s, x, t, e: raw(Spy(), s, x, label, t=t, noise=e).detach(), schedule, x, t, noise)
    short = NoiseSchedule.from_betas(torch.tensor([0.05, 0.1, 0.2, 0.3, 0.4, 0.5]))
    seen.case("T what is drawn", lambda: drawn(f, short, x[:1].expand(16, -1, -1, -1), label[:1].expand(16)))
    return seen


def drawn(f: Callable[..., Tensor], schedule: NoiseSchedule, x: Tensor, label: Tensor, calls: int = 150) -> Tensor:
    """Facts about what a loss draws when t and noise are not given, coarse enough never to depend on luck.

    One flag for each level (is it ever drawn?), are levels unequally likely, one t for the whole batch, one noise
    for the whole batch, is the noise in x_t normal (1) or uniform (2), fresh each call, loss taken of that noise.
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
    own = (losses - noise.square().mean(dim=(1, 2, 3, 4))).abs().max() < 1e-6
    one_noise = (noise - noise[:, :1]).abs().max() < 1e-9
    fresh = (noise[0] - noise[1]).abs().max() > 1e-6
    mean, spread = noise.mean().item(), noise.std().item()  # of 57,600 numbers: off by 0.004 at one sigma
    kind = next((k for k, m, s in ((1, 0, 1), (2, 0.5, 0.289)) if abs(mean - m) < 0.04 and abs(spread - s) < 0.04), 0)
    facts = [uneven, alike, one_noise, kind, fresh, own]
    return torch.cat([(counts > 0).double(), torch.tensor([float(fact) for fact in facts]).double()])


def ddim_step(f: Callable[..., Tensor], key: int) -> Observation:
    """DDIM eq. 12 and 16."""
    seen, raw, f = Observation(), f, on_copies(f)
    x, eps, noise = (normal(*SHAPE, key=key + i) for i in range(3))
    for name, schedule in schedules().items():
        t = levels(schedule) + torch.tensor([0, 1, 0, 0, 0])
        t_prev = torch.tensor([-1, 0, 3, len(schedule) // 3, len(schedule) // 2])
        for eta in (0.0, 0.5, 1.0):
            seen.case(f"S {name}, eta {eta:g}", partial(f, schedule, x, t, t_prev, eps, noise, eta))
    schedule = schedules()["T = 40"]

    def one_step(s: NoiseSchedule, x: Tensor, t: Tensor, eps: Tensor, z: Tensor) -> Tensor:
        return f(s, x, t, t - 1, eps, z, 1.0)

    seen.case("G mean and spread of Gaussian data (0.3, 0.5), eta = 1", lambda: chain(one_step, schedule))
    trace(seen, lambda s, *rest: raw(s, *rest, 0.5), schedule, x, levels(schedule), levels(schedule) - 1, eps, noise)
    return seen


PROBES: dict[str, Callable[[Callable[..., Any], int], Observation]] = {
    "q_sample": q_sample, "ddpm_loss": ddpm_loss, "p_sample": p_sample, "timestep_embedding": timestep_embedding,
    "res_block": res_block, "attention": attention, "ddim_step": ddim_step, "guided": guided,
}  # fmt: skip


def observe(name: str, function: Callable[..., Any], key: int = 0) -> Observation:
    """What ``function`` answers to the questions of exercise ``name``; another ``key``, other numbers."""
    with torch.random.fork_rng(devices=[]):
        return PROBES[name](function, 100 * key + 1)
