"""Find the hand-ins in a folder: whose each is, which files make one, which is the newest.

Understood are the names of Canvas (``name_112_3001_file.zip``), of Moodle (``Name_123_assignsubmission_file_``), of
Blackboard (``Homework_name_attempt_2026-12-01-23-59-00_file.zip``), and names that students choose. What is none of
these is told, never dropped.
"""

import hashlib
import os
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from grader.archives import BROKEN, is_archive, newest, stem
from grader.runs import Run

CANVAS = re.compile(r"^(?P<who>[^_]+)(?P<late>_LATE)?_(?P<user>\d+)_(?P<submission>\d+)_(?P<file>.*)$", re.DOTALL)
MOODLE = re.compile(r"^(?P<who>[^_]+)_(?P<user>\d+)_assignsubmission_[a-z]+_?(?P<file>.*)$", re.DOTALL)
BLACKBOARD = re.compile(r"^.+_(?P<who>[^_]+)_attempt_(?P<time>\d{4}(-\d\d){5})(_(?P<file>.*))?$", re.DOTALL)
COPY = re.compile(r" \(\d+\)$")  # as browsers number what they have already
BY_NAME, BY_FILES = "the course system's file name", "the newest file inside"
MOST_KEY = 100  # bytes
READABLE = (".py", ".ipynb")  # single files that can be graded


@dataclass
class HandIn:
    """One student's hand-in, read."""

    name: str  # as in the folder, printable
    path: Path
    student: str
    late: bool = False
    superseded_by: str = ""
    more: list[Path] = field(default_factory=list)  # further files of the same submission
    sources: dict[str, str] = field(default_factory=dict)  # "diffusion_lib/diffusion.py" -> text
    beside: dict[str, str] = field(default_factory=dict)  # the student's other modules, the same way
    problems: dict[str, str] = field(default_factory=dict)  # names as in sources -> why there is no text
    in_notebooks: dict[str, str] = field(default_factory=dict)  # function -> the notebook that defines it
    unclear: list[str] = field(default_factory=list)  # files any of which might be meant
    stuck: dict[str, str] = field(default_factory=dict)  # names as in sources -> why the file never finished loading
    unanswered: bool = False  # has a function of it never come to an end, or ended the program?
    unclear_code: bool = False  # is a function written where it is not graded?
    notes: list[str] = field(default_factory=list)  # the student may read them
    for_teacher: list[str] = field(default_factory=list)  # may name other students
    runs: list[Run] = field(default_factory=list)  # of the experiment
    papers: list[str] = field(default_factory=list)  # notebooks and write-ups, for the person who marks them
    problem: str = ""  # why nothing could be read
    aside: bool = False  # a file that is no hand-in

    def is_stuck(self, path: str, why: str) -> None:
        """The file ``path`` never finishes loading, so nothing of it can be graded: a person decides."""
        self.stuck[path], self.unclear_code = why, True
        self.notes.append(f"{path}: {why} Once it loads, grade again. Until then there are no points, and no 0.")

    @property
    def key(self) -> str:
        """A file name for its results, different for different hand-ins."""
        return key_of(self.name)


def key_of(name: str) -> str:
    """The folder of a hand-in's results: readable, at most 100 bytes, and another for every other name.

    A name that does not fit as it is carries a digest of itself.
    """
    plain = re.sub(r"[^\w.-]+", "_", name).lstrip(".")
    if plain and plain == name and len(name.encode()) <= MOST_KEY:
        return name
    mark = hashlib.sha256(os.fsencode(name)).hexdigest()[:10]
    return f"{plain.encode()[: MOST_KEY - 11].decode(errors='ignore') or 'unnamed'}-{mark}"


def printable(name: str) -> str:
    """A file name that can be written anywhere; bytes that are no text show as \\xNN."""
    return os.fsencode(name).decode("utf-8", errors="backslashreplace")


