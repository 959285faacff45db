"""A class's answers, read from a table as a spreadsheet or a form server writes it."""

import csv
from dataclasses import dataclass
from pathlib import Path

from grader.inventory.questions import FORMS, LETTERS

WHEN = ("before", "after")
MISSING = ("", "-", "–", "?")


@dataclass(frozen=True)
class Sheet:
    """One student's answers on one occasion: a letter for each question, "" where there is none."""

    student: str
    when: str
    form: str
    letters: tuple[str, ...]


def read_answers(path: Path, count: int) -> tuple[list[Sheet], list[str]]:
    """The answers in ``path`` to ``count`` questions, and in words what could not be used.

    The table has the columns student, when (before or after), form (A or B) and 1 … ``count``, in any order, separated
    by commas, semicolons or tabs. ValueError where a column is missing.
    """
    lines = path.read_text(encoding="utf-8-sig").splitlines()
    if not lines:
        raise ValueError(f"{path} is empty; it needs the columns student, when, form, 1 … {count}.")
    rows = csv.DictReader(lines, delimiter=max(",;\t", key=lines[0].count))
    rows.fieldnames = [name.strip().lower() for name in rows.fieldnames or []]
    missing = [
        name for name in ("student", "when", "form", *map(str, range(1, count + 1))) if name not in rows.fieldnames
    ]
    if missing:
        raise ValueError(f"{path} lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)} in its first line.")
    sheets: dict[tuple[str, str], Sheet] = {}
    told: list[str] = []
    for row in rows:
        line = rows.line_num
        found = _sheet({k: (v or "").strip() for k, v in row.items() if isinstance(k, str)}, line, count, told)
        if found is None:
            continue
        if (found.student, found.when) in sheets:
            told.append(
                f"Line {line}: {found.student} has answered {found.when} the series twice; the first row counts."
            )
            continue
        sheets[found.student, found.when] = found
    return list(sheets.values()), told


def _sheet(row: dict[str, str], line: int, count: int, told: list[str]) -> Sheet | None:
    """One row, or None and a line in ``told`` where nobody can say whose answers they are, when, or to which form."""
    student, when, form = row["student"], row["when"].lower(), row["form"].upper()
    if not any(row.values()):
        return None
    for value, allowed, what in ((when, WHEN, "when"), (form, FORMS, "form")):
        if value not in allowed:
            told.append(f"Line {line}: {what} is {value!r}, not {' or '.join(allowed)}; the row is left out.")
            return None
    if not student:
        told.append(f"Line {line}: no student is named; the row is left out.")
        return None
    letters, empty = [], 0
    for number in range(1, count + 1):
        letter = row[str(number)].lower().rstrip(").")
        if letter not in (*LETTERS, *MISSING):
            told.append(f"Line {line}, question {number}: {letter!r} is not one of a, b, c, d; it counts as no answer.")
            letter = ""
        empty += letter in MISSING
        letters.append("" if letter in MISSING else letter)
    if empty:
        told.append(f"Line {line}: {student} has no answer to {empty} of {count} questions; they count as not right.")
    return Sheet(student, when, form, tuple(letters))
