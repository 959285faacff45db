"""Compare what a function answered with what it should have answered, and name the mistake.

``check("q_sample")`` is what a student calls. Expected answers and the fingerprints of known mistakes come as a
``Record``: numbers in a file beside this one, the same for whoever checks.
"""

import ast
import importlib.util
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion_lib.homework.exercises import EXERCISES, Exercise, find, get
from diffusion_lib.homework.finding import definitions, global_settings, load_source, parsed, unreached
from diffusion_lib.homework.formerly import former_imports
from diffusion_lib.homework.probes import observe
from diffusion_lib.homework.probing import LEVELS, Observation
from diffusion_lib.homework.records import DREW, Entry, Record, shipped_record, spans

TOLERANCE = 3e-5  # of a case's largest value, or of 1: room for float32 inside
ZERO = 1e-9  # below it a number is told as 0: far below any tolerance
TOLERANCE_FLOAT32 = 2e-3  # where all inputs are float32: 1 − ᾱ cancels, and honest ways to write it differ
LAYERS = {"S": "exact values", "G": "closed form", "T": "trace"}


class NotYet(AssertionError):
    """An exercise is not right yet. A notebook shows one line of it, not a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"Stopped: {self}. Edit, save, and run this cell again."]


@dataclass
class Verdict:
    """What a check found. Shown as text in a notebook; true when all is right."""

    exercise: str
    passed: bool
    layers: dict[str, bool] = field(default_factory=dict)  # "S", "G", "T": did every case of the layer pass?
    mistakes: list[dict[str, str]] = field(default_factory=list)  # name, hint, reread
    evidence: list[str] = field(default_factory=list)
    problem: str = ""  # why nothing could be checked
    remarks: list[str] = field(default_factory=list)  # what should be known whatever the verdict is

    def __bool__(self) -> bool:
        return self.passed

    def __repr__(self) -> str:
        return "\n".join(self.lines())

    def show(self) -> None:
        """Print the verdict; raise NotYet unless all is right, so that "run all" stops here."""
        print(self)
        if not self.passed:
            raise NotYet(f"{self.exercise} is not right yet")

    def lines(self) -> list[str]:
        """The verdict as a student reads it; the first line begins with the exercise's name."""
        return self._found() + [f"  Note: {remark}" for remark in self.remarks]

    def _found(self) -> list[str]:
        if self.problem:
            return [f"{self.exercise}: not checked. {self.problem}"]
        done = ", ".join(f"{LAYERS[layer]} {'✓' if ok else '✗'}" for layer, ok in self.layers.items())
        if self.passed:
            return [f"{self.exercise}: right. {done}"]
        lines = [f"{self.exercise}: not yet right. {done}"]
        for mistake in self.mistakes:
            lines += [f"  It looks like this: {mistake['name']}.", f"  {mistake['hint']}"]
        for reread in dict.fromkeys(m["reread"] for m in self.mistakes):
            lines.append(f"  Reread: {reread}.")
        if not self.mistakes:
            lines.append("  This matches no mistake that we know. What was seen:")
        return lines + [f"  · {line}" for line in (self.evidence[:1] if self.mistakes else self.evidence)]


def close(case: str, got: Tensor, wanted: Tensor) -> Tensor:
    """Entry by entry: equal within the case's tolerance, or both not a number."""
    finite = wanted.nan_to_num(0, 0, 0)
    return _close(case, got, wanted, finite.abs().max() if finite.numel() else finite.sum())


def _close(case: str, got: Tensor, wanted: Tensor, largest: Tensor) -> Tensor:
    tolerance = TOLERANCE_FLOAT32 if "float32" in case else TOLERANCE
    near = (got - wanted).abs() <= tolerance * largest.clamp(min=1.0)
    return near | (got == wanted) | (got.isnan() & wanted.isnan())


def judge(exercise: Exercise, seen: Observation, record: Record) -> Verdict:
    """The verdict on an observation."""
    if seen.unwritten and not seen.values:
        return Verdict(exercise.name, False, problem=_unwritten(exercise, seen.unwritten))
    entry = record[exercise.name]
    got = entry.flatten(seen)
    passes = [_same(entry, got, accepted) for accepted in entry.accepted]
    best = max(range(len(passes)), key=lambda i: (sum(passes[i]), _entries(entry, got, entry.accepted[i])))
    layers = {
        layer: all(ok for name, ok in zip(entry.cases, passes[best], strict=True) if name.startswith(layer))
        for layer in LAYERS
        if any(name.startswith(layer) for name in entry.cases)
    }
    verdict = Verdict(exercise.name, all(layers.values()), layers)
    if not verdict.passed:
        verdict.mistakes = _named(entry, got)
        failed = [name for name, ok in zip(entry.cases, passes[best], strict=True) if not ok]
        verdict.evidence = _evidence(entry, seen, failed, entry.accepted[best])
    return verdict


