"""Whose run is it? What an experiment that was handed in says of itself, beside the code that came with it.

Told to the teacher, and worth no points: the files are the student's own, so they are evidence and no proof.
"""

import hashlib
import json
import platform
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from itertools import combinations
from typing import Any

from diffusion_lib.homework.digests import digest
from diffusion_lib.homework.exercises import get, tree
from diffusion_lib.homework.experiment import DRAWING, TRAINING, changed, recipe
from grader.archives import BROKEN, MOST_SOURCE, Files

KEPT = ("code.json", "card.json", "history.jsonl")
IN_ORDER, NONE = "in order", "none"
MOST_RUNS = 10  # of one hand-in
MOST_CODE = 200_000  # characters of a file whose functions are compared
Said = list[tuple[str, str]]  # (what is amiss, or nothing; a sentence)


@dataclass(frozen=True)
class Run:
    """One run of the experiment: what is amiss with it in few words, and what it says in sentences."""

    faults: tuple[str, ...]
    words: str
    losses: tuple[str, ...] = ()  # of each epoch, those that the course ships left out
    history: str = ""  # a digest of history.jsonl


def read_runs(files: Files, sources: Mapping[str, str]) -> list[Run]:
    """The runs among a hand-in's ``files``, compared with its ``sources``, "diffusion_lib/diffusion.py" -> text."""
    folders: dict[str, Files] = {}
    for name, load in files.items():
        folder, _, base = name.rpartition("/")
        if base in KEPT:
            folders.setdefault(folder, {})[base] = load
    digests = _digests(sources) if folders else None
    return [_run(folder, folders[folder], digests) for folder in sorted(folders)[:MOST_RUNS]]


def summary(runs: list[Run]) -> tuple[str, list[str]]:
    """A hand-in's run in a few words, and all runs in sentences; of several the best one counts."""
    if not runs:
        return NONE, []
    best = min(runs, key=lambda run: len(run.faults))
    return ", ".join(best.faults) or IN_ORDER, [run.words for run in runs]


def _digests(sources: Mapping[str, str]) -> dict[str, str] | None:
    """The digests of the handed-in functions; None where they are not there, or cannot be read."""
    texts = {name: sources.get(get(name).path, "") for name in (*TRAINING, DRAWING)}
    if not all(0 < len(text) <= MOST_CODE for text in texts.values()):
        return None
    try:
        return {name: digest(text, get(name).attribute) for name, text in texts.items()}
    except RecursionError:
        return None


def _run(folder: str, loads: Files, digests: dict[str, str] | None) -> Run:
    said: Said = []
    for part in (partial(_code, digests), _curve, _length):
        try:
            said += part(loads)
        except ValueError as error:
            said.append(("not readable", str(error)))
    faults, words = zip(*said, strict=True)
    place = ascii(folder)[1:-1] or "a run at the top"
    told = f"{place}: {' '.join(dict.fromkeys(words))}"
    return Run(tuple(dict.fromkeys(filter(None, faults))), told, *_fingerprints(loads))


def _fingerprints(loads: Files) -> tuple[tuple[str, ...], str]:
    """By what one history is known in two hand-ins: the losses of its epochs, and the whole text."""
    try:
        text = _text(loads, "history.jsonl")
    except ValueError:
        return (), ""
    own = [epoch for epoch in _epochs(text) if epoch not in _shipped()]
    return tuple(f"{train!r} {held_out!r}" for train, held_out in own), hashlib.sha256(text.encode()).hexdigest()[:16]


def shared(runs: Mapping[str, tuple[list[str], list[str]]]) -> list[str]:
    """In words, which hand-ins hold epochs of the same losses; ``runs``: hand-in -> (losses, histories)."""
    told = []
    for (one, (losses, histories)), (other, (others, files)) in combinations(sorted(runs.items()), 2):
        if same := len(set(losses) & set(others)):
            whole = "one of their histories is the same to the last byte, the seconds of its epochs included"
            part = "their histories differ elsewhere, as those of two runs do"
            alike = whole if set(histories) & set(files) else part
            told.append(f"{one} and {other}: the same losses in {same} epoch{'s' * (same > 1)}; {alike}.")
    return told


