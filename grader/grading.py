"""Grade a folder of hand-ins: each exercise in a sandbox, judged here, where the code has never run.

Every finished hand-in is written down at once, so a run that was killed continues where it stopped.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from queue import Queue
from typing import Any

from diffusion_lib.homework.checks import LAYERS, NOT_WRITTEN, Verdict, explained
from diffusion_lib.homework.exercises import Assignment, get, tests_name, tree
from diffusion_lib.homework.finding import parsed
from diffusion_lib.homework.formerly import former_imports
from diffusion_lib.homework.records import Record
from grader.archives import walk
from grader.asking import answered, credit
from grader.hand_ins import HandIn, discover, time_of
from grader.likeness import fingerprint
from grader.reading import no_python, read
from grader.recording import kept_record
from grader.runs import summary
from grader.sandbox.client import Sandbox
from grader.tables import write_whole
from grader.testers import grade_tests

STATUS = ("graded", "superseded", "unreadable", "unclear", "not graded", "left aside")
OPEN = ("unclear", "not graded")  # no points yet, and so no 0 either
KEY = 7  # the grader's own questions: other numbers than the students' copies hold


@dataclass
class Result:
    """One hand-in, graded."""

    hand_in: str
    student: str
    late: bool
    status: str  # one of STATUS
    notes: list[str] = field(default_factory=list)
    papers: list[str] = field(default_factory=list)
    exercises: dict[str, dict[str, Any]] = field(default_factory=dict)  # name -> points, worth, lines, mistakes, layers
    run: str = ""  # of the experiment, in few words; empty where none is asked for, or nothing could be read
    run_notes: list[str] = field(default_factory=list)  # the same in sentences, for the teacher alone
    for_teacher: list[str] = field(default_factory=list)  # notes that may name other students
    losses: list[str] = field(default_factory=list)  # of each epoch of the runs that came along
    histories: list[str] = field(default_factory=list)  # digests of those runs' histories
    fingerprint: str = ""  # of the code with names taken out, for the integrity note
    handed_in: str = ""  # ISO time without a zone, as far as it is known
    time_from: str = ""  # what tells that time
    made_of: dict[str, str] = field(default_factory=dict)  # see below; what is made of the same is not graded again

    @property
    def points(self) -> float:
        """Points of the code; written parts come from the marking sheet."""
        return sum(entry["points"] for entry in self.exercises.values())


def grade_one(hand_in: HandIn, assignment: Assignment, record: Record, sandbox: Sandbox) -> Result:
    """Read, run and judge one hand-in."""
    result = Result(hand_in.name, hand_in.student, hand_in.late, "graded")
    if _left_out(hand_in, result):
        return result
    read(hand_in, [get(name) for name in assignment.exercises], tests=bool(assignment.tests))
    _tell(hand_in, result, runs="experiment" in assignment.written)
    for name, worth in assignment.exercises.items():
        verdict = _verdict(hand_in, name, assignment, record, sandbox)
        result.exercises[name] = {
            "points": round(credit(verdict, worth, assignment), 3), "worth": worth, "passed": verdict.passed,
            "lines": verdict.lines(), "mistakes": [m["name"] for m in verdict.mistakes],
            "layers": {LAYERS[layer]: ok for layer, ok in verdict.layers.items()},
        }  # fmt: skip
    for name, worth in assignment.tests.items():
        result.exercises[tests_name(name)] = grade_tests(hand_in, name, worth, sandbox)
    _told_unclear(hand_in, result)
    result.fingerprint = fingerprint(hand_in.sources, assignment)
    return result


def _told_unclear(hand_in: HandIn, result: Result) -> None:
    """Where a person has to decide what is graded, there are no points yet, and no 0."""
    if hand_in.unclear_code:
        result.status = "unclear"
    if hand_in.unclear:
        result.status = "unclear"
        asked = f"Which of these is meant? {', '.join(hand_in.unclear)}. Leave only that one and grade again."
        result.notes.append(asked)


def _left_out(hand_in: HandIn, result: Result) -> bool:
    """Is there nothing to grade, because a newer one counts, or because it is no hand-in? Says so in ``result``."""
    if hand_in.superseded_by:
        result.status, result.notes = "superseded", [f"Handed in again: {hand_in.superseded_by} counts."]
    elif hand_in.aside:
        result.status, result.notes = "left aside", [hand_in.problem] if hand_in.problem else []
    return result.status != "graded"


def _tell(hand_in: HandIn, result: Result, *, runs: bool) -> None:
    """What reading found out: notes, when it was handed in, and where ``runs`` are asked for, whose they are."""
    result.handed_in, result.time_from = time_of(hand_in)
    result.notes, result.for_teacher, result.papers = hand_in.notes, hand_in.for_teacher, hand_in.papers
    if hand_in.problem:
        result.status = "unreadable"
        result.notes.append(hand_in.problem)
    elif runs:
        result.run, result.run_notes = summary(hand_in.runs)
        result.losses = [epoch for run in hand_in.runs for epoch in run.losses]
        result.histories = [run.history for run in hand_in.runs if run.history]


def _verdict(hand_in: HandIn, name: str, assignment: Assignment, record: Record, sandbox: Sandbox) -> Verdict:
    exercise = get(name)
    source = hand_in.sources.get(exercise.path)
    if hand_in.problem or source is None:
        verdict = Verdict(name, False, problem=hand_in.problem or hand_in.problems[exercise.path])
    elif wrong := no_python(source):
        verdict = Verdict(name, False, problem=f"{exercise.path}{wrong}")
    elif exercise.path in hand_in.stuck:
        verdict = Verdict(name, False, problem=hand_in.stuck[exercise.path])
    else:
        verdict = explained(answered(hand_in, exercise, assignment, record, sandbox), exercise, source, hand_in.beside)
        hand_in.notes += [note for note in former_imports(parsed(source), hand_in.beside) if note not in hand_in.notes]
    missing = any(words in verdict.problem for words in (NOT_WRITTEN, "is not in the hand-in", "has no function"))
    if missing and exercise.attribute in hand_in.in_notebooks:
        where = hand_in.in_notebooks[exercise.attribute]
        verdict.problem = f"{name} is in the notebook {where}, not in {exercise.path}. Your teacher decides."
        hand_in.notes.append(
            f"{name} is in the notebook {where}, not in {exercise.path}: you decide. Put it there and grade again. "
            "Until then there are no points, and no 0."
        )
        hand_in.unclear_code = True
    return verdict


TELL = {
    "commands",
    "gradebook",
    "gradescope",
    "handout",
    "lateness",
    "likeness",
    "marking",
    "pages",
    "regrade",
    "reports",
    "rounds",
    "selftest",
    "strangers",
    "tables",
    "variants",
}  # of this package: what changes no verdict
# Of an assignment, what changes no verdict:
UNGRADED = {"title", "deadline", "source", "late", "rules", "written", "questions", "variants"}


def made_of(hand_in: HandIn, assignment: Assignment) -> dict[str, str]:
    """What a result hangs on: the hand-in's names, sizes and times, what the assignment asks and pays, the checker."""
    hasher = hashlib.sha256(hand_in.superseded_by.encode())
    for top in (hand_in.path, *hand_in.more):
        inside = top.is_dir() and not top.is_symlink()
        for path in [top / os.fsdecode(name) for name in walk(top)] if inside else [top]:
            status = path.lstat()
            hasher.update(repr((os.fsencode(path.name), status.st_size, status.st_mtime_ns)).encode())
    asked = [(name, value) for name, value in vars(assignment).items() if name not in UNGRADED]
    asked_digest = hashlib.sha256(repr((asked, list(assignment.written))).encode()).hexdigest()
    return {"hand-in": hasher.hexdigest(), "assignment": asked_digest, "checker": _checker()}


