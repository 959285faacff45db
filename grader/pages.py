"""The pages that people read: a student's feedback, the teacher's report. What they look like stands in templates/."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from diffusion_lib.homework.exercises import REREAD, Assignment
from grader.grading import OPEN, Result
from grader.lateness import Lateness
from grader.likeness import Alike
from grader.marking import OF_EARLIER, Mark, Sheet, counted
from grader.runs import IN_ORDER, NONE, shared
from grader.testers import escaped_from_the_class

MOST_BARS = 20
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_name("templates")), autoescape=True, undefined=StrictUndefined,
    trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
)  # fmt: skip
TEMPLATES.filters["number"] = lambda points: f"{points:g}"


@dataclass
class Beside:
    """What the report tells beside the results."""

    late: Mapping[str, Lateness] = field(default_factory=dict)  # empty: no due date is set
    odd: Sequence[str] = ()  # rows of extensions.csv that fit nobody
    regraded: str = ""  # the paragraph of the last change of points
    earlier: Sequence[Alike] | None = None  # None: not asked for
    unlisted: Sequence[str] = ()  # what of the roster and the hand-ins does not fit


def feedback(result: Result, mark: Mark, assignment: Assignment, cost: str = "") -> str:
    """A student's page: verdicts, what to reread, marks of the written parts, and what lateness takes off."""
    page = TEMPLATES.get_template("feedback.html")
    return page.render(result=result, mark={"comment": ""} | mark, assignment=assignment, cost=cost)


def report(results: list[Result], assignment: Assignment, sheet: Sheet, beside: Beside) -> str:
    """The teacher's page: how the class did, which mistakes, what to say next time, whose code is alike, who is who."""
    there = counted(results)
    graded = [result for result in there if result.status not in OPEN]
    return TEMPLATES.get_template("report.html").render(
        assignment=assignment, count=len(there), scores=_scores(graded, assignment), mistakes=_mistakes(graded),
        escaped=escaped_from_the_class([result.exercises for result in graded]),
        runs=_runs(there), shared=shared({r.hand_in: (r.losses, r.histories) for r in there if r.losses}),
        troubled=_troubled(results), same=_same(there), beside=beside, late=_late(beside), all=_all(results),
        aside=[result.hand_in for result in results if result.status == "left aside"],
        gone=sorted(set(sheet.rows) - {result.hand_in for result in there}), of_earlier=OF_EARLIER,
        moved=[f"{now}: marked as {then}" for now, then in sorted(sheet.of_earlier().items())],
    )  # fmt: skip


def _scores(results: list[Result], assignment: Assignment) -> list[tuple[str, ...]]:
    """For each exercise: how many are right, and the mean."""
    rows: list[tuple[str, ...]] = []
    for name, worth in assignment.by_machine.items():
        entries = [result.exercises[name] for result in results if name in result.exercises]
        mean = sum(entry["points"] for entry in entries) / max(1, len(entries))
        right = sum(entry["passed"] for entry in entries)
        rows.append((name, f"{right} of {len(entries)}", f"{mean:.2f} of {worth:g}"))
    return rows


def _mistakes(results: list[Result]) -> list[dict[str, Any]]:
    """Named mistakes, most frequent first, with the length of their bars."""
    counts = Counter((n, m) for r in results for n, e in r.exercises.items() for m in e["mistakes"])
    most = max(counts.values(), default=1)
    return [
        {"exercise": name, "mistake": mistake, "count": count, "width": round(260 * count / most),
         "reread": REREAD[name]}
        for (name, mistake), count in counts.most_common(MOST_BARS)
    ]  # fmt: skip


def _runs(results: list[Result]) -> list[tuple[Any, ...]]:
    """Whose runs of the experiment they are; empty where none is asked for."""
    kinds: dict[str, list[str]] = {}
    for result in (result for result in results if result.run):
        kinds.setdefault(result.run, []).append(result.hand_in)
    rows = sorted(kinds.items(), key=lambda item: -len(item[1]))
    return [(len(names), kind, ", ".join(names)) for kind, names in rows]


def _troubled(results: list[Result]) -> list[str]:
    """Hand-ins that a person should look at, and why."""
    noted = {r.hand_in: r.notes + r.for_teacher + (r.run_notes if r.run != IN_ORDER else []) for r in results}
    rows = [f"{name}: {' '.join(notes)}" for name, notes in noted.items() if notes]
    without = [result.hand_in for result in results if result.run == NONE]
    return rows + ([f"No run of the experiment was handed in: {', '.join(without)}."] if without else [])


def _same(results: list[Result]) -> list[str]:
    """Groups of hand-ins whose graded functions have one fingerprint."""
    groups: dict[str, list[str]] = {}
    for result in (result for result in results if result.fingerprint):
        groups.setdefault(result.fingerprint, []).append(result.hand_in)
    return [", ".join(names) for names in groups.values() if len(names) > 1]


def _late(beside: Beside) -> list[tuple[str, str, str]]:
    return [(name, found.cell, found.words) for name, found in beside.late.items() if found.days != 0]


def _all(results: list[Result]) -> list[tuple[str, ...]]:
    """Every hand-in with what became of it."""
    rows: list[tuple[str, ...]] = []
    for r in (r for r in results if r.status != "left aside"):
        points = "" if r.status in OPEN or r.status == "superseded" else f"{r.points:g}"
        rows.append((r.hand_in, r.student, r.status + (", late" if r.late else ""), points))
    return rows
