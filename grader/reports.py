"""What grading leaves: grades.csv, a marking sheet, a feedback page for each student, a report for the teacher."""

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from diffusion_lib.homework.exercises import REREAD, Assignment
from grader.grading import OPEN, Result
from grader.hand_ins import key_of
from grader.lateness import Lateness, after, lateness, matched, read_extensions
from grader.marking import OF_EARLIER, Mark, Sheet, counted, merge
from grader.runs import IN_ORDER, NONE, shared
from grader.tables import safe, write_whole

STYLE = (
    "body{font:16px/1.5 sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#111}"
    "pre{background:#f5f5f5;padding:.8rem;white-space:pre-wrap}table{border-collapse:collapse}"
    "td,th{border-bottom:1px solid #ccc;padding:.3rem .8rem;text-align:left}"
)


def page(title: str, body: str) -> str:
    """A page that needs nothing from anywhere."""
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return f'<!doctype html><html lang="en"><head>{head}<style>{STYLE}</style></head><body>{body}</body></html>\n'


def write_reports(out: Path, results: list[Result], assignment: Assignment) -> None:
    """Write all reports; marks that are already in the marking sheet stay and are added to the grades."""
    results = sorted(results, key=lambda r: (r.student.lower(), r.hand_in))
    late, odd = _lateness(out / "extensions.csv", results, assignment)
    days, words = {n: one.cell for n, one in late.items()}, {n: one.words for n, one in late.items()}
    sheet = merge(out / "marking.csv", results, assignment, {"late_days": days, "lateness": words} if late else None)
    marks = sheet.marks
    write_whole(out / "grades.csv", _grades(results, marks, assignment, late))
    for r in (r for r in results if r.status != "left aside"):
        folder, mark = out / "students" / key_of(r.hand_in), marks.get(r.hand_in, {})
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "feedback.html", feedback(r, mark, assignment))
        write_whole(folder / "results.json", json.dumps(gradescope(r, mark, assignment), indent=1))
    write_whole(out / "report.html", report(results, assignment, sheet, late, odd, _text(out / "regrade.md")))


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _lateness(path: Path, results: list[Result], assignment: Assignment) -> tuple[dict[str, Lateness], list[str]]:
    """How late each hand-in is, nothing where no due date is set; and which rows of extensions.csv fit nobody."""
    if assignment.due is None:
        return {}, []
    extended, odd = matched(counted(results), read_extensions(path))
    return {r.hand_in: lateness(r, assignment, extended.get(r.hand_in)) for r in counted(results)}, odd


def _grades(results: list[Result], marks: dict[str, Mark], assignment: Assignment, late: dict[str, Lateness]) -> str:
    """The text of grades.csv."""
    head = ["student", "hand_in", "status", "late", *assignment.exercises, *assignment.written]
    file = io.StringIO(newline="")
    sheet = csv.writer(file)
    further = ["late_days", "lateness", "after_lateness"] if late else []
    sheet.writerow([*head, "total", "out_of", "mistakes", "run", *further])
    for r in (r for r in results if r.status != "left aside"):
        mark = marks.get(r.hand_in, {})
        known = {} if r.status in OPEN else r.exercises
        code = [f"{known[n]['points']:g}" if n in known else "" for n in assignment.exercises]
        total = r.points + sum(mark.get(part, 0) for part in assignment.written)
        mistakes = "; ".join(f"{n}: {m}" for n, e in r.exercises.items() for m in e["mistakes"])
        row = [r.student, r.hand_in, r.status, "late" if r.late else "", *code, *_points(mark, assignment)]
        shown = "" if r.status in OPEN else f"{total:g}"
        row += [shown, f"{assignment.points:g}", mistakes, r.run]
        sheet.writerow(map(safe, [*row, *(_late_cells(shown, late.get(r.hand_in), assignment) if late else [])]))
    return file.getvalue()


def _late_cells(total: str, late: Lateness | None, assignment: Assignment) -> list[str]:
    """Days late, their arithmetic, and what the total would be after them."""
    if late is None:
        return ["", "", ""]
    if not assignment.late_share or late.days is None or not total:
        return [late.cell, late.words, ""]
    left, words = after(float(total), late.days, assignment.late_share)
    return [late.cell, f"{late.words} {words}.", f"{left:g}"]