@cache
def _checker() -> str:
    """A digest of the library, the checks and what a result says."""
    hasher = hashlib.sha256(f"{KEY}{[f.name for f in fields(Result)]}".encode())
    library, rooms = tree() / "diffusion_lib", ("catalogue", "sandbox")
    paths = [p for p in (tree() / "grader").glob("*.py") if p.stem not in TELL]
    paths += [*library.glob("*.py"), *library.glob("homework/*.py")]
    paths += [p for room in rooms for p in (tree() / "grader" / room).glob("*") if p.is_file()]
    for path in sorted(paths):
        hasher.update(path.name.encode() + b"\0" + path.read_bytes())
    return hasher.hexdigest()


def grade(
    folder: Path, out: Path, assignment: Assignment, *, jobs: int = 1, unsafe: bool = False
) -> Iterator[tuple[Result, bool]]:
    """Grade every hand-in in ``folder``; yields (result, was it known already), in the order of their ends."""
    (out / "students").mkdir(parents=True, exist_ok=True)
    waiting = []
    for hand_in in discover(folder):
        stored = load_result(out, hand_in.key)
        if stored and stored.made_of == made_of(hand_in, assignment):
            yield stored, True
        else:
            waiting.append(hand_in)
    if waiting:
        for result in _grade_all(waiting, out, assignment, max(1, min(jobs, len(waiting))), unsafe):
            yield result, False


def _grade_all(waiting: list[HandIn], out: Path, assignment: Assignment, jobs: int, unsafe: bool) -> Iterator[Result]:
    """Grade with ``jobs`` sandboxes at a time."""
    record = kept_record(list(assignment.exercises), key=KEY)
    free: Queue[Sandbox] = Queue()

    def work(hand_in: HandIn) -> Result:
        sandbox = free.get()
        try:
            return _graded(hand_in, out, assignment, record, sandbox)
        finally:
            free.put(sandbox)

    with ExitStack() as sandboxes:
        for _ in range(jobs):
            free.put(sandboxes.enter_context(Sandbox(KEY, list(assignment.exercises), unsafe=unsafe)))
        with ThreadPoolExecutor(jobs) as pool:
            yield from pool.map(work, waiting)


def _graded(hand_in: HandIn, out: Path, assignment: Assignment, record: Record, sandbox: Sandbox) -> Result:
    """:func:`grade_one`, written down; one broken hand-in must not end the class.

    A failure of the machine is no grade: it is told, not written down, and tried again by the next run.
    """
    try:
        result = grade_one(hand_in, assignment, record, sandbox)
        result.made_of = made_of(hand_in, assignment)
    except Exception as error:
        result = Result(hand_in.name, hand_in.student, hand_in.late, "not graded")
        result.notes = [f"Grading failed, run it again: {type(error).__name__}: {error}"]
        return result
    store_result(out, hand_in.key, result)
    return result


def store_result(out: Path, key: str, result: Result) -> None:
    """Write a result."""
    folder = out / "students" / key
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "result.json", json.dumps(asdict(result), indent=1, ensure_ascii=False))


def load_result(out: Path, key: str) -> Result | None:
    """What :func:`store_result` wrote; None where there is nothing, or nothing readable."""
    try:
        return result_of(json.loads((out / "students" / key / "result.json").read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return None


def result_of(entry: Any) -> Result | None:
    """A stored result, of an earlier version of the grader as well; None where it is none."""
    known = {f.name for f in fields(Result)}
    try:
        return Result(**{name: value for name, value in entry.items() if name in known})
    except (AttributeError, TypeError):
        return None
