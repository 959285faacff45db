"""Make the students' folder and the teacher's folder from the one tree.

Answers are taken out by syntax tree: signature and docstring stay. Recorded numbers take the place of answers, and
of the catalogue. Nothing is copied that could give a solution away: see ``LEFT_OUT``.
"""

import ast
import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from diffusion_lib.homework.exercises import Assignment, Exercise, get, load_assignment, tree

STUDENT_PARTS = {
    "__init__", "exercises", "probing", "probes_network", "probes", "records", "checks", "commands", "packing",
}  # fmt: skip
TOP_FILES = ("pyproject.toml", "requirements.lock", "environment.yml", "LICENSE")
LATER = "*This part of the notebook opens after the deadline.*"
SOLUTION = "solution"  # tag of notebook cells that would give an answer away
FIXED_DATE = (2020, 1, 1, 0, 0, 0)  # in zips, so that equal trees give equal bytes


def stub(source: str, exercise: Exercise) -> str:
    """The module's ``source`` with the exercise's body replaced by a NotImplementedError that says what to do."""
    function = definition(ast.parse(source), exercise.attribute)
    if function is None:
        raise ValueError(f"{exercise.path} has no {exercise.attribute}.")
    docstring = isinstance(function.body[0], ast.Expr) and isinstance(function.body[0].value, ast.Constant)
    indent = " " * function.body[0].col_offset
    message = f"Exercise {exercise.number}, {exercise.name}: {exercise.task}. See notebook {exercise.reread}."
    lines = source.splitlines()
    keep = function.body[0].end_lineno if docstring else function.body[0].lineno - 1
    body = [
        f"{indent}raise NotImplementedError(",
        f"{indent}    {json.dumps(message, ensure_ascii=False)}",
        f"{indent})",
    ]
    return "\n".join([*lines[:keep], *body, *lines[function.end_lineno :]]) + "\n"


def definition(module: ast.Module, attribute: str) -> ast.FunctionDef | None:
    """The function called ``attribute`` ("f" or "Class.f") in a syntax tree; the last, where there are several."""
    body: list[Any] = list(module.body)
    *classes, name = attribute.split(".")
    for cls in classes:
        body = [n for c in body if isinstance(c, ast.ClassDef) and c.name == cls for n in c.body]
    found = [n for n in body if isinstance(n, ast.FunctionDef) and n.name == name]
    return found[-1] if found else None


def write_library(target: Path, taken: list[Exercise], parts: set[str], *, weights: bool = True) -> None:
    """Copy ``diffusion_lib`` without the answers of ``taken``, and with only these files of the homework package."""
    package = tree() / "diffusion_lib"
    for path in sorted(package.rglob("*")):
        relative = path.relative_to(package)
        if not path.is_file() or "__pycache__" in relative.parts or path.suffix == ".pyc":
            continue
        if relative.parts[0] == "homework" and (path.suffix != ".py" or path.stem not in parts):
            continue
        if relative.parts[0] == "weights" and not weights:
            continue
        goal = target / "diffusion_lib" / relative
        goal.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".py":
            source = path.read_text(encoding="utf-8")
            for exercise in taken:
                if exercise.path == f"diffusion_lib/{relative.as_posix()}":
                    source = stub(source, exercise)
            goal.write_text(source, encoding="utf-8")
        else:
            shutil.copyfile(path, goal)


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
    from diffusion_lib.homework.gradescope import write_autograder

    write_autograder(teacher / "gradescope_autograder.zip", assignment)
    return assignment


def _student(folder: Path, assignment: Assignment) -> None:
    from diffusion_lib.homework.recording import make_record
    from diffusion_lib.homework.records import write_record

    root, taken = tree(), [get(name) for name in assignment.exercises]
    write_library(folder, taken, STUDENT_PARTS)
    write_record(folder / "diffusion_lib/homework/record.safetensors", make_record())
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
    (folder / "notebooks").mkdir()
    for path in sorted((root / "notebooks").glob("*.ipynb")):
        book = student_notebook(json.loads(path.read_text(encoding="utf-8")), path.stem, assignment)
        text = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
        (folder / "notebooks" / path.name).write_text(text, encoding="utf-8")


def fill(text: str, assignment: Assignment) -> str:
    """A sheet with the assignment's title, deadline, points and tables in it."""
    rows = [f"| {get(n).number} | `{n}` in `{get(n).path}` | {p:g} |" for n, p in assignment.exercises.items()]
    rows += [f"| written | {question} | {p:g} |" for question, p, _ in assignment.written.values()]
    table = "\n".join(
        ["| exercise | what | points |", "|---|---|---|", *rows, f"| | **together** | {assignment.points:g} |"]
    )
    questions = "\n\n".join(
        f"## {question} ({points:g} points)\n\n*Your answer.*" for question, points, _ in assignment.written.values()
    )
    values = {"title": assignment.title, "deadline": assignment.deadline, "table": table, "questions": questions}
    return re.sub(r"\{\{(\w+)\}\}", lambda match: values[match.group(1)], text)


def student_makefile(text: str) -> str:
    """The repository's Makefile with the rules that a student needs, and two of their own."""
    blocks = text.split("\n\n")
    kept = [b for b in blocks if b.startswith(("PYTHON", "help:", "setup:", "$(INSTALLED):", "lab:", "clean:"))]
    own = [
        "check: setup  ## Check every exercise\n\t$(BIN)/python -m diffusion_lib homework check",
        "pack: setup  ## Make the .zip to hand in\n\t$(BIN)/python -m diffusion_lib homework pack",
    ]
    phony = ".PHONY: help setup lab check pack clean\n.DEFAULT_GOAL := help"
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
            if get(name).notebook == stem and re.search(rf"show_source\(.*\b{get(name).attribute}\b", source):
                cells += _exercise_cells(get(name), points)
    for key, (question, points, notebook) in assignment.written.items():
        if notebook == stem:
            cells += [
                _cell("markdown", f"q-{key}", f"## Question ({points:g} points)\n\n{question}"),
                _cell("markdown", f"a-{key}", "*Your answer.*", _nbgrader(key, points, solution=True)),
            ]
    return {"cells": cells, "metadata": book["metadata"], "nbformat": 4, "nbformat_minor": 5}


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


def pack_folder(folder: Path, target: Path, *, inside: bool = True) -> None:
    """Zip the files under ``folder``, ``inside`` one folder of its name or at the top."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            relative = path.relative_to(folder)
            if path.is_file() and not path.is_symlink():
                name = f"{folder.name}/{relative.as_posix()}" if inside else relative.as_posix()
                info = zipfile.ZipInfo(name, FIXED_DATE)
                info.compress_type, info.external_attr = zipfile.ZIP_DEFLATED, 0o755 << 16
                archive.writestr(info, path.read_bytes())
