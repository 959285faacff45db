"""What grading leaves: grades.csv, a marking sheet, a feedback page for each student, a report for the teacher."""

import csv
import json
from collections import Counter
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from diffusion_lib.homework.exercises import REREAD, Assignment
from grader.grading import Result
from grader.hand_ins import key_of
from grader.runs import IN_ORDER, NONE
from grader.testers import escaped_from_the_class

OPEN = ("unclear", "not graded")  # no points yet, and so no 0 either
STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#111}"
    "pre{background:#f5f5f5;padding:.8rem;white-space:pre-wrap}table{border-collapse:collapse}"
    "td,th{border-bottom:1px solid #ccc;padding:.3rem .8rem;text-align:left}"
)


def page(title: str, body: str) -> str:
    """A page that needs nothing from anywhere."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>\n'


def read_marks(path: Path, assignment: Assignment) -> dict[str, dict[str, Any]]:
    """The marking sheet, filled in: hand-in -> {part: points}, and its comment."""
    if not path.exists():
        return {}
    marks: dict[str, dict[str, Any]] = {}
    with path.open(newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            row = {name: (text or "").removeprefix("'") for name, text in row.items() if name}
            entry: dict[str, Any] = {"comment": (row.get("comment") or "").strip()}
            for part, (_, worth, _) in assignment.written.items():
                text = (row.get(part) or "").strip().replace(",", ".")
                if not text:
                    continue
                try:
                    points = float(text)
                except ValueError:
                    raise ValueError(f"{path}: {row['hand_in']}, {part}: {text!r} is no number.") from None
                if not 0 <= points <= worth:
                    raise ValueError(f"{path}: {row['hand_in']}, {part}: {points:g} is outside 0 ... {worth:g}.")
                entry[part] = points
            marks[row["hand_in"]] = entry
    return marks


def write_reports(out: Path, results: list[Result], assignment: Assignment) -> None:
    """Write all reports; marks that are already in the marking sheet stay and are added to the grades."""
    results = sorted(results, key=lambda r: (r.student.lower(), r.hand_in))
    marks = read_marks(out / "marking.csv", assignment)
    _write_marking(out / "marking.csv", results, marks, assignment)
    _write_grades(out / "grades.csv", results, marks, assignment)
    for r in (r for r in results if r.status != "left aside"):
        folder, mark = out / "students" / key_of(r.hand_in), marks.get(r.hand_in, {})
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "feedback.html").write_text(feedback(r, mark, assignment), encoding="utf-8")
        (folder / "results.json").write_text(json.dumps(gradescope(r, mark, assignment), indent=1), encoding="utf-8")
    (out / "report.html").write_text(report(results, assignment, marks), encoding="utf-8")


def _write_marking(path: Path, results: list[Result], marks: dict[str, dict[str, Any]], assignment: Assignment) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        sheet = csv.writer(file)
        sheet.writerow(["hand_in", "student", *assignment.written, "comment", "to_read"])
        for r in (r for r in results if r.status not in ("superseded", "left aside")):
            mark = marks.get(r.hand_in, {})
            row = [r.hand_in, r.student, *_points(mark, assignment), mark.get("comment", ""), "; ".join(r.papers)]
            sheet.writerow(map(_cell, row))
        for name in sorted(set(marks) - {r.hand_in for r in results if r.status not in ("superseded", "left aside")}):
            mark = marks[name]  # of a hand-in that is no longer there: nobody's marks are thrown away
            sheet.writerow(map(_cell, [name, "", *_points(mark, assignment), mark["comment"], ""]))


def _write_grades(path: Path, results: list[Result], marks: dict[str, dict[str, Any]], assignment: Assignment) -> None:
    head = ["student", "hand_in", "status", "late", *assignment.by_machine, *assignment.written]
    with path.open("w", newline="", encoding="utf-8") as file:
        sheet = csv.writer(file)
        sheet.writerow([*head, "total", "out_of", "mistakes", "run"])
        for r in (r for r in results if r.status != "left aside"):
            mark = marks.get(r.hand_in, {})
            known = {} if r.status in OPEN else r.exercises
            code = [f"{known[n]['points']:g}" if n in known else "" for n in assignment.by_machine]
            total = r.points + sum(mark.get(part, 0) for part in assignment.written)
            mistakes = "; ".join(f"{n}: {m}" for n, e in r.exercises.items() for m in e["mistakes"])
            row = [r.student, r.hand_in, r.status, "late" if r.late else "", *code, *_points(mark, assignment)]
            shown = "" if r.status in OPEN else f"{total:g}"
            sheet.writerow(map(_cell, [*row, shown, f"{assignment.points:g}", mistakes, r.run]))


def _points(mark: dict[str, Any], assignment: Assignment) -> list[str]:
    return [f"{mark[part]:g}" if part in mark else "" for part in assignment.written]


def _cell(text: str) -> str:
    """A cell that no spreadsheet takes for a formula."""
    return "'" + text if text.startswith(("=", "+", "-", "@", "\t")) else text


def feedback(result: Result, mark: dict[str, Any], assignment: Assignment) -> str:
    """A student's page: verdicts, what to reread, marks of the written parts."""
    late = ", handed in late" if result.late else ""
    parts = [f"<h1>{escape(assignment.title)}</h1><p>{escape(result.student)}{late}</p>"]
    parts += [f"<p>{escape(note)}</p>" for note in result.notes]
    for name, entry in result.exercises.items():
        parts.append(f"<h2>{name}: {entry['points']:g} of {entry['worth']:g}</h2>")
        parts.append(f"<pre>{escape(chr(10).join(entry['lines']))}</pre>")
    for part, (question, worth, _) in assignment.written.items():
        points = f"{mark[part]:g}" if part in mark else "not marked yet,"
        parts.append(f"<h2>Written: {points} of {worth:g}</h2><p>{escape(question)}</p>")
    if mark.get("comment"):
        parts.append(f"<h2>Comment</h2><p>{escape(mark['comment'])}</p>")
    return page(assignment.title, "".join(parts))


