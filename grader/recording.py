"""Make a record: run the library, what else is accepted, and the whole catalogue through the probes.

Needs the answers and the catalogue, so it stays with the teacher.
"""

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor

from diffusion_lib.datasets import cache_root
from diffusion_lib.diffusion import predict_x_start, q_posterior
from diffusion_lib.homework.exercises import EXERCISES, Exercise, find, tree
from diffusion_lib.homework.probes import observe
from diffusion_lib.homework.records import Entry, Record, read_record, write_record
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


def kept_record(names: Sequence[str] | None = None, key: int = 0) -> Record:
    """:func:`make_record`, which takes seconds, kept in the user's cache for as long as the code stays as it is."""
    chosen = [exercise.name for exercise in EXERCISES if names is None or exercise.name in names]
    return {name: _kept(name, key)[name] for name in chosen}


def _kept(name: str, key: int) -> Record:
    folder = cache_root() / "records"
    path = folder / f"{name}-{key}-{_code()}.safetensors"
    with suppress(OSError, SafetensorError):
        return read_record(path)
    record = make_record([name], key)
    with suppress(OSError, SafetensorError):  # where the cache cannot be written, it is made again next time
        folder.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        write_record(part, record)
        part.replace(path)
        for old in set(folder.glob(f"{name}-{key}-*.safetensors")) - {path}:
            old.unlink(missing_ok=True)
    return record


@cache
def _code() -> str:
    """A hash of all that a record comes from: this package, the library, and torch."""
    files = [file for top in (tree() / "diffusion_lib", Path(__file__).parent) for file in sorted(top.rglob("*.py"))]
    code = b"".join(file.name.encode() + file.read_bytes() for file in files)
    return hashlib.sha256(code + torch.__version__.encode()).hexdigest()[:16]


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
    empty = Entry(
        cases=list(right[0].values),
        shapes=[tuple(value.shape) for value in right[0].values.values()],
        accepted=torch.empty(0), singles=torch.empty(0), pairs=torch.empty(0), mistakes=[], single_names=[],
        pair_names=[], key=key,
    )  # fmt: skip
    accepted_rows = torch.stack([empty.flatten(seen) for seen in right])
    rows = _Rows(exercise.name, key, empty, accepted_rows)
    singles = [(row, place[m.name]) for m in known for row in rows.of(m)]
    pairs = [(empty.thin(row), (place[a.name], place[b.name])) for a, b in mistakes.pairs(exercise.name)
             for row in rows.of(a, b)]  # fmt: skip
    return replace(
        empty,
        accepted=accepted_rows,
        mistakes=[{"name": m.name, "hint": m.hint, "reread": m.reread} for m in known],
        singles=_stacked([row for row, _ in singles], accepted_rows.shape[1]),
        single_names=[name for _, name in singles],
        pairs=_stacked([row for row, _ in pairs], len(empty.thin(accepted_rows[0]))),
        pair_names=[names for _, names in pairs],
    )


def _stacked(rows: list[Tensor], width: int) -> Tensor:
    return torch.stack(rows) if rows else torch.empty(0, width)


@dataclass
class _Rows:
    """What wrong versions leave behind, over every accepted form; what makes no difference is left out."""

    exercise: str
    key: int
    entry: Entry
    accepted: Tensor

    def of(self, *wrong: mistakes.Mistake) -> list[Tensor]:
        """A vector for each version that differs from what is accepted, and from the versions before."""
        kept: list[Tensor] = []
        for function in mistakes.versions(self.exercise, *wrong):
            row = self.entry.flatten(observe(self.exercise, function, self.key))
            if not any(torch.allclose(row, other, 1e-7, 1e-9, equal_nan=True) for other in [*self.accepted, *kept]):
                kept.append(row)
        return kept
