"""Read from a hand-in what is graded: which of its files is meant, in which encoding, and what stands beside it."""

import ast
import codecs
import io
import json
import re
import tokenize
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import PurePosixPath
from typing import Any

from diffusion_lib.homework.exercises import TESTS_FILE, Exercise
from diffusion_lib.homework.finding import written
from grader.archives import BROKEN, MOST_SOURCE, Files, Load, look
from grader.hand_ins import HandIn, printable
from grader.runs import read_runs

MOST_BESIDE = 200  # modules of the student's own
PAPER = re.compile(r"(write-?up[^/]*|\.ipynb)$", re.IGNORECASE)
MERGE_MARKS = (re.compile(r"^\"?<{7}( |$)", re.MULTILINE), re.compile(r"^\"?>{7}( |$)", re.MULTILINE))
RENAMED = r"^(?:.*_\d+_\d+_)?{}(?:[ _-]*(?:\(?\d+\)?|copy|kopie|final|solved))*\.py$"  # by browsers, Canvas and people
ASIDE = re.compile(r"backup|\bbak\b|old|copy|kopie|orig|trash|deleted|previous", re.IGNORECASE)


def read(hand_in: HandIn, exercises: Iterable[Exercise], *, tests: bool = False) -> None:
    """Fill in the sources of the exercises' files, and of ``tests``, or why they cannot be read, and the experiment's
    runs."""
    if hand_in.problem:
        return
    files: Files = {}
    for path in [hand_in.path, *hand_in.more]:
        try:
            prefix = f"{path.name}/" if hand_in.more else ""
            files |= {prefix + name: load for name, load in look(path, hand_in.notes).items()}
        except BROKEN as error:
            why = f"{printable(path.name)} cannot be opened: {error or type(error).__name__}."
            hand_in.notes.append(why) if hand_in.more else None
            hand_in.problem = "" if hand_in.more and files else f"It cannot be opened: {error or type(error).__name__}."
    if files:
        hand_in.problem = ""
        _read(hand_in, list(exercises), files, tests)
    else:
        hand_in.problem = hand_in.problem or "It is empty."


def _read(hand_in: HandIn, exercises: list[Exercise], files: Files, tests: bool) -> None:
    papers = {printable(name): load for name, load in files.items() if PAPER.search(name)}
    hand_in.papers = sorted(papers)
    for target in [*sorted({exercise.path for exercise in exercises}), *[TESTS_FILE] * tests]:
        attributes = [exercise.attribute for exercise in exercises if exercise.path == target]
        is_written = partial(written, attributes=attributes) if attributes else holds_tests
        place = _chosen(hand_in, target, is_written, files)
        if place:
            hand_in.sources[target] = _text(files[place], hand_in, target)
            _merge_marks(hand_in, target)
            _beside(hand_in, place, target, files)
    hand_in.runs = read_runs(files, hand_in.beside | hand_in.sources)
    for name, load in papers.items():
        if name.endswith(".ipynb"):
            _notebook(hand_in, name, load, [exercise.attribute for exercise in exercises])


def holds_tests(source: str) -> bool:
    """Does a file define any test_*?"""
    return bool(re.search(r"^\s*def test_\w+", source, re.MULTILINE))


def no_python(source: str) -> str:
    """Why ``source`` cannot be parsed; empty where it can."""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        where = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        return f"{where} is not valid Python: {error}."
    return ""


def _candidates(target: str, files: Files) -> list[str]:
    """Names under which ``target`` may have come, those that fit best alone, shallowest first."""
    name = PurePosixPath(target)
    renamed = re.compile(RENAMED.format(re.escape(name.stem)), re.IGNORECASE)
    loose = [n for n in files if renamed.match(PurePosixPath(n).name)]
    return sorted(loose, key=lambda n: (not f"/{n}".endswith(f"/{target}"), n.count("/"), n))