def _code(digests: dict[str, str] | None, loads: Files) -> Said:
    """Is it a run of the handed-in functions?"""
    note = _object(loads, "code.json")
    functions, grids = note.get("functions"), note.get("grids")
    if not isinstance(functions, dict) or not isinstance(grids, dict) or not set(TRAINING) <= functions.keys():
        raise ValueError("code.json does not say which functions trained and drew.")
    if digests is None:
        return [("code not known", "The functions that it should belong to cannot be read.")]
    if other := changed(note, digests):
        are = "is not the function" if len(other) == 1 else "are not the functions"
        told = f"The handed-in {' and '.join(other)} {are} that it was made with.{_python(loads)}"
        return [("other code", told)]
    drawn = f"its {len(grids)} grids drawn by the handed-in {DRAWING}" if grids else "no grid drawn"
    return [("", f"Trained by the handed-in {' and '.join(TRAINING)}, {drawn}.")]


def _python(loads: Files) -> str:
    """A doubt, where another Python printed the code: a digest is of what it prints."""
    try:
        found = re.match(r"\d+\.\d+", str(_object(loads, "card.json")["versions"]["python"]), re.ASCII)
    except (ValueError, KeyError, TypeError):
        return ""
    ours = ".".join(platform.python_version_tuple()[:2])
    if not found or found[0] == ours:
        return ""
    return f" It was made with Python {found[0][:8]}, and this is {ours}: the two may print one function differently."


def _curve(loads: Files) -> Said:
    """Is the history the one that the course ships?"""
    own = _epochs(_text(loads, "history.jsonl"))
    if not own:
        raise ValueError("history.jsonl holds no epoch.")
    copied = sum(epoch in _shipped() for epoch in own)
    told = f"{copied} of its {len(own)} epochs have the very losses of the run that the course ships."
    return [("the course's history", told)] if copied else []


def _length(loads: Files) -> Said:
    """Is it as long as the recipe that the handout names?"""
    card, train = _object(loads, "card.json"), recipe("minutes").train
    images, epochs, data = _count(card, "images"), _count(card, "epochs"), card.get("data")
    held = len(_epochs(_text(loads, "history.jsonl"))) or epochs
    seen, asked = images * min(held, epochs), train.epochs * (train.max_images or 0)
    told: Said = [("too short" * (seen < asked), f"{seen:,} images seen; the experiment asks for {asked:,}.")]
    if held < epochs:
        told.append(("", f"card.json says {epochs} epochs, history.jsonl holds {held} epochs."))
    if data != "MNIST":
        told.append(("not MNIST", f"Trained on {ascii(data)[:80]}."))
    return told


def _count(card: dict[str, Any], name: str) -> int:
    number = card.get(name)
    if type(number) is not int or not 0 < number < 10**9:
        raise ValueError(f"card.json does not say how many {name} it was.")
    return number


def _object(loads: Files, name: str) -> dict[str, Any]:
    """The JSON object in a file; raises ValueError with the reason."""
    try:
        found = json.loads(_text(loads, name))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{name} cannot be read: {error}.") from None
    if not isinstance(found, dict):
        raise ValueError(f"{name} cannot be read: it is no JSON object.")
    return found


def _text(loads: Files, name: str) -> str:
    if name not in loads:
        raise ValueError(f"{name} is not there.")
    try:
        return loads[name](MOST_SOURCE).decode("utf-8")
    except (*BROKEN, zlib.error) as error:
        raise ValueError(f"{name} cannot be read: {error}.") from None


def _epochs(text: str) -> list[tuple[Any, Any]]:
    """Training and held-out loss of each epoch; lines that are none are left out."""
    found = []
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and record.get("kind") == "epochs":
            losses = record.get("train_loss"), record.get("held_out_loss")
            found += [losses] * all(isinstance(loss, float) for loss in losses)
    return found


@cache
def _shipped() -> frozenset[tuple[Any, Any]]:
    """The epochs of the histories beside the shipped weights."""
    paths = (tree() / "diffusion_lib" / "weights").glob("*.history.jsonl")
    return frozenset(epoch for path in paths for epoch in _epochs(path.read_text(encoding="utf-8")))
