"""Make the students' folder and the teacher's folder from the one tree.

A student gets ``diffusion_lib`` whole, with the bodies of the exercises out and recorded numbers in. Nothing of the
teacher's package is looked at. Notebook cells that would give an answer away are tagged, and left out.
"""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffusion_lib.homework.exercises import TESTS_FILE, Assignment, Exercise, get, load_assignment, tree
from diffusion_lib.homework.records import RECORD_FILE, write_record
from grader.gradescope import write_autograder
from grader.recording import kept_record
from grader.trees import copy_package, pack_folder

TOP_FILES = ("course.py", "pyproject.toml", "requirements.lock", "environment.yml", "LICENSE")
LATER = "*This part of the notebook opens after the deadline.*"
SOLUTION = "solution"  # tag of notebook cells that would give an answer away


def build(out: Path, assignment_file: Path) -> Assignment:
    """Write ``out``/student, ``out``/student.zip and ``out``/teacher; ``out`` must be new or empty."""
    assignment = load_assignment(assignment_file)
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty. Choose a new folder, or empty this one.")
    student, teacher = out / "student", out / "teacher"
    student.mkdir(parents=True)
    teacher.mkdir()
    _student(student, assignment)
    pack_folder(student, out / "student.zip")
    for name in ("rubric.md", "teachers_guide.md"):
        shutil.copyfile(tree() / "homework" / name, teacher / name)
    (teacher / "assignment.toml").write_text(assignment.source, encoding="utf-8")
    write_autograder(teacher / "gradescope_autograder.zip", assignment)
    return assignment


def _student(folder: Path, assignment: Assignment) -> None:
    root, taken = tree(), [get(name) for name in assignment.exercises]
    copy_package(root / "diffusion_lib", folder, taken=taken)
    write_record(folder / RECORD_FILE.relative_to(root), kept_record())
    for name in TOP_FILES:
        shutil.copyfile(root / name, folder / name)
    (folder / "assignment.toml").write_text(assignment.source, encoding="utf-8")
    (folder / "Makefile").write_text(student_makefile((root / "Makefile").read_text()))
    for source, goal in {
        "handout.md": "handout.md",
        "write-up.md": "write-up.md",
        "student_readme.md": "README.md",
    }.items():
        text = (root / "homework" / source).read_text(encoding="utf-8")
        (folder / goal).write_text(fill(text, assignment), encoding="utf-8")
    if assignment.tests:
        shutil.copyfile(root / "homework" / TESTS_FILE, folder / TESTS_FILE)
    (folder / "notebooks").mkdir()
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        book = student_notebook(json.loads(path.read_text(encoding="utf-8")), path.stem, assignment)
        text = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
        (folder / "notebooks" / path.name).write_text(text, encoding="utf-8")


def fill(text: str, assignment: Assignment) -> str:
    """A sheet with the assignment's title, deadline, points and tables in it."""
    rows = [f"| {get(n).number} | `{n}` in `{get(n).path}` | {p:g} |" for n, p in assignment.exercises.items()]
    rows += [f"| tests | of `{n}`, in `{TESTS_FILE}` | {p:g} |" for n, p in assignment.tests.items()]
    rows += [f"| written | {question} | {p:g} |" for question, p, _ in assignment.written.values()]
    table = "\n".join(
        ["| exercise | what | points |", "|---|---|---|", *rows, f"| | **together** | {assignment.points:g} |"]
    )
    questions = "\n\n".join(
        f"## {question} ({points:g} points)\n\n*Your answer.*" for question, points, _ in assignment.written.values()
    )
    tests = (tree() / "homework" / "handout_tests.md").read_text(encoding="utf-8").strip() if assignment.tests else ""
    values = {"title": assignment.title, "deadline": assignment.deadline, "table": table, "questions": questions}
    filled = re.sub(r"\{\{(\w+)\}\}", lambda match: (values | {"tests": tests})[match.group(1)], text)
    return re.sub(r"\n{3,}", "\n\n", filled)


def student_makefile(text: str) -> str:
    """The repository's Makefile with the rules that a student needs, and two of their own."""
    blocks = text.split("\n\n")
    kept = [b for b in blocks if b.startswith(("PYTHON", "help:", "setup:", "$(INSTALLED):", "lab:", "clean:"))]
    own = [
        "check: setup  ## Check every exercise\n\t$(BIN)/python -m diffusion_lib homework check",
        "experiment: setup  ## Train and draw with your own functions\n"
        "\t$(BIN)/python -m diffusion_lib homework experiment",
        "pack: setup  ## Make the .zip to hand in\n\t$(BIN)/python -m diffusion_lib homework pack",
    ]
    phony = ".PHONY: help setup lab check experiment pack clean\n.DEFAULT_GOAL := help"
    return "\n\n".join([kept[0], phony, *kept[1:], *own]).rstrip() + "\n"


def student_notebook(book: dict[str, Any], stem: str, assignment: Assignment) -> dict[str, Any]:
    """A notebook with no outputs, no cells that give answers away, and the assignment's exercises in it."""
    cells: list[dict[str, Any]] = []
    first, hidden = True, False
    for cell in book["cells"]:
        tags = cell["metadata"].get("tags", [])
        if SOLUTION in tags:
            if not hidden:
                cells.append(_cell("markdown", f"{cell['id']}-later", LATER))
            hidden = True
            continue
        hidden = False
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and first:
            source = "%load_ext autoreload\n%autoreload 2\nfrom diffusion_lib.homework import check\n\n" + source
            first = False
        cells.append(_cell(cell["cell_type"], cell["id"], source))
        for name, points in assignment.exercises.items():
            if get(name).notebook == stem and _shows(get(name), source):
                cells += _exercise_cells(get(name), points)
    for key, (question, points, notebook) in assignment.written.items():
        if notebook == stem:
            cells += [
                _cell("markdown", f"q-{key}", f"## Question ({points:g} points)\n\n{question}"),
                _cell("markdown", f"a-{key}", "*Your answer.*", _nbgrader(key, points, solution=True)),
            ]
    return {"cells": cells, "metadata": book["metadata"], "nbformat": 4, "nbformat_minor": 5}


def _shows(exercise: Exercise, source: str) -> bool:
    """Does a cell show what the exercise asks for, or what stands for it?"""
    return bool(re.search(rf"show_source\(.*\b{exercise.shown or exercise.attribute}\b", source))


def _exercise_cells(exercise: Exercise, points: float) -> Iterator[dict[str, Any]]:
    worth = f"{points:g} point" + ("" if points == 1 else "s")
    text = (
        f"> **Exercise {exercise.number} ({worth}).** Write `{exercise.attribute}` in `{exercise.path}`: "
        f"{exercise.task}. Save the file, then run the check as often as you like."
    )
    yield _cell("markdown", f"e-{exercise.name}", text)
    source = f'check("{exercise.name}").show()'
    yield _cell("code", f"c-{exercise.name}", source, _nbgrader(exercise.name, points, solution=False))


def _cell(kind: str, id: str, source: str, metadata: dict[str, Any] | None = None) -> dict[str, Any]:
    cell: dict[str, Any] = {"cell_type": kind, "id": id, "metadata": metadata or {}, "source": source.splitlines(True)}
    return cell | ({"execution_count": None, "outputs": []} if kind == "code" else {})


def _nbgrader(name: str, points: float, *, solution: bool) -> dict[str, Any]:
    """Metadata that nbgrader reads: a cell it grades by running, or an answer that a person grades."""
    flags = {"grade": True, "solution": solution, "locked": not solution, "task": False}
    return {"nbgrader": {"grade_id": name, "points": points, "schema_version": 3, **flags}}
