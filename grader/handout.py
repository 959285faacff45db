"""Make the students' folder, or one for each student, and the teacher's folder from the one tree.

A student gets ``diffusion_lib`` whole, with the bodies of the exercises out and recorded numbers in. Nothing of the
teacher's package is looked at. Notebook cells that would give an answer away are tagged, and left out.
"""

import json
import shutil
from pathlib import Path

from diffusion_lib.homework.exercises import TESTS_FILE, Assignment, get, load_assignment, tree
from diffusion_lib.homework.records import RECORD_FILE, write_record
from grader.gradescope import write_autograder
from grader.hand_ins import key_of
from grader.notebooks import student_notebook
from grader.recording import kept_record
from grader.sheets import fill, model_answers
from grader.trees import copy_package, pack_folder
from grader.variants import asked, check_key, key, read_roster

TOP_FILES = ("course.py", "pyproject.toml", "requirements.lock", "requirements-cuda.txt", "environment.yml", "LICENSE")
SHEETS = {name: name for name in ("handout.md", "rubric.md", "write-up.md")} | {"student_readme.md": "README.md"}


def build(out: Path, assignment_file: Path, roster: Path | None = None) -> Assignment:
    """Write ``out``/student, ``out``/student.zip and ``out``/teacher; ``out`` must be new or empty.

    Where the assignment has ``variants``, write ``out``/students/NAME.zip for each student of ``roster`` instead.
    """
    assignment = load_assignment(assignment_file)
    students = read_roster(roster, assignment)
    if roster and not students:
        raise ValueError("students are named, but variants is not set in the assignment: all get the same numbers.")
    if out.exists() and any(out.iterdir()):
        raise ValueError(f"{out} is not empty. Choose a new folder, or empty this one.")
    student, teacher = out / "student", out / "teacher"
    student.mkdir(parents=True)
    teacher.mkdir()
    _student(student, asked(assignment, students[0]) if students else assignment)
    if students:
        _for_each(out, assignment, students)
    else:
        pack_folder(student, out / "student.zip")
    shutil.copyfile(tree() / "homework" / "teachers_guide.md", teacher / "teachers_guide.md")
    (teacher / "rubric.md").write_text(_sheet("rubric.md", assignment), encoding="utf-8")
    (teacher / "model_answers.md").write_text(model_answers(assignment) + _keys(assignment, students), encoding="utf-8")
    (teacher / "assignment.toml").write_text(assignment.source, encoding="utf-8")
    write_autograder(teacher / "gradescope_autograder.zip", assignment)
    return assignment


def _for_each(out: Path, assignment: Assignment, students: list[str]) -> None:
    """``out``/students/NAME.zip for everybody: one folder, in which only what differs is written anew."""
    (out / "students").mkdir()
    keys = {student: check_key(assignment, student) for student in students}
    for student in sorted(students, key=lambda name: keys[name]):
        _own(out / "student", asked(assignment, student), keys[student])
        pack_folder(out / "student", out / "students" / f"{key_of(student)}.zip")
    shutil.rmtree(out / "student")


def _keys(assignment: Assignment, students: list[str]) -> str:
    """For whoever marks: each student's numbers, and what is right for them."""
    parts = []
    for name in assignment.questions:
        if rows := [f"| {student} | {told} |" for student in students if (told := key(assignment, name, student))]:
            parts.append("\n".join([f"## {name}: each student's numbers", "", "| student | |", "|---|---|", *rows]))
    return "".join(f"\n{part}\n" for part in parts)


def _student(folder: Path, assignment: Assignment) -> None:
    root, taken = tree(), [get(name) for name in assignment.exercises]
    copy_package(root / "diffusion_lib", folder, taken=taken)
    for name in TOP_FILES:
        shutil.copyfile(root / name, folder / name)
    (folder / "assignment.toml").write_text(assignment.published, encoding="utf-8")
    (folder / "Makefile").write_text(student_makefile((root / "Makefile").read_text()))
    if assignment.tests:
        shutil.copyfile(root / "homework" / TESTS_FILE, folder / TESTS_FILE)
    _own(folder, assignment, 0)


def _own(folder: Path, assignment: Assignment, check: int) -> None:
    """What may be other for each student: the numbers that a check asks about, the sheets, the notebooks."""
    root = tree()
    write_record(folder / RECORD_FILE.relative_to(root), kept_record(key=check))
    for name, goal in SHEETS.items():
        (folder / goal).write_text(_sheet(name, assignment), encoding="utf-8")
    (folder / "notebooks").mkdir(exist_ok=True)
    books = [*(root / "notebooks").glob("*.ipynb"), *(root / "homework").glob("*.ipynb")]
    if lost := {question.notebook for question in assignment.questions.values()} - {path.stem for path in books}:
        raise ValueError(f"questions.toml puts a question into {', '.join(sorted(lost))}, which is no notebook.")
    for path in sorted(books):
        book = student_notebook(json.loads(path.read_text(encoding="utf-8")), path.stem, assignment)
        text = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
        (folder / "notebooks" / path.name).write_text(text, encoding="utf-8")


def _sheet(name: str, assignment: Assignment) -> str:
    """A sheet of the folder homework, filled in."""
    return fill((tree() / "homework" / name).read_text(encoding="utf-8"), assignment)


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