def _unwritten(exercise: Exercise, message: str) -> str:
    """Why nothing came back: the stub of the exercise itself, or that of another one that it calls."""
    name = message.partition(", ")[2].partition(":")[0]
    why = NOT_WRITTEN if name == exercise.name else f"It calls {name}, which is not written yet."
    return f"{why} {message}"


def _same(entry: Entry, got: Tensor, known: Tensor) -> list[bool]:
    """Case by case: do two vectors agree?"""
    parts = zip(entry.cases, entry.slices, strict=True)
    return [bool(close(case, got[part], known[part]).all()) for case, part in parts]


def _entries(entry: Entry, got: Tensor, known: Tensor) -> int:
    """How many numbers of two vectors agree."""
    parts = zip(entry.cases, entry.slices, strict=True)
    return sum(int(close(case, got[part], known[part]).sum()) for case, part in parts)


def _named(entry: Entry, got: Tensor) -> list[dict[str, str]]:
    """The one mistake, or the two, that leave exactly these traces; what could be another as well is not named."""
    whole, thin = entry.slices, spans([len(kept) for kept in entry.kept])
    ones = _alike(entry, got, got, entry.singles, [(name,) for name in entry.single_names], whole)
    found = ones or _alike(entry, got, entry.thin(got), entry.pairs, entry.pair_names, thin)
    sure = set.intersection(*map(set, found)) if found else set()
    return [entry.mistakes[i] for i in sorted(sure)]


def _alike(
    entry: Entry, whole: Tensor, got: Tensor, known: Tensor, names: Sequence[tuple[int, ...]], parts: list[slice]
) -> list[tuple[int, ...]]:
    """The names of the rows of ``known`` that ``got`` is like, as far as wrong code says the same every time."""
    steady = [case for case, same in zip(entry.cases, entry.steady(whole), strict=True) if same]
    told = [(case, part) for case, part in zip(entry.cases, parts, strict=True) if case in steady]
    drew = entry.cases.index(DREW) if DREW in entry.cases else None
    alike = torch.ones(len(known), dtype=torch.bool)
    if drew is not None:
        alike = (known[:, parts[drew]][:, 2] == 1) == (got[parts[drew]][2] == 1)
    for case, part in told:  # of all rows at once: there are hundreds
        rows = known[:, part]
        alike &= _close(case, got[part], rows, rows.nan_to_num(0, 0, 0).abs().amax(dim=1, keepdim=True)).all(dim=1)
    return list(dict.fromkeys(members for members, same in zip(names, alike.tolist(), strict=True) if same))


def _evidence(entry: Entry, seen: Observation, failed: list[str], accepted: Tensor) -> list[str]:
    lines: list[str] = []
    told = set()
    for name in _by_layer(failed):
        if (error := seen.errors.get(name)) in told and error:
            continue
        told.add(error)
        wanted = accepted[entry.part(name)].view(entry.shapes[entry.cases.index(name)])
        if name in seen.errors:
            lines.append(f"{name[2:]}: {seen.errors[name].splitlines()[0][:200]}")
        elif name not in seen.values:
            lines.append(f"{name[2:]}: no answer")
        elif seen.values[name].shape != wanted.shape:
            lines.append(f"{name[2:]}: expected shape {tuple(wanted.shape)}, received {tuple(seen.values[name].shape)}")
        elif wanted.ndim == 4 and len(wanted) == 5:
            lines.append(f"{name[2:]}: {_by_level(name, seen.values[name], wanted)}")
        else:
            lines.append(f"{name[2:]}: {_apart(name, seen.values[name], wanted)}")
        if len(lines) == 3:
            lines.append(f"and {len(failed) - 3} more") if len(failed) > 3 else None
            break
    return lines