def gradescope(result: Result, mark: dict[str, Any], assignment: Assignment) -> dict[str, Any]:
    """The results.json that Gradescope reads."""
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
    return {
        "tests": tests,
        "output": "\n".join(result.notes),
        "extra_data": {"status": result.status, "late": result.late},
    }


def report(results: list[Result], assignment: Assignment, marks: Mapping[str, dict[str, Any]] | None = None) -> str:
    """The teacher's page: how the class did, which mistakes, what to say next time, whose code is alike, who is who.

    ``marks``: the rows of the marking sheet, by hand-in.
    """
    counted = [r for r in results if r.status not in ("superseded", "left aside")]
    graded = [r for r in counted if r.status not in OPEN]
    title = f"<h1>{escape(assignment.title)}: {len(counted)} hand-ins</h1>"
    parts = [_scores(graded, assignment), _mistakes(graded), escaped_from_the_class([r.exercises for r in graded])]
    parts += [_runs(counted), _troubled(results), _alike(counted)]
    parts += [_all(results), _aside(results), _unmatched(results, marks or {})]
    return page("Class report", title + "".join(parts))


def _scores(results: list[Result], assignment: Assignment) -> str:
    rows = ["<tr><th>exercise</th><th>right</th><th>mean</th></tr>"]
    for name, worth in assignment.by_machine.items():
        entries = [r.exercises[name] for r in results if name in r.exercises]
        right, mean = sum(e["passed"] for e in entries), sum(e["points"] for e in entries) / max(1, len(entries))
        rows.append(f"<tr><td>{name}</td><td>{right} of {len(entries)}</td><td>{mean:.2f} of {worth:g}</td></tr>")
    return f"<table>{''.join(rows)}</table>"


def _mistakes(results: list[Result]) -> str:
    counts = Counter((n, m) for r in results for n, e in r.exercises.items() for m in e["mistakes"])
    if not counts:
        return "<h2>Mistakes</h2><p>None that the catalogue knows.</p>"
    again = "".join(
        f"<li>{count} × <b>{escape(mistake)}</b> in {name}: show section {escape(REREAD[name])} again.</li>"
        for (name, mistake), count in counts.most_common(3)
    )
    return f"<h2>Mistakes</h2>{bars(counts)}<h2>For the next lecture</h2><ol>{again}</ol>"


