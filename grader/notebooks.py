"""The students' notebooks: exercises and questions where they belong, and no cell that gives an answer away."""

import re
from collections.abc import Collection, Iterator
from typing import Any

from diffusion_lib.homework.exercises import Assignment, Exercise, get
from diffusion_lib.homework.questions import Question
from grader.sheets import for_the_write_up, question_in_a_notebook

Cell = dict[str, Any]
LATER = "*This part of the notebook opens after the deadline.*"
SOLUTION = "solution"  # tag of cells that would give an answer away
WRITE_UP = "write-up"  # tag of the cell that lists all written questions
NOTES = {  # notebook -> a section, and what a student is told at its start
    "05_mnist_experiment": (
        "5.2 Train, or load",
        "> **Your own run is elsewhere.** In [your experiment](05_your_experiment.ipynb) you train and draw with your "
        "own functions. This notebook shows a finished run of the course, made with the library's functions: learn "
        "here how a curve, a grid and a number are read. Its numbers are not yours.",
    )
}


def student_notebook(book: dict[str, Any], stem: str, assignment: Assignment) -> dict[str, Any]:
    """A notebook with no outputs, no cells that give answers away, and the assignment's exercises and questions."""
    cells: list[Cell] = []
    here = {name: points for name, points in assignment.exercises.items() if get(name).notebook == stem}
    for cell in _cut(_shown(book["cells"], {id for name in here for id in get(name).gives_away})):
        source = "".join(cell["source"])
        if WRITE_UP in cell["metadata"].get("tags", []):
            source = for_the_write_up(assignment.questions, source.partition("\n")[0])
        if cell["cell_type"] == "code" and all(known["cell_type"] != "code" for known in cells):
            source = "%load_ext autoreload\n%autoreload 2\nfrom diffusion_lib.homework import check\n\n" + source
        cells.append(_cell(cell["cell_type"], cell["id"], source))
        for name in [name for name in here if _shows(get(name), source) and not get(name).after]:
            cells += _exercise_cells(get(name), here.pop(name))
    for name, points in here.items():  # no cell shows it, or one does too late
        end = _section(cells, stem, get(name).after or get(name).reread.partition(", ")[2])[1]
        cells[end:end] = _exercise_cells(get(name), points)
    if stem in NOTES:
        section, text = NOTES[stem]
        start = _section(cells, stem, section)[0] + 1
        cells[start:start] = [_cell("markdown", "own-run", text)]
    for key, question in assignment.questions.items():
        if question.notebook == stem:
            end = _section(cells, stem, question.section)[1]
            cells[end:end] = _question_cells(key, question)
    return {"cells": cells, "metadata": book["metadata"], "nbformat": 4, "nbformat_minor": 5}


def _shown(cells: list[Cell], given_away: Collection[str]) -> Iterator[Cell]:
    """The cells that students get; where some are left out, one says so."""
    before = False
    for cell in cells:
        hidden = SOLUTION in cell["metadata"].get("tags", []) or cell["id"] in given_away
        if not hidden:
            yield cell
        elif not before:
            yield _cell("markdown", f"{cell['id']}-later", LATER)
        before = hidden


def _cut(cells: Iterator[Cell]) -> Iterator[Cell]:
    """The cells, cut before headings of sections: what is put at a section's end stands behind its last answer."""
    for cell in cells:
        parts = [""]
        if cell["cell_type"] == "markdown":
            parts = re.split(r"\n+(?=## )", "".join(cell["source"]))
        if len(parts) == 1:
            yield cell
        else:
            yield from (cell | {"id": f"{cell['id']}-{i}", "source": part} for i, part in enumerate(parts))


def _section(cells: list[Cell], stem: str, name: str) -> tuple[int, int]:
    """Where a section's heading is, and before which cell the section ends; raises ValueError where there is none."""
    heads = [
        (i, line.removeprefix("## "))
        for i, cell in enumerate(cells)
        if cell["cell_type"] == "markdown"
        for line in "".join(cell["source"]).splitlines()
        if line.startswith("## ")
    ]
    names = [head for _, head in heads]
    if name not in names:
        raise ValueError(f"{stem} has no section {name!r}; it has: {'; '.join(names)}.")
    start = heads[names.index(name)][0]
    return start, next((i for i, _ in heads[names.index(name) + 1 :] if i > start), len(cells))


def _question_cells(key: str, question: Question) -> list[Cell]:
    metadata = _nbgrader(key, question.points, solution=True)
    asked = _cell("markdown", f"q-{key}", question_in_a_notebook(question))
    return [asked, _cell("markdown", f"a-{key}", "*Your answer.*", metadata)]


def _shows(exercise: Exercise, source: str) -> bool:
    """Does a cell show what the exercise asks for, or what stands for it?"""
    return bool(re.search(rf"show_source\(.*\b{exercise.shown or exercise.attribute}\b", source))


def _exercise_cells(exercise: Exercise, points: float) -> Iterator[Cell]:
    worth = f"{points:g} point" + ("" if points == 1 else "s")
    text = (
        f"> **Exercise {exercise.number} ({worth}).** Write `{exercise.attribute}` in `{exercise.path}`: "
        f"{exercise.task}. Save the file, then run the check as often as you like."
    )
    yield _cell("markdown", f"e-{exercise.name}", text)
    source = f'check("{exercise.name}").show()'
    yield _cell("code", f"c-{exercise.name}", source, _nbgrader(exercise.name, points, solution=False))


def _cell(kind: str, id: str, source: str, metadata: dict[str, Any] | None = None) -> Cell:
    cell: Cell = {"cell_type": kind, "id": id, "metadata": metadata or {}, "source": source.splitlines(True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def _nbgrader(name: str, points: float, *, solution: bool) -> dict[str, Any]:
    """Metadata that nbgrader reads: a cell it grades by running, or an answer that a person grades."""
    flags = {"grade": True, "solution": solution, "locked": not solution, "task": False}
    return {"nbgrader": {"grade_id": name, "points": points, "schema_version": 3, **flags}}
