"""Samplers of the catalogue as numbers: x ← a · x + b · ε + c · z at each level, one row (a, b, c) for a level.

The live page runs them. Numbers show what a mistake does, and no line of code, right or wrong, goes out with them.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from diffusion_lib.samplers import ddim_timesteps
from diffusion_lib.schedules import NoiseSchedule
from grader.catalogue.mistakes import build, of

Step = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, eps, z) -> the next x
Rows = list[list[float]]


def every(schedule: NoiseSchedule, count: int) -> tuple[NoiseSchedule, list[int]]:
    """``count`` of the schedule's levels as a schedule of their own, and which they are, from 0 up."""
    kept = torch.linspace(0, len(schedule) - 1, count).round().long()
    alpha_bar = schedule.alphas_cumprod.double()[kept]
    before = torch.cat([torch.ones(1).double(), alpha_bar[:-1]])
    return NoiseSchedule.from_betas(1 - alpha_bar / before), kept.tolist()


def row(step: Step) -> list[float] | None:
    """(a, b, c) of one step, or None where it is not such a sum, is not finite, or stops with an error."""
    one = torch.eye(3, dtype=torch.float64).view(3, 1, 1, 1, 3)
    probe = torch.linspace(-3, 3, 36, dtype=torch.float64).sin().view(3, 1, 1, 1, 12) * 3
    try:
        found, told = step(*one).flatten(), step(*probe)
    except (RuntimeError, IndexError):
        return None
    if not torch.allclose(told, (found.view(3, 1, 1, 1, 1) * probe).sum(0)):
        return None
    return [float(f"{value:.7g}") for value in found.tolist()]


def p_sample_steps(function: Callable[..., Any], schedule: NoiseSchedule) -> list[Step]:
    """The steps of ancestral sampling, from the noisiest level down."""
    times = [torch.tensor([t]) for t in reversed(range(len(schedule)))]
    return [lambda x, eps, z, t=t: function(schedule, x, t, eps, z) for t in times]  # type: ignore[misc]


def ddim_steps(function: Callable[..., Any], schedule: NoiseSchedule, times: list[int], eta: float) -> list[Step]:
    """The jumps of DDIM between ``times`` and to the clean image."""
    pairs = [(torch.tensor([t]), torch.tensor([prev])) for t, prev in zip(times, [*times[1:], -1], strict=True)]
    return [lambda x, eps, z, p=p: function(schedule, x, *p, eps, z, eta) for p in pairs]  # type: ignore[misc]


def rows(steps: list[Step]) -> Rows | None:
    """:func:`row` of every step, or None where one has none."""
    found = [row(step) for step in steps]
    return None if None in found else found  # type: ignore[return-value]


def sampler_tables(schedule: NoiseSchedule, levels: int = 100, jumps: int = 25, eta: float = 1.0) -> dict[str, Any]:
    """{exercise: {"levels": which, "correct": rows, "wrong": {mistake's id: rows}}}, for p_sample and ddim_step.

    Left out are mistakes that stop, that draw for themselves, that clip, and that do nothing to a single image.
    """
    short, kept = every(schedule, levels)
    times = ddim_timesteps(len(schedule), jumps)
    walks: dict[str, tuple[list[int], Callable[[Any], list[Step]]]] = {
        "p_sample": (kept[::-1], lambda f: p_sample_steps(f, short)),
        "ddim_step": (times, lambda f: ddim_steps(f, schedule, times, eta)),
    }
    tables = {}
    for exercise, (seen, steps) in walks.items():
        correct = rows(steps(build(exercise)))
        wrong = {mistake.id: rows(steps(build(exercise, mistake))) for mistake in of(exercise)}
        kept_ones = {name: found for name, found in wrong.items() if found is not None and found != correct}
        tables[exercise] = {"levels": seen, "correct": correct, "wrong": kept_ones}
    return tables