def _troubled(results: list[Result]) -> str:
    noted = {r.hand_in: r.notes + (r.run_notes if r.run != IN_ORDER else []) for r in results}
    rows = [f"<li>{escape(name)}: {escape(' '.join(notes))}</li>" for name, notes in noted.items() if notes]
    if without := [r.hand_in for r in results if r.run == NONE]:
        rows.append(f"<li>No run of the experiment was handed in: {escape(', '.join(without))}.</li>")
    return f"<h2>Hand-ins to look at</h2><ul>{''.join(rows)}</ul>" if rows else ""


def _runs(results: list[Result]) -> str:
    """Whose runs of the experiment they are; empty where none is asked for."""
    kinds: dict[str, list[str]] = {}
    for r in (r for r in results if r.run):
        kinds.setdefault(r.run, []).append(r.hand_in)
    rows = [
        f"<tr><td>{len(names)}</td><td>{escape(kind)}</td><td>{escape(', '.join(names))}</td></tr>"
        for kind, names in sorted(kinds.items(), key=lambda item: -len(item[1]))
    ]
    told = (
        "In order: made with the handed-in functions, at least as long as the recipe minutes, and not the history that "
        "the course ships. It is what the student's files say: evidence for whoever marks, no proof, and no points."
    )
    return f"<h2>The experiment's runs</h2><p>{told}</p><table>{''.join(rows)}</table>" if rows else ""


def _all(results: list[Result]) -> str:
    """Every hand-in with what became of it."""
    rows = ["<tr><th>hand-in</th><th>student</th><th></th><th>code</th></tr>"]
    for r in (r for r in results if r.status != "left aside"):
        points = "" if r.status in OPEN or r.status == "superseded" else f"{r.points:g}"
        late = ", late" if r.late else ""
        cells = (r.hand_in, r.student, r.status + late, points)
        rows.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    return f"<h2>All hand-ins</h2><table>{''.join(rows)}</table>"


def _unmatched(results: list[Result], marks: Mapping[str, dict[str, Any]]) -> str:
    """Rows of the marking sheet whose hand-in is not in the folder."""
    gone = sorted(set(marks) - {r.hand_in for r in results if r.status not in ("superseded", "left aside")})
    told = "Their rows stay in the sheet. Was a file renamed, or handed in again?"
    rows = "".join(f"<li>{escape(name)}</li>" for name in gone)
    return f"<h2>In the marking sheet, but not among the hand-ins</h2><p>{told}</p><ul>{rows}</ul>" if gone else ""


def _aside(results: list[Result]) -> str:
    """Everything else that lay in the folder, so that nothing is lost without a word."""
    names = [escape(r.hand_in) for r in results if r.status == "left aside"]
    return f"<h2>Left aside</h2><p>{', '.join(names)}</p>" if names else ""


def _alike(results: list[Result]) -> str:
    alike: dict[str, list[str]] = {}
    for r in results:
        if r.fingerprint:
            alike.setdefault(r.fingerprint, []).append(r.hand_in)
    groups = [f"<li>{escape(', '.join(names))}</li>" for names in alike.values() if len(names) > 1]
    told = "All graded functions are the same up to names and comments. Short functions can be so by chance."
    found = f"<ul>{''.join(groups)}</ul>" if groups else "<p>None.</p>"
    return f"<h2>Alike, for your eyes only</h2><p>{told}</p>{found}"


def bars(counts: Counter[tuple[str, str]]) -> str:
    """A bar chart as SVG, most frequent first, with the numbers written out."""
    rows, most = counts.most_common(20), max(counts.values())
    parts = []
    for i, ((name, mistake), count) in enumerate(rows):
        y, width = 28 * i, 260 * count / most
        parts.append(f'<text x="0" y="{y + 18}">{escape(f"{name}: {mistake}")}</text>')
        parts.append(f'<rect x="400" y="{y + 5}" width="{width:.0f}" height="17" fill="#0072B2"/>')
        parts.append(f'<text x="{408 + width:.0f}" y="{y + 18}">{count}</text>')
    told = "; ".join(f"{name}, {mistake}: {count}" for (name, mistake), count in rows)
    return (
        f'<svg role="img" aria-label="{escape(told)}" viewBox="0 0 700 {28 * len(rows)}" width="700" '
        f'font-size="13" font-family="sans-serif">{"".join(parts)}</svg>'
    )
