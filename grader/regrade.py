"""What a second run changed: for each student the points before and after, in which exercise, and why."""

import csv
import io
import json
from collections import Counter, defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grader.grading import OPEN, Result, load_result, result_of
from grader.tables import safe, write_whole

BEFORE = ".before.json"  # what the last run that was finished said
CAUSES = {
    "hand-in": "handed in again",
    "assignment": "the assignment changed",
    "checker": "the checker changed",
}


@dataclass(frozen=True)
class Change:
    """Other points for an exercise than before; None where there are none yet, or where it is not asked for."""

    student: str
    hand_in: str
    exercise: str
    before: float | None
    after: float | None
    all_before: float | None
    all_after: float | None
    causes: tuple[str, ...]
    why: str

    @property
    def step(self) -> float:
        """By how much the points rose."""
        return (self.after or 0.0) - (self.before or 0.0)


def remember(out: Path) -> None:
    """Keep what the stored results say until a run ends: one that was stopped and goes on is one run."""
    if not (out / BEFORE).exists():
        stored = [load_result(out, path.parent.name) for path in sorted(out.glob("students/*/result.json"))]
        if results := [asdict(result) for result in stored if result]:
            write_whole(out / BEFORE, json.dumps(results))


def tell(out: Path, results: list[Result]) -> str:
    """Write regrade.csv and regrade.md where points changed since :func:`remember`; the paragraph, or nothing."""
    try:
        stored = json.loads((out / BEFORE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    found = changes([result for entry in stored if (result := result_of(entry))], results)
    if found:
        write_whole(out / "regrade.csv", _table(found))
        write_whole(out / "regrade.md", paragraph(found) + "\n")
    return paragraph(found)


def forget(out: Path, results: list[Result]) -> None:
    """The run has ended; one in which the machine failed goes on."""
    if all(result.status != "not graded" for result in results):
        (out / BEFORE).unlink(missing_ok=True)


def changes(before: list[Result], after: list[Result]) -> list[Change]:
    """Every exercise whose points are not what they were; a hand-in is compared with the student's last one."""
    by_name = {result.hand_in: result for result in before}
    last = {result.student: result for result in before if result.exercises}
    found = []
    for now in sorted(after, key=lambda result: (result.student.lower(), result.hand_in)):
        then = by_name.get(now.hand_in) or last.get(now.student)
        if then and then.exercises and now.exercises:
            found += _changes(then, now)
    return found


def _changes(then: Result, now: Result) -> list[Change]:
    causes = tuple(
        words
        for part, words in CAUSES.items()
        if then.made_of.get(part) != now.made_of.get(part) and (then.made_of or part == "checker")
    )
    found = []
    for name in dict.fromkeys([*then.exercises, *now.exercises]):
        before, after = _points(then, name), _points(now, name)
        if before != after:
            why = "; ".join([*causes, *_why(then.exercises.get(name), now.exercises.get(name))])
            found.append(Change(now.student, now.hand_in, name, before, after, _all(then), _all(now), causes, why))
    return found


def _points(result: Result, name: str) -> float | None:
    return result.exercises[name]["points"] if name in result.exercises and result.status not in OPEN else None


def _all(result: Result) -> float | None:
    return None if result.status in OPEN else result.points


def _why(then: dict[str, Any] | None, now: dict[str, Any] | None) -> list[str]:
    """What the verdict was and is, and what the exercise was and is worth."""
    if then is None or now is None:
        return ["no longer asked for" if now is None else "asked for now"]
    told = [f"{_said(then)} → {_said(now)}"] if _said(then) != _said(now) else []
    return told + [f"worth {then['worth']:g} → {now['worth']:g}"] * (then["worth"] != now["worth"])


def _said(entry: dict[str, Any]) -> str:
    if entry["passed"]:
        return "right"
    return ", ".join(entry["mistakes"]) or entry["lines"][0].partition(": ")[2]


def paragraph(found: list[Change]) -> str:
    """All changes in a few sentences; empty where there is none."""
    if not found:
        return ""
    steps: dict[str, float] = defaultdict(float)
    for change in found:
        steps[change.student] += change.step
    more, fewer = sum(step > 0 for step in steps.values()), sum(step < 0 for step in steps.values())
    causes = Counter(cause for _, cause in {(c.student, cause) for c in found for cause in c.causes})
    exercises = Counter(name for _, name in {(c.student, c.exercise) for c in found})
    student, step = max(steps.items(), key=lambda item: (abs(item[1]), item[0]))
    return (
        f"Points changed for {len(steps)} student{'s' * (len(steps) > 1)}: {more} with more, {fewer} with fewer. "
        f"The largest step is {step:+g}, for {student}. By exercise: {_listed(exercises)}. Because: {_listed(causes)}. "
        "Each student's points before and after are in regrade.csv."
    )


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.most_common())


def _table(found: list[Change]) -> str:
    file = io.StringIO(newline="")
    table = csv.writer(file)
    table.writerow(["student", "hand_in", "exercise", "before", "after", "change", "code_before", "code_after", "why"])
    for c in found:
        numbers = [_number(c.before), _number(c.after), f"{c.step:+g}", _number(c.all_before), _number(c.all_after)]
        table.writerow([safe(c.student), safe(c.hand_in), c.exercise, *numbers, safe(c.why)])
    return file.getvalue()


def _number(points: float | None) -> str:
    return "" if points is None else f"{points:g}"