def _points(mark: Mark, assignment: Assignment) -> list[str]:
    return [f"{mark[part]:g}" if part in mark else "" for part in assignment.written]


def feedback(result: Result, mark: Mark, assignment: Assignment) -> str:
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


def report(
    results: list[Result],
    assignment: Assignment,
    sheet: Sheet,
    late: Mapping[str, Lateness] | None = None,
    odd: Sequence[str] = (),
    regraded: str = "",
) -> str:
    """The teacher's page: how the class did, which mistakes, what to say next time, whose code is alike, who is who."""
    there = counted(results)
    graded = [r for r in there if r.status not in OPEN]
    title = f"<h1>{escape(assignment.title)}: {len(there)} hand-ins</h1>"
    parts = [_scores(graded, assignment), _mistakes(graded), _runs(there), _troubled(results), _alike(there)]
    if regraded:
        parts.append(f"<h2>The last change of points</h2><p>{escape(regraded)}</p>")
    parts += [_late(late or {}, odd), _all(results), _aside(results), _marking(results, sheet)]
    return page("Class report", title + "".join(parts))


def _scores(results: list[Result], assignment: Assignment) -> str:
    rows = ["<tr><th>exercise</th><th>right</th><th>mean</th></tr>"]
    for name, worth in assignment.exercises.items():
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
    noted = {r.hand_in: r.notes + r.for_teacher + (r.run_notes if r.run != IN_ORDER else []) for r in results}
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
    table = f"<h2>The experiment's runs</h2><p>{told}</p><table>{''.join(rows)}</table>" if rows else ""
    twice = shared({r.hand_in: (r.losses, r.histories) for r in results if r.losses})
    told = (
        "Right code, the same seed and the same kind of machine can give two people the same losses. They do not give "
        "them the same seconds."
    )
    pairs = "".join(f"<li>{escape(line)}</li>" for line in twice)
    return table + (f"<h3>One history in two hand-ins</h3><p>{told}</p><ul>{pairs}</ul>" if twice else "")


def _all(results: list[Result]) -> str:
    """Every hand-in with what became of it."""
    rows = ["<tr><th>hand-in</th><th>student</th><th></th><th>code</th></tr>"]
    for r in (r for r in results if r.status != "left aside"):
        points = "" if r.status in OPEN or r.status == "superseded" else f"{r.points:g}"
        late = ", late" if r.late else ""
        cells = (r.hand_in, r.student, r.status + late, points)
        rows.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    return f"<h2>All hand-ins</h2><table>{''.join(rows)}</table>"


def _late(late: Mapping[str, Lateness], odd: Sequence[str]) -> str:
    """Who is late by how much; empty where no due date is set."""
    if not late:
        return ""
    rows = [
        f"<tr><td>{escape(name)}</td><td>{found.cell}</td><td>{escape(found.words)}</td></tr>"
        for name, found in late.items()
        if found.days != 0
    ]
    told = "No points are taken off. The newest file inside is dated by the student's machine: it was handed in later."
    table = f"<table><tr><th>hand-in</th><th>days</th><th></th></tr>{''.join(rows)}</table>" if rows else "<p>None.</p>"
    fits = "".join(f"<li>{escape(line)}</li>" for line in odd)
    return f"<h2>Late</h2><p>{told}</p>{table}" + (f"<p>In extensions.csv:</p><ul>{fits}</ul>" if fits else "")


def _marking(results: list[Result], sheet: Sheet) -> str:
    """Rows of the marking sheet whose hand-in is not in the folder, and marks that were given for an earlier one."""
    gone = sorted(set(sheet.rows) - {r.hand_in for r in counted(results)})
    told = "Their rows stay in the sheet. Was a file renamed, or handed in again?"
    rows = "".join(f"<li>{escape(name)}</li>" for name in gone)
    found = f"<h2>In the marking sheet, but not among the hand-ins</h2><p>{told}</p><ul>{rows}</ul>" if gone else ""
    rows = "".join(f"<li>{escape(f'{a}: marked as {b}')}</li>" for a, b in sorted(sheet.of_earlier().items()))
    told = f"The marks moved along. Where you have seen the newer one, empty the cell under {OF_EARLIER}."
    return found + (f"<h2>Marked before it was handed in again</h2><p>{told}</p><ul>{rows}</ul>" if rows else "")


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