def discover(folder: Path) -> list[HandIn]:
    """All hand-ins in ``folder``, by name, then what is none; of several by one student older ones are marked."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder of hand-ins.")
    found: list[HandIn] = []
    aside: list[HandIn] = []
    for path in sorted(folder.iterdir()):
        hand_in = _hand_in(path)
        (aside if hand_in.aside else found).append(hand_in)
    _mark_older(found)
    _tell_numbered(found)
    found = [*_joined(found), *aside]
    keys: dict[str, int] = {}
    for hand_in in found:
        key = hand_in.key.casefold()  # also where results are copied to a disk that knows no capitals
        keys[key] = keys.get(key, 0) + 1
        if keys[key] > 1:
            hand_in.name += f"~{keys[key]}"
    return found


def _hand_in(path: Path) -> HandIn:
    name = printable(path.name)
    match = CANVAS.match(stem(name)) or MOODLE.match(stem(name))
    student = f"{match['who']} ({match['user']})" if match else stem(name)
    if tried := BLACKBOARD.match(stem(name)):
        student = tried["who"]
    hand_in = HandIn(name, path, student, late=bool(match and match.groupdict().get("late")))
    hidden = name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")
    if hidden or not (path.is_dir() or is_archive(name) or name.lower().endswith(READABLE)):
        hand_in.aside = True
        if not hidden:
            hand_in.problem = "It is neither a folder nor a .zip, .tar.gz, .py or .ipynb: have a look at it yourself."
    return hand_in


def _named(hand_in: HandIn) -> tuple[str, str]:
    """Whose a hand-in is by its name, and the file's name without the number of a repeated download."""
    name = stem(hand_in.name)
    if match := CANVAS.match(name):
        return hand_in.student, re.sub(r"(-\d+)?(\.\w+)?$", r"\2", COPY.sub("", match["file"]))
    if MOODLE.match(name):
        return hand_in.student, hand_in.name
    if match := BLACKBOARD.match(name):
        return f"blackboard {hand_in.student}", match["file"] or ""
    return hand_in.name, ""


def named_time(name: str) -> datetime | None:
    """When a file was handed in, where its name says it."""
    match = BLACKBOARD.match(stem(name))
    try:
        return datetime.strptime(match["time"], "%Y-%m-%d-%H-%M-%S") if match else None
    except ValueError:
        return None


def time_of(hand_in: HandIn) -> tuple[str, str]:
    """When it was handed in, as far as can be told, as ISO text without a zone; and what tells it. Both may be empty.

    Blackboard writes the time into the name. Canvas and Moodle do not; there the newest file inside is told, as the
    student's own machine dated it: it was handed in then or later.
    """
    if when := named_time(hand_in.name):
        return when.isoformat(), BY_NAME
    try:
        times = [found for path in (hand_in.path, *hand_in.more) if (found := newest(path))]
    except (*BROKEN, OverflowError):
        times = []
    return (max(times).isoformat(), BY_FILES) if times else ("", "")


def _mark_older(found: list[HandIn]) -> None:
    """Of one student's files of one name all but the newest are superseded."""
    newest: dict[tuple[str, str], HandIn] = {}
    for hand_in in sorted(found, key=_age):
        newest[_named(hand_in)] = hand_in
    for hand_in in found:
        if newest[_named(hand_in)] is not hand_in:
            hand_in.superseded_by = newest[_named(hand_in)].name


def _age(hand_in: HandIn) -> tuple[int, int, str]:
    """Later hand-ins last: by Canvas's submission number, then by the -N that it appends."""
    match = CANVAS.match(stem(hand_in.name))
    again = re.search(r"-(\d+)(\.\w+)?$", stem(hand_in.name)) if match else None
    return int(match["submission"]) if match else 0, int(again[1]) if again else 0, hand_in.name


def _tell_numbered(found: list[HandIn]) -> None:
    """``homework.zip`` and ``homework (1).zip`` may be two students', or one's twice: nobody but the teacher knows."""
    groups: dict[str, list[HandIn]] = {}
    for hand_in in found:
        groups.setdefault(COPY.sub("", stem(hand_in.name)), []).append(hand_in)
    for group in groups.values():
        if len(group) > 1 and not CANVAS.match(stem(group[0].name)):
            names = ", ".join(h.name for h in group)
            for hand_in in group:
                hand_in.for_teacher.append(f"{names}: counted as {len(group)} hand-ins. Are they of one student?")


def _joined(found: list[HandIn]) -> list[HandIn]:
    """Files of different names by one student make one hand-in."""
    whole: dict[str, HandIn] = {}
    rest = []
    for hand_in in found:
        first = whole.setdefault(_named(hand_in)[0], hand_in) if not hand_in.superseded_by else hand_in
        if first is hand_in:
            rest.append(hand_in)
        else:
            first.more.append(hand_in.path)
            first.late |= hand_in.late
    for hand_in in rest:
        if hand_in.more:
            others = ", ".join(printable(path.name) for path in hand_in.more)
            hand_in.notes.append(f"One hand-in of {1 + len(hand_in.more)} files: {hand_in.name}, {others}.")
    return rest
