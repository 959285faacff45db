"""Probes of the equations, one for each exercise, and ``observe``, which runs them by name."""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from diffusion_lib.homework.probes_decoder import decoder, label_tokens
from diffusion_lib.homework.probes_editing import inpaint_step
from diffusion_lib.homework.probes_flow import euler_step, flow_loss
from diffusion_lib.homework.probes_latents import encode_scaled
from diffusion_lib.homework.probes_loss import ddpm_loss
from diffusion_lib.homework.probes_network import attention, guided, res_block, timestep_embedding
from diffusion_lib.homework.probing import (
    SHAPE,
    SIXFOLD,
    H,
    Observation,
    in_float32,
    levels,
    normal,
    on_copies,
    schedules,
    sixfold,
    trace,
    uniform,
)
from diffusion_lib.schedules import NoiseSchedule

DTYPE = re.compile(r"\b(dtype|scalar type|Float|Double|float32|float64)\b")  # in torch's messages


def q_sample(f: Callable[..., Tensor], key: int) -> Observation:
    """DDPM eq. 4."""
    seen, raw, f = Observation(), f, on_copies(f)
    x, noise = 2 * uniform(*SHAPE, key=key) - 1, normal(*SHAPE, key=key + 1)
    for name, schedule in schedules().items():
        seen.case(f"S {name}", partial(f, schedule, x, levels(schedule), noise))
    schedule = schedules()["T = 1000"]
    t = levels(schedule)
    seen.case("S float32", lambda: f(schedule.to("cpu"), x.float(), t, noise.float()))
    square = normal(3, 3, 3, 3, key=key + 2)
    seen.case("S all sides equal", lambda: f(schedule, square / 3, t[1:4], square.flip(0)))
    short = schedules()["T = 40"]
    seen.case(f"S {SIXFOLD}", lambda: sixfold(lambda e: f(short, torch.zeros_like(e), levels(short), e), key + 3))
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
    square = normal(3, 3, 3, 3, key=key + 3)
    seen.case("S all sides equal", lambda: f(schedule, square, t[1:4], square.flip(0), square.flip(1)))
    seen.case("S other order", lambda: f(schedule, x, t.flip(0), eps, noise))
    _large(seen, f, schedules()["T = 40"], key + 4)
    seen.case("G mean and spread of Gaussian data (0.3, 0.5)", lambda: chain(f, schedules()["T = 40"]))
    trace(seen, raw, schedule, x, t, eps, noise)
    return seen


def _large(seen: Observation, f: Callable[..., Tensor], schedule: NoiseSchedule, key: int) -> None:
    """Noise of ±6: drawn afresh, and in a noisy image whose clean image is 0, so that clipping that changes nothing."""
    t = levels(schedule)
    sigma = schedule.at("sqrt_one_minus_alphas_cumprod", t, torch.zeros(SHAPE, dtype=torch.float64))
    seen.case(f"S fresh {SIXFOLD}", lambda: sixfold(lambda z: f(schedule, 0 * z, t, 0 * z, z), key))
    seen.case(f"S guessed {SIXFOLD}", lambda: sixfold(lambda e: f(schedule, sigma * e, t, e, 0 * e), key))


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
    numbers = [table.tolist() for table in (of_x, of_eps, of_z, start, guess, alpha_bar.sqrt())]
    by_x, by_eps, by_z, shift, guesses, signal = numbers  # a chain of tensors takes ten times as long
    mean, variance = 0.0, 1.0
    for i in reversed(range(T)):
        slope = by_x[i] + by_eps[i] * guesses[i]
        mean = slope * mean - by_eps[i] * guesses[i] * signal[i] * 0.3 + shift[i]
        variance = slope * slope * variance + by_z[i] * by_z[i]
    reached = torch.tensor([mean, variance], dtype=torch.float64)
    reached[1] = reached[1].sqrt()
    return reached.nan_to_num(1e6, 1e6, -1e6).clamp(-1e6, 1e6)


def ddim_step(f: Callable[..., Tensor], key: int) -> Observation:
    """DDIM eq. 12 and 16."""
    seen, raw, f = Observation(), f, on_copies(f)
    x, eps, noise = (normal(*SHAPE, key=key + i) for i in range(3))
    for name, schedule in schedules().items():
        t = levels(schedule)  # the first two jumps are single steps, the others are long
        t_prev = torch.tensor([-1, 0, 3, len(schedule) // 3, len(schedule) // 2])
        for eta in (0.0, 0.5, 1.0):
            seen.case(f"S {name}, eta {eta:g}", partial(f, schedule, x, t, t_prev, eps, noise, eta))
    schedule = schedules()["T = 40"]

    def one_step(s: NoiseSchedule, x: Tensor, t: Tensor, eps: Tensor, z: Tensor) -> Tensor:
        return f(s, x, t, t - 1, eps, z, 1.0)

    _large(seen, one_step, schedule, key + 4)
    seen.case("G mean and spread of Gaussian data (0.3, 0.5), eta = 1", lambda: chain(one_step, schedule))
    trace(seen, lambda s, *rest: raw(s, *rest, 0.5), schedule, x, levels(schedule), levels(schedule) - 1, eps, noise)
    return seen


PROBES: dict[str, Callable[[Callable[..., Any], int], Observation]] = {
    "q_sample": q_sample, "ddpm_loss": ddpm_loss, "p_sample": p_sample, "timestep_embedding": timestep_embedding,
    "res_block": res_block, "attention": attention, "ddim_step": ddim_step, "guided": guided,
    "label_tokens": label_tokens, "decoder": decoder, "flow_loss": flow_loss, "euler_step": euler_step,
    "inpaint_step": inpaint_step, "encode_scaled": encode_scaled,
}  # fmt: skip


def observe(name: str, function: Callable[..., Any], key: int = 0) -> Observation:
    """What ``function`` answers to the questions of exercise ``name``; another ``key``, other numbers.

    Torch is seeded: code that draws where it should not says the same each time, at home and where it is graded.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed writes a note of its caller for each kind of GPU
        seen = PROBES[name](function, 100 * key + 1)
        refused = [case for case, error in seen.errors.items() if DTYPE.search(error)]
        if refused:
            again = PROBES[name](in_float32(function), 100 * key + 1)
            for case in refused:
                if case in again.values:
                    seen.values[case] = again.values[case]
                    del seen.errors[case]
        return seen
