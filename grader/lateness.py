"""How late a hand-in is, and by which arithmetic. ``total`` is never touched: what is left stands in its own column."""

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path

from diffusion_lib.homework.exercises import Assignment
from diffusion_lib.homework.rules import Late
from grader.archives import stem
from grader.grading import Result
from grader.hand_ins import BY_FILES
from grader.tables import Row, Table, read_table

DAY = timedelta(days=1)
FORMS = ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%d.%m.%Y %H:%M:%S", "%d.%m.%Y %H:%M", "%d.%m.%Y")


@dataclass(frozen=True)
class Extension:
    """A row of extensions.csv: a later end, days that cost nothing, or both."""

    student: str
    until: datetime | None
    late_days: int


@dataclass(frozen=True)
class Lateness:
    """Days begun after the end and not given for free, None where nobody can tell; and the arithmetic."""

    days: int | None
    words: str

    @property
    def cell(self) -> str:
        """The days as a cell's text."""
        return "?" if self.days is None else str(self.days)


def read_extensions(path: Path) -> list[Extension]:
    """``extensions.csv`` with the columns student, until and late_days; ValueError with line and column."""
    if not path.exists():
        return []
    table, found = read_table(path), {}
    place = table.needed("student")
    if table.column("until") is None and table.column("late_days") is None:
        table.needed("until")
    for row in table.rows:
        student = row.text(place).strip()
        if student.casefold() in found:
            raise ValueError(f"{table.where(row, place)}: {student} has a row already.")
        if student:
            found[student.casefold()] = Extension(student, _until(table, row), _late_days(table, row))
    return list(found.values())


def _until(table: Table, row: Row) -> datetime | None:
    column = table.column("until")
    if column is None or not (text := row.text(column).strip().replace("T", " ")):
        return None
    for form in FORMS:
        try:
            when = datetime.strptime(text, form)
        except ValueError:
            continue
        return when if "%H" in form else end_of(when)
    raise ValueError(f"{table.where(row, column)}: {text!r} is no time. Write 2026-12-05, or 2026-12-05 18:00.")


def _late_days(table: Table, row: Row) -> int:
    column = table.column("late_days")
    if column is None or not (text := row.text(column).strip()):
        return 0
    if not re.fullmatch("[0-9]{1,3}", text):
        raise ValueError(f"{table.where(row, column)}: {text!r} is no number of days.")
    return int(text)


def end_of(day: datetime) -> datetime:
    """The last second of a day."""
    return datetime.combine(day, time(23, 59, 59))


def matched(results: list[Result], extensions: list[Extension]) -> tuple[dict[str, Extension], list[str]]:
    """Hand-in -> its extension; and in words which rows of extensions.csv fit no student, or more than one."""
    of = {extension.student: extension for extension in extensions}
    fits, told = called(results, list(of))
    return {hand_in: of[name] for hand_in, name in fits.items()}, told


def called(results: list[Result], names: list[str]) -> tuple[dict[str, str], list[str]]:
    """Hand-in -> the one of ``names`` that calls its student; and in words which fit no student, or more than one."""
    fits: dict[str, str] = {}
    told = []
    for name in names:
        whose = [result for result in results if name.casefold() in _names(result)]
        students = sorted({result.student for result in whose})
        if len(students) == 1:
            fits |= dict.fromkeys((result.hand_in for result in whose), name)
        elif students:
            told.append(f"{name} may be {', '.join(students)}: write one of these.")
        else:
            told.append(f"{name} has handed in nothing under this name.")
    return fits, told


def _names(result: Result) -> set[str]:
    """By which names a teacher may call a student: as in the report, the name alone, the number alone, the file."""
    parts = re.fullmatch(r"(.*) \((\d+)\)", result.student)
    names = {result.student, result.hand_in, stem(result.hand_in), *(parts.groups() if parts else ())}
    return {name.casefold() for name in names}


def lateness(result: Result, assignment: Assignment, extension: Extension | None = None) -> Lateness:
    """How late ``result`` is; the assignment must have a due date."""
    assert assignment.late.due is not None
    end, why = assignment.late.due, "due"
    if extension and extension.until and extension.until > end:
        end, why = extension.until, "extended to"
    told = f"{why} {_shown(end)}"
    if not result.handed_in:
        return Lateness(None, f"No time is known; {told}.")
    when = datetime.fromisoformat(result.handed_in)
    start = f"{_shown(when)} by {result.time_from}, {told}"
    if when <= end:
        if result.late and result.time_from == BY_FILES:
            return Lateness(None, f"{start}; Canvas says LATE: by how much is not in its file names.")
        return Lateness(0, f"{start}: on time.")
    if when - end <= timedelta(minutes=assignment.late.grace):
        return Lateness(0, f"{start}: within the {assignment.late.grace:g} min that are forgiven.")
    return _late(start, when - end, extension.late_days if extension else 0)


def _late(start: str, over: timedelta, free: int) -> Lateness:
    begun = -(-over // DAY)
    minutes = -(-(over % DAY).total_seconds() // 60)
    words = f"{start}: {over // DAY} d {minutes // 60:.0f} h {minutes % 60:.0f} min over, {begun} begun"
    days = max(0, begun - free)
    return Lateness(days, words + (f" − {free} free = {begun - free}, so {days}." if free else "."))


def _shown(when: datetime) -> str:
    return when.strftime("%Y-%m-%d %H:%M")


def after(total: float, days: int, late: Late) -> tuple[float, str]:
    """The total after each day late has taken its share off, all together no more than ``at_most``; the arithmetic."""
    if days * late.each_day > late.at_most + 1e-9:
        left = total * (1 - late.at_most)
        return left, f"{total:g} × (1 − {late.at_most:g}) = {left:g}, as no more is taken off"
    left = total * (1 - days * late.each_day)
    return left, f"{total:g} × (1 − {days} × {late.each_day:g}) = {left:g}"
