"""Samplers of the catalogue as numbers: one row for each step. The live page runs them.

A step is x ← a · x + b · ε + c · z, with a row (a, b, c). Guidance is ε = p · ε_u + q · ε_c + r · ε_0, with a row
(p, q, r): guesses without a label, with it, and with the digit 0, which some mistakes take for no label. Numbers show
what a mistake does, and no line of code, right or wrong, goes out with them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffusion_lib.samplers import ddim_timesteps
from diffusion_lib.schedules import NoiseSchedule
from grader.catalogue.mistakes import Mistake, build, of

Step = Callable[[Tensor, Tensor, Tensor], Tensor]  # (x, eps, z) -> the next x
Rows = list[list[float]]


@dataclass(frozen=True)
class Setting:
    """How right and wrong samplers are run beside each other."""

    told: str  # to the reader: what is set and, where it is not the usual, what was turned
    levels: int  # of the schedule, evenly spaced; one level too early is then one of these
    jumps: int | None = None  # the walk stops at so many of the levels, or at all of them
    eta: float = 1.0
    scale: float = 1.0  # of guidance
    one_start: bool = False  # all digits begin with the same noise


SETTINGS = {  # exercise -> the usual one, then those that show what hardly shows there
    "p_sample": {
        "usual": Setting("100 of the 1000 levels.", levels=100),
        "longer steps": Setting("10 of the 1000 levels in place of 100: a step goes ten times as far.", levels=10),
    },
    "ddim_step": {
        "usual": Setting("25 jumps over 1000 levels, with η = 1.", levels=1000, jumps=25),
        "one first noise": Setting(
            "All digits begin with the same noise, so that only fresh noise makes them differ; 50 jumps, with η = 0.3.",
            levels=1000, jumps=50, eta=0.3, one_start=True,
        ),
        "longer steps": Setting("10 levels in place of 1000, and a jump to each: a level is a whole jump.", levels=10),
    },
    "guided": {
        "usual": Setting("25 jumps with η = 1, and guidance 1.5.", levels=1000, jumps=25, scale=1.5),
        "guidance 0": Setting(
            "Guidance 0 in place of 1.5: the label should have no say, and the right sampler draws any digit.",
            levels=1000, jumps=25, scale=0.0,
        ),
    },
}  # fmt: skip


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
    return numbers(found) if torch.allclose(told, (found.view(3, 1, 1, 1, 1) * probe).sum(0)) else None


def numbers(found: Tensor) -> list[float]:
    """As the page takes them."""
    return [float(f"{value:.7g}") for value in found.tolist()]


def steps(exercise: str, function: Callable[..., Any], schedule: NoiseSchedule, setting: Setting) -> list[Step]:
    """The steps of a walk over ``schedule``, from the noisiest level down to the clean image."""
    times = ddim_timesteps(len(schedule), setting.jumps or len(schedule))
    pairs = [(torch.tensor([t]), torch.tensor([prev])) for t, prev in zip(times, [*times[1:], -1], strict=True)]
    if exercise == "p_sample":
        return [lambda x, eps, z, p=p: function(schedule, x, p[0], eps, z) for p in pairs]  # type: ignore[misc]
    return [lambda x, eps, z, p=p: function(schedule, x, *p, eps, z, setting.eta) for p in pairs]  # type: ignore[misc]


def step_rows(exercise: str, function: Callable[..., Any], schedule: NoiseSchedule, setting: Setting) -> Rows | None:
    """:func:`row` of every step, or None where one has none."""
    found = [row(step) for step in steps(exercise, function, schedule, setting)]
    return None if None in found else found  # type: ignore[return-value]


def guess_rows(guide: Callable[..., Any], count: int, scale: float) -> Rows | None:
    """(p, q, r) of ``count`` steps, asked one after the other, for a mistake may remember; None where it is no sum."""

    def answers(guesses: Tensor) -> Tensor:  # without a label, with it, and with the digit 0, (3, N) -> (count, N)
        def model(x: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
            return guesses[0 if label is None else 1 if label.item() else 2].view(1, 1, 1, -1)

        eps_model, x, t = guide(model, torch.tensor([1]), scale), torch.zeros(1, 1, 1, 1), torch.tensor([0])
        return torch.cat([eps_model(x, t).flatten(1) for _ in range(count)])

    probe = torch.linspace(-3, 3, 36, dtype=torch.float64).sin().view(3, 12) * 3
    found = answers(torch.eye(3, dtype=torch.float64))
    return [numbers(each) for each in found] if torch.allclose(answers(probe), found @ probe) else None


def table(exercise: str, schedule: NoiseSchedule, setting: Setting) -> dict[str, Any]:
    """One setting of :func:`sampler_tables`."""
    short, kept = every(schedule, setting.levels)
    levels = [kept[t] for t in ddim_timesteps(len(short), setting.jumps or len(short))]
    made: dict[str, Any] = {"told": setting.told, "levels": levels, "oneStart": setting.one_start}
    if exercise == "guided":
        made["steps"] = step_rows("ddim_step", build("ddim_step"), short, setting)

    def rows(*mistakes: Mistake) -> Rows | None:
        function = build(exercise, *mistakes)
        if exercise == "guided":
            return guess_rows(function, len(levels), setting.scale)
        return step_rows(exercise, function, short, setting)

    correct, wrong = rows(), {mistake.id: rows(mistake) for mistake in of(exercise)}
    kept_ones = {name: found for name, found in wrong.items() if found is not None and found != correct}
    return {**made, "correct": correct, "wrong": kept_ones}


def sampler_tables(schedule: NoiseSchedule) -> dict[str, dict[str, Any]]:
    """{exercise: {setting: {"told", "levels", "oneStart", "correct": rows, "wrong": {mistake's id: rows}}}}.

    Where guidance is what may be wrong, its rows stand there, and ``steps`` are the right sampler's. Left out are
    mistakes that stop, that draw for themselves, that clip, and that do nothing to a single image at this setting.
    """
    return {
        exercise: {name: table(exercise, schedule, setting) for name, setting in settings.items()}
        for exercise, settings in SETTINGS.items()
    }
