"""The teacher's commands: python -m diffusion_lib homework build | grade | selftest | inventory | …"""

import json
from pathlib import Path
from typing import Annotated

import typer

from grader.inventory.commands import app as inventory_app

AssignmentFile = Annotated[Path | None, typer.Option(help="By default homework/assignment.toml.")]
Unsafe = Annotated[bool, typer.Option("--unsafe", help="Run hand-ins without protection where there is none.")]


def enter(app: typer.Typer) -> None:
    """Add the teacher's commands to the students'."""
    for command in (build, grade, gradebook, selftest, gradescope, record):
        app.command()(command)
    app.add_typer(inventory_app, name="inventory")


def _assignment(path: Path | None):  # type: ignore[no-untyped-def]
    from diffusion_lib.homework.exercises import assignment_path, load_assignment

    try:
        return load_assignment(path or assignment_path())
    except ValueError as error:
        raise _stop(error) from None


def _stop(error: object) -> typer.Exit:
    typer.echo(f"Error: {error}", err=True)
    return typer.Exit(2)


def build(
    out: Annotated[Path, typer.Option(help="A new or empty folder.")],
    assignment: AssignmentFile = None,
    students: Annotated[
        Path | None, typer.Option(help="A table with the column student: other numbers for each. See variants.")
    ] = None,
) -> None:
    """Make OUT/student (publish OUT/student.zip), or a .zip for each of STUDENTS, and OUT/teacher."""
    from diffusion_lib.homework.exercises import assignment_path
    from grader.handout import build as build_handout

    try:
        made = build_handout(out, assignment or assignment_path(), students)
    except (ValueError, OSError) as error:
        raise _stop(error) from None
    typer.echo(f"{made.title}: {len(made.exercises)} exercises, {made.points:g} points together.")
    if students:
        count = len(list((out / "students").glob("*.zip")))
        typer.echo(f"Give each of {count} students the own .zip of {out / 'students'}. {out / 'teacher'} is for you.")
    else:
        size = (out / "student.zip").stat().st_size / 2**20
        typer.echo(f"Publish {out / 'student.zip'} ({size:.1f} MiB). {out / 'teacher'} is for you.")


def grade(
    hand_ins: Annotated[Path, typer.Argument(help="Folder of .zip files or folders, as downloaded.")],
    out: Annotated[Path, typer.Option(help="Folder for the results; a run that was stopped continues there.")],
    jobs: Annotated[int, typer.Option(min=1, help="Hand-ins at a time.")] = 2,
    assignment: AssignmentFile = None,
    earlier: Annotated[
        list[Path] | None, typer.Option(help="A folder of another year's hand-ins, to compare the code with.")
    ] = None,
    unsafe: Unsafe = False,
) -> None:
    """Grade a folder of hand-ins: grades.csv, marking.csv, report.html, and a page for each student."""
    from grader.rounds import run

    try:
        done = run(hand_ins, out, _assignment(assignment), jobs=jobs, unsafe=unsafe, earlier=earlier or ())
    except (ValueError, OSError) as error:
        raise _stop(error) from None
    told = f"{len(done.results)} hand-ins, {done.known} of them graded before."
    typer.echo(f"{told} See {out / 'report.html'} and {out / 'grades.csv'}.")
    if done.changed:
        typer.echo(done.changed)
    typer.echo(f"Written parts: fill in {out / 'marking.csv'} and run this again.")
    if done.failed:
        typer.echo(f"Error: not graded, run this again: {', '.join(done.failed)}. See the report.", err=True)
        raise typer.Exit(1)


def gradebook(
    export: Annotated[Path, typer.Argument(help="The .csv that Canvas or Moodle exported.")],
    results: Annotated[Path, typer.Argument(help="The folder that grade wrote.")],
    out: Annotated[Path | None, typer.Option(help="The file to import; by default RESULTS/EXPORT.")] = None,
    column: Annotated[str, typer.Option(help="Where the points belong, or a part of its name.")] = "",
    points: Annotated[str, typer.Option(help="A column of grades.csv; by default counts or total.")] = "",
    id: Annotated[str, typer.Option(help="The column with students' numbers, where it is not known.")] = "",
    name: Annotated[list[str] | None, typer.Option(help="The column, or two, with their names, likewise.")] = None,
) -> None:
    """Fill the points into the table of Canvas or Moodle; everything else in it stays as it is."""
    from grader.gradebook import fill

    target = out or results / export.name
    try:
        if target.resolve() == export.resolve():
            raise ValueError(f"{target} is the export itself. Name another file with --out.")
        filled = fill(export, results / "grades.csv", column=column, points=points, id=id, name=name or ())
        filled.table.write(target)
    except (ValueError, OSError) as error:
        raise _stop(error) from None
    typer.echo(f"{filled.system}: {filled.count} students have their points under {filled.column}. Import {target}.")
    for line in filled.told:
        typer.echo(line)


def selftest(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    by_strangers: Annotated[bool, typer.Option("--strangers", help="On wrong code that others wrote.")] = False,
) -> None:
    """Grade the grader: exit 0 when every mistake is caught and named and no honest style is refused.

    With --strangers: on code that was not derived from the catalogue; exit 0 when all of it is caught.
    """
    from dataclasses import asdict

    from grader import selftest as test
    from grader import strangers

    if by_strangers:
        rates = strangers.measure()
        typer.echo(strangers.table(rates))
        raise typer.Exit(0 if all(rate.caught == rate.hand_ins for rate in rates) else 1)
    scores = test.selftest()
    typer.echo(json.dumps([asdict(score) for score in scores], indent=1) if as_json else test.table(scores))
    raise typer.Exit(0 if all(score.clean for score in scores) else 1)


def gradescope(submission: Path, results: Path) -> None:
    """Grade one submission where Gradescope runs, and write its results.json."""
    from grader.grading import KEY, grade_one
    from grader.hand_ins import HandIn
    from grader.recording import kept_record
    from grader.reports import gradescope as as_gradescope
    from grader.sandbox.client import UNSAFE, Sandbox

    chosen = _assignment(None)
    with Sandbox(KEY, list(chosen.exercises), unsafe=True) as sandbox:
        if sandbox.mode == UNSAFE:
            raise _stop("run this as root: without Landlock a hand-in's code has to run as another user.")
        record = kept_record(list(chosen.exercises), key=KEY)
        result = grade_one(HandIn("submission", submission, "submission"), chosen, record, sandbox)
    results.parent.mkdir(parents=True, exist_ok=True)
    told = as_gradescope(result, {}, chosen, hidden=True)
    results.write_text(json.dumps(told, indent=1), encoding="utf-8")


def record() -> None:
    """Write the recorded answers anew: after any change of the library, the probes or the catalogue."""
    from diffusion_lib.homework.records import RECORD_FILE, write_record
    from grader.recording import make_record

    write_record(RECORD_FILE, make_record())
    typer.echo(f"{RECORD_FILE} ({RECORD_FILE.stat().st_size / 2**20:.1f} MiB)")
