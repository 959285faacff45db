"""What grading leaves: grades.csv, a marking sheet, a page and a results.json for each student, a report."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffusion_lib.homework.exercises import Assignment
from grader.grading import OPEN, Result
from grader.hand_ins import key_of
from grader.lateness import Lateness, after, called, lateness, matched, read_extensions
from grader.likeness import Alike
from grader.marking import Mark, counted, merge
from grader.pages import Beside, feedback, report
from grader.tables import safe, write_whole
from grader.variants import asked, key, read_roster

COUNTS = "counts"  # the column of grades.csv with the points after lateness, where they are taken off
ROSTER = "roster.csv"  # in the folder of the results, as it was given to build


def write_reports(
    out: Path, results: list[Result], assignment: Assignment, earlier: Sequence[Alike] | None = None
) -> None:
    """Write all reports; marks that are already in the marking sheet stay and are added to the grades.

    ``earlier``: pairs like hand-ins of earlier years, None where nobody asked.
    """
    results = sorted(results, key=lambda r: (r.student.lower(), r.hand_in))
    late, odd = _lateness(out / "extensions.csv", results, assignment)
    whose, unlisted = _whose(out / ROSTER, results, assignment)
    sheet = merge(out / "marking.csv", results, assignment, _further(late, whose, results, assignment))
    write_whole(out / "grades.csv", _grades(results, sheet.marks, assignment, late))
    for r in (r for r in results if r.status != "left aside"):
        folder, mark = out / "students" / key_of(r.hand_in), sheet.marks.get(r.hand_in, {})
        folder.mkdir(parents=True, exist_ok=True)
        own = asked(assignment, whose[r.hand_in]) if r.hand_in in whose else assignment
        write_whole(folder / "feedback.html", feedback(r, mark, own, _cost(r, mark, own, late.get(r.hand_in))))
        write_whole(folder / "results.json", json.dumps(gradescope(r, mark, assignment), indent=1))
    beside = Beside(late, odd, _text(out / "regrade.md"), earlier, unlisted)
    write_whole(out / "report.html", report(results, assignment, sheet, beside))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _lateness(path: Path, results: list[Result], assignment: Assignment) -> tuple[dict[str, Lateness], list[str]]:
    """How late each hand-in is, nothing where no due date is set; and which rows of extensions.csv fit nobody."""
    if assignment.late.due is None:
        return {}, []
    extended, odd = matched(counted(results), read_extensions(path))
    return {r.hand_in: lateness(r, assignment, extended.get(r.hand_in)) for r in counted(results)}, odd


def _whose(path: Path, results: list[Result], assignment: Assignment) -> tuple[dict[str, str], list[str]]:
    """Hand-in -> its student's name in the roster, where each has other numbers; and what does not fit, in words."""
    fits, told = called(counted(results), read_roster(path, assignment))
    lost = [result.hand_in for result in counted(results) if assignment.variants and result.hand_in not in fits]
    return fits, told + [f"{name}: nobody of the roster, so its numbers are not known." for name in lost]


def _further(
    late: dict[str, Lateness], whose: dict[str, str], results: list[Result], assignment: Assignment
) -> dict[str, dict[str, str]]:
    """Further columns of the marking sheet: days late, and each student's numbers with what is right for them."""
    columns = {}
    for name in (n for n, question in assignment.questions.items() if assignment.variants and question.variant):
        of = {hand_in: key(assignment, name, student) for hand_in, student in whose.items()}
        columns[f"{name}_numbers"] = {r.hand_in: of.get(r.hand_in, "?") for r in counted(results)}
    if late:
        columns["late_days"] = {name: one.cell for name, one in late.items()}
        columns["lateness"] = {name: one.words for name, one in late.items()}
    return columns


def _grades(results: list[Result], marks: dict[str, Mark], assignment: Assignment, late: dict[str, Lateness]) -> str:
    """The text of grades.csv."""
    head = ["student", "hand_in", "status", "late", *assignment.by_machine, *assignment.written]
    file = io.StringIO(newline="")
    sheet = csv.writer(file)
    further = ["late_days", "lateness", "after_lateness"] if late else []
    further += [COUNTS] if late and assignment.late.apply else []
    sheet.writerow([*head, "total", "out_of", "mistakes", "run", *further])
    for r in (r for r in results if r.status != "left aside"):
        mark = marks.get(r.hand_in, {})
        known = {} if r.status in OPEN else r.exercises
        code = [f"{known[n]['points']:g}" if n in known else "" for n in assignment.by_machine]
        total = _total(r, mark, assignment)
        mistakes = "; ".join(f"{n}: {m}" for n, e in r.exercises.items() for m in e["mistakes"])
        row = [r.student, r.hand_in, r.status, "late" if r.late else "", *code, *_points(mark, assignment)]
        shown = "" if r.status in OPEN else f"{total:g}"
        cells = _late_cells(shown, late.get(r.hand_in), assignment) if late else []
        sheet.writerow(map(safe, [*row, shown, f"{assignment.points:g}", mistakes, r.run, *cells]))
    return file.getvalue()


def _total(result: Result, mark: Mark, assignment: Assignment) -> float:
    """The points of code and written parts together, before lateness."""
    return result.points + sum(mark.get(part, 0) for part in assignment.written)


def _cost(result: Result, mark: Mark, assignment: Assignment, late: Lateness | None) -> str:
    """What a student reads of what lateness takes off; nothing where it takes nothing, or where that is not known."""
    if not (assignment.late.apply and late and late.days) or result.status in OPEN:
        return ""
    return _late_cells(f"{_total(result, mark, assignment):g}", late, assignment)[1]


def _late_cells(total: str, late: Lateness | None, assignment: Assignment) -> list[str]:
    """Days late, their arithmetic, what the total would be after them, and once more where that is what counts."""
    counts = int(assignment.late.apply)
    if late is None:
        return ["", "", "", *[""] * counts]
    if not assignment.late.each_day or late.days is None or not total:
        return [late.cell, late.words, "", *[""] * counts]
    left, words = after(float(total), late.days, assignment.late)
    return [late.cell, f"{late.words} {words}.", f"{left:g}", *[f"{left:g}"] * counts]


def _points(mark: Mark, assignment: Assignment) -> list[str]:
    return [f"{mark[part]:g}" if part in mark else "" for part in assignment.written]


def gradescope(result: Result, mark: Mark, assignment: Assignment, *, hidden: bool = False) -> dict[str, Any]:
    """The results.json that Gradescope reads; ``hidden``: with an entry on the run that it shows to teachers alone."""
    tests = [
        {"name": f"{name}", "score": e["points"], "max_score": e["worth"], "output": "\n".join(e["lines"]),
         "visibility": "visible", "extra_data": {"mistakes": e["mistakes"], "layers": e["layers"]}}
        for name, e in result.exercises.items()
    ]  # fmt: skip
    tests += [
        {
            "name": f"written: {part}",
            "score": mark[part],
            "max_score": assignment.written[part][1],
            "visibility": "visible",
        }
        for part in assignment.written
        if part in mark
    ]
    if hidden and result.run:
        told = "\n".join([result.run, *result.run_notes])
        tests.append({"name": "run of the experiment", "output": told, "visibility": "hidden"})
    return {
        "tests": tests,
        "output": "\n".join(result.notes),
        "extra_data": {"status": result.status, "late": result.late},
    }