def _chosen(hand_in: HandIn, target: str, is_written: Callable[[str], Any], files: Files) -> str:
    """The one file that can be meant; empty, with a problem told, where there is none or where they differ."""
    texts: dict[str, str] = {}
    for name in _candidates(target, files):
        try:
            texts[name] = _text(files[name])
        except ValueError as error:
            hand_in.problems[target] = f"{target}: {error}"
    if not texts:
        hand_in.problems.setdefault(target, f"{target} is not in the hand-in.")
        return ""
    hand_in.problems.pop(target, None)
    solved = {name: text for name, text in texts.items() if is_written(text)} or texts
    meant = _meant(solved, target)
    if len({solved[name].strip() for name in meant}) > 1 and solved is not texts:
        hand_in.unclear = [printable(name) for name in meant]
        hand_in.problems[target] = f"Which of these is meant? {', '.join(hand_in.unclear)}. Your teacher decides."
        return ""
    place = meant[0]
    if len(texts) > 1:
        hand_in.notes.append(f"{target} is there {len(texts)} times; graded: {printable(place)}.")
    elif not f"/{place}".endswith(f"/{target}") or place.removesuffix(target).count("/") > 1:
        hand_in.notes.append(f"{target} was found at {printable(place)}.")
    return place


def _meant(texts: dict[str, str], target: str) -> list[str]:
    """Those of several solved files that are in the right place and not put aside."""
    names = list(texts)
    for fits in (lambda n: not ASIDE.search(n), lambda n: f"/{n}".endswith(f"/{target}")):
        names = [name for name in names if fits(name)] or names
    return names


def _text(load: Load, hand_in: HandIn | None = None, target: str = "") -> str:
    """A file as text with \\n; raises ValueError where it is too large."""
    data = load(MOST_SOURCE)
    encoding = _encoding(data)
    if hand_in and encoding == "latin-1":
        hand_in.notes.append(f"{target} is not UTF-8; read as Latin-1.")
    text = data.decode(encoding, errors="replace")
    return text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")


def _encoding(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in data[:200]:
        return "utf-16-le" if data[1:2] == b"\0" else "utf-16-be"
    try:
        encoding = tokenize.detect_encoding(io.BytesIO(data).readline)[0]
        data.decode(encoding)
        return encoding
    except (SyntaxError, UnicodeDecodeError, LookupError):
        return "latin-1"


def _merge_marks(hand_in: HandIn, target: str) -> None:
    text = hand_in.sources[target]
    try:
        ast.parse(text)  # what runs may hold any signs in its strings
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        if all(mark.search(text) for mark in MERGE_MARKS):
            del hand_in.sources[target]
            hand_in.problems[target] = f"{target} holds merge marks (<<<<<<<): choose one side and delete them."


def _beside(hand_in: HandIn, place: str, target: str, files: Files) -> None:
    """The student's other modules, where Python would find them from the folder of the homework."""
    package = place.rpartition("/")[0]
    if package.rpartition("/")[2].lower() != target.partition("/")[0] or target.count("/") > 1:
        return
    root = package[: len(package) - len(target.partition("/")[0])]
    for name, load in files.items():
        inside = name.removeprefix(f"{package}/") if name.startswith(f"{package}/") else ""
        own = f"diffusion_lib/{inside}" if inside else name.removeprefix(root)
        wanted = bool(inside) or (name.startswith(root) and "/" not in own)
        if not (wanted and own.endswith(".py")) or own.startswith("diffusion_lib/homework/") or name == place:
            continue
        if len(hand_in.beside) < MOST_BESIDE:
            try:
                hand_in.beside[own] = _text(load)
            except ValueError as error:
                hand_in.notes.append(f"{printable(name)}: {error}")


def _notebook(hand_in: HandIn, name: str, load: Load, attributes: list[str]) -> None:
    """Note which graded functions a notebook's cells define."""
    try:
        text = _text(load)
        cells = json.loads(text)["cells"]
        codes = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    except (ValueError, KeyError, TypeError, RecursionError):
        if "text" in locals() and all(mark.search(text) for mark in MERGE_MARKS):
            hand_in.notes.append(f"{name} holds merge marks and cannot be opened.")
        return
    for code in codes:
        plain = "\n".join(line for line in code.splitlines() if not line.lstrip().startswith(("%", "!")))
        for attribute in written(plain, attributes):
            hand_in.in_notebooks.setdefault(attribute, name)
