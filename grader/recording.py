"""Make a record: run the library, what else is accepted, and the whole catalogue through the probes.

Needs the answers and the catalogue, so it stays with the teacher.
"""

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from diffusion_lib.diffusion import predict_x_start, q_posterior
from diffusion_lib.homework.exercises import EXERCISES, Exercise, find
from diffusion_lib.homework.probes import observe
from diffusion_lib.homework.records import Entry, Record
from grader.catalogue import mistakes


def answer(exercise: Exercise) -> Callable[..., Any]:
    """The library's own function."""
    return find(import_module(exercise.module), exercise.attribute)


def _p_sample(clip: bool, posterior: bool) -> Callable[..., Tensor]:
    """The forms of Algorithm 2 that the papers allow: x_0 clipped or not, β̃ or β for the variance (section 3.2)."""

    def f(schedule: Any, x_t: Tensor, t: Tensor, eps: Tensor, noise: Tensor) -> Tensor:
        x_start = predict_x_start(schedule, x_t, t, eps)
        mean, variance = q_posterior(schedule, x_start.clamp(-1, 1) if clip else x_start, x_t, t)
        if not posterior:
            variance = schedule.at("betas", t, x_t) * (t > 0).view(-1, 1, 1, 1)
        return mean + variance.sqrt() * noise

    return f


def accepted(exercise: Exercise) -> list[Callable[..., Any]]:
    """The library's function first, then every other form that the text allows."""
    others = [(False, False), (True, True), (True, False)] if exercise.name == "p_sample" else []
    return [answer(exercise), *(_p_sample(*form) for form in others)]


def make_record(names: Sequence[str] | None = None, key: int = 0) -> Record:
    """The record of the named exercises, by default all; another ``key``, other numbers in the questions."""
    chosen = [exercise for exercise in EXERCISES if names is None or exercise.name in names]
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {exercise.name: _entry(exercise, key) for exercise in chosen}
    finally:
        torch.set_num_threads(before)


def _entry(exercise: Exercise, key: int) -> Entry:
    right = [observe(exercise.name, function, key) for function in accepted(exercise)]
    if right[0].errors:
        raise RuntimeError(f"the library's own {exercise.name} fails its probe: {right[0].errors}")
    known = mistakes.of(exercise.name)
    place = {mistake.name: i for i, mistake in enumerate(known)}
    both = mistakes.pairs(exercise.name)
    empty = Entry(
        cases=list(right[0].values),
        shapes=[tuple(value.shape) for value in right[0].values.values()],
        accepted=torch.empty(0), singles=torch.empty(0), pairs=torch.empty(0), mistakes=[], pair_names=[],
    )  # fmt: skip

    def rows(functions: Sequence[Callable[..., Any]]) -> Tensor:
        vectors = [empty.flatten(observe(exercise.name, function, key)) for function in functions]
        return torch.stack(vectors) if vectors else torch.empty(0, sum(x.numel() for x in right[0].values.values()))

    return Entry(
        cases=empty.cases,
        shapes=empty.shapes,
        accepted=torch.stack([empty.flatten(seen) for seen in right]),
        mistakes=[{"name": m.name, "hint": m.hint, "reread": m.reread} for m in known],
        singles=rows([mistakes.build(exercise.name, m) for m in known]),
        pairs=rows([mistakes.build(exercise.name, a, b) for a, b in both]),
        pair_names=[(place[a.name], place[b.name]) for a, b in both],
    )
