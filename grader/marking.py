"""The marking sheet: what a teacher writes in it survives every run, resubmissions and changed assignments included.

Rows, columns, their order and their form belong to the teacher. A run adds rows and columns that are missing, and
moves a row to the hand-in that counts now; it takes nothing away.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffusion_lib.homework.exercises import Assignment
from grader.grading import Result
from grader.tables import Row, Table, number, read_table, safe

Mark = dict[str, Any]  # points by written part, and "comment"
OF_EARLIER = "marks_from"  # the column that names the hand-in that was marked, where a newer one counts


@dataclass
class Sheet:
    """The sheet as it stands: a table, its rows by hand-in, and what they say."""

    table: Table
    rows: dict[str, Row] = field(default_factory=dict)
    marks: dict[str, Mark] = field(default_factory=dict)

    def text(self, row: Row, name: str) -> str:
        """A cell's text, as it was before :func:`safe`."""
        return row.text(self.table.column(name)).strip().removeprefix("'")

    def put(self, row: Row, name: str, text: str) -> None:
        """Write a cell of a column that is there."""
        self.table.put(row, self.table.needed(name), text)

    def of_earlier(self) -> dict[str, str]:
        """Hand-in -> the earlier one that its marks were given for."""
        told = {name: self.text(row, OF_EARLIER) for name, row in self.rows.items()}
        return {name: earlier for name, earlier in told.items() if earlier}


def read_sheet(path: Path, assignment: Assignment) -> Sheet:
    """Read ``marking.csv``; raises ValueError that names line and column where it cannot be understood."""
    if not path.exists() or not path.read_bytes().strip():
        return Sheet(Table(path, prefix="\ufeff"))  # so that Excel reads names as they are
    sheet = Sheet(read_table(path))
    place = sheet.table.needed("hand_in")
    for row in sheet.table.rows:
        if name := sheet.text(row, "hand_in"):
            if name in sheet.rows:
                earlier = sheet.rows[name].line
                raise ValueError(f"{sheet.table.where(row, place)}: {name} stands in line {earlier} too.")
            sheet.rows[name], sheet.marks[name] = row, _mark(sheet, row, assignment)
    return sheet


def _mark(sheet: Sheet, row: Row, assignment: Assignment) -> Mark:
    mark: Mark = {"comment": sheet.text(row, "comment")}
    for part, (_, worth, _) in assignment.written.items():
        column = sheet.table.column(part)
        if column is None or not (text := sheet.text(row, part)):
            continue
        if (points := number(text)) is None:
            raise ValueError(f"{sheet.table.where(row, column)}: {text!r} is no number of points.")
        if points > worth:
            raise ValueError(f"{sheet.table.where(row, column)}: {points:g} is outside 0 ... {worth:g}.")
        mark[part] = points
    return mark


def counted(results: list[Result]) -> list[Result]:
    """Those that have a row: not the older ones of a student, and not what is no hand-in."""
    return [result for result in results if result.status not in ("superseded", "left aside")]


def merge(
    path: Path, results: list[Result], assignment: Assignment, told: Mapping[str, Mapping[str, str]] | None = None
) -> Sheet:
    """Bring the sheet up to date with ``results`` and write it; ``told``: further columns, name -> {hand-in: text}."""
    sheet, further = read_sheet(path, assignment), told or {}
    for name in ("hand_in", "student", *assignment.written, "comment", "to_read", *further):
        sheet.table.add_column(name)
    _move(sheet, counted(results))
    for result in counted(results):
        if result.hand_in not in sheet.rows:
            texts = {"hand_in": safe(result.hand_in), "student": safe(result.student)}
            sheet.rows[result.hand_in] = sheet.table.add_row(texts)
        row = sheet.rows[result.hand_in]
        if not sheet.text(row, "student"):
            sheet.put(row, "student", safe(result.student))
        sheet.put(row, "to_read", safe("; ".join(result.papers)))
        for name, texts_of in further.items():
            sheet.put(row, name, texts_of.get(result.hand_in, ""))
    sheet.table.write()
    return sheet


def _move(sheet: Sheet, there: list[Result]) -> None:
    """Give the row of a hand-in that no longer counts to the new one by the same student."""
    new = _by_student(there, sheet)
    gone: dict[str, list[str]] = {}
    for name in set(sheet.rows) - {result.hand_in for result in there}:
        gone.setdefault(sheet.text(sheet.rows[name], "student"), []).append(name)
    for student, names in gone.items():
        if len(names) == len(new.get(student, [])) == 1:
            old, now = names[0], new[student][0]
            row = sheet.rows[now] = sheet.rows.pop(old)
            mark = sheet.marks[now] = sheet.marks.pop(old)
            sheet.put(row, "hand_in", safe(now))
            if len(mark) > 1 or mark["comment"]:
                sheet.table.add_column(OF_EARLIER)
                sheet.put(row, OF_EARLIER, sheet.text(row, OF_EARLIER) or safe(old))


def _by_student(results: list[Result], sheet: Sheet) -> dict[str, list[str]]:
    """The hand-ins that have no row yet."""
    new: dict[str, list[str]] = {}
    for result in results:
        if result.hand_in not in sheet.rows:
            new.setdefault(result.student, []).append(result.hand_in)
    return new