def _by_layer(failed: Sequence[str]) -> list[str]:
    """The first failed case of each layer, then the second of each, and so on.

    A closed form says the same of whatever numbers were asked: at home and where it is graded they are others.
    """
    layers = {name: [other for other in failed if other[0] == name[0]] for name in failed}
    return sorted(failed, key=lambda name: layers[name].index(name))


def _by_level(case: str, got: Tensor, wanted: Tensor) -> str:
    """Where in the batch two answers differ, and by how much; levels are told where the case has any.

    Not how much they spread: so few numbers may spread too much at home and too little where it is graded.
    """
    names = LEVELS if "T = " in case else [f"image {i}" for i in range(1, 6)]
    wrong = [i for i in range(5) if not bool(close(case, got[i], wanted[i]).all())]
    off = (got - wanted)[wrong].square().mean().sqrt().item()
    by = f"{off:.1g} on average" if math.isfinite(off) else "what is no finite number"
    return f"differs at {', '.join(names[i] for i in wrong)}, by {by}"


def _apart(case: str, got: Tensor, wanted: Tensor) -> str:
    """The first number that differs, and how many do."""
    wrong = (~close(case, got, wanted)).flatten().nonzero().flatten().tolist()
    first = (values.flatten()[wrong[0]].item() for values in (wanted, got))
    expected, received = (0.0 if abs(value) < ZERO else value for value in first)
    digits = next((d for d in (4, 6, 9) if f"{expected:.{d}g}" != f"{received:.{d}g}"), 17)
    told = f"expected {expected:.{digits}g}, received {received:.{digits}g}"
    if wanted.numel() == 1:
        return told
    return f"{len(wrong)} of {wanted.numel()} numbers differ, the first is number {wrong[0] + 1}: {told}"


NOT_WRITTEN = "It is not written yet."


def explained(verdict: Verdict, exercise: Exercise, source: str, beside: Collection[str] = ()) -> Verdict:
    """``verdict`` with what the text of the file tells: a stub in the way, settings that reach too far, old names.

    ``beside``: names of files of the student's own.
    """
    if verdict.problem.startswith(NOT_WRITTEN):
        verdict.problem = unreached(source, exercise.attribute) or verdict.problem
    verdict.remarks += [*global_settings(source), *former_imports(parsed(source), beside)]
    return verdict


def current(exercise: Exercise) -> Path:
    """The file that holds the exercise's function."""
    origin = importlib.util.find_spec(exercise.module)
    if origin is None or origin.origin is None:
        raise ImportError(f"{exercise.path} is missing.")
    return Path(origin.origin)


def check(name: str, function: Callable[..., Any] | None = None) -> Verdict:
    """Check the exercise ``name`` as it is written in its file, or ``function`` in its place."""
    exercise = get(name)
    if function is not None:
        return _checked(exercise, function)
    try:
        path = current(exercise)
        module = load_source(path, exercise.module)
        verdict = _checked(exercise, find(module, exercise.attribute))
    except SyntaxError as error:
        return Verdict(name, False, problem=f"{exercise.path}, line {error.lineno}: {error.msg}.")
    except Exception as error:
        return Verdict(name, False, problem=f"{exercise.path} cannot be read: {type(error).__name__}: {error}")
    source = path.read_bytes().decode("utf-8", errors="replace")
    if not verdict.passed and not verdict.problem:
        wrong = [other for other in called(source, exercise) if not _checked(other, find(module, other.attribute))]
        verdict.evidence[:0] = [f"{name} calls {o.name}, which is not right yet: check that first" for o in wrong]
    return explained(verdict, exercise, source)


def called(source: str, exercise: Exercise) -> list[Exercise]:
    """The other exercises of the same file that the exercise's function names."""
    defined = definitions(parsed(source), exercise.attribute)[-1:]
    names = {node.id for function in defined for node in ast.walk(function) if isinstance(node, ast.Name)}
    others = [other for other in EXERCISES if other.module == exercise.module and other.name != exercise.name]
    return [other for other in others if other.attribute in names]


def _checked(exercise: Exercise, function: Callable[..., Any]) -> Verdict:
    """The verdict on ``function``, on one thread: the tensors are tiny."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        record = shipped_record()
        return judge(exercise, observe(exercise.name, function, record[exercise.name].key), record)
    finally:
        torch.set_num_threads(before)


def check_all(names: list[str]) -> list[Verdict]:
    """``check`` for each name, in the order of the course."""
    order = [exercise.name for exercise in EXERCISES]
    return [check(name) for name in sorted(names, key=order.index)]
