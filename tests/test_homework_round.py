"""The whole way round: build, solve, check, zip, grade, feedback. On a class that the tests make."""

import ast
import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import zipfile

import nbformat
import pytest
from classroom import FILE, HOSTILE, RIGHT, SOLUTION, WRONG, make_class, student_source, write_body, zipped
from conftest import ROOT
from test_homework_checks import PLAIN, run
from warm import python

from diffusion_lib.homework.exercises import get
from grader.inventory.questions import load
from grader.trees import copy_package, definition


def answers():
    """Each exercise's answer, as statements."""
    found = {}
    for name in ("q_sample", "ddpm_loss", "p_sample"):
        function = definition(ast.parse((ROOT / get(name).path).read_text(encoding="utf-8")), get(name).attribute)
        found[name] = [ast.unparse(node) for node in function.body[1:]]
    return found


def test_the_students_copy_holds_nothing_of_the_concept_inventory(release):
    files = [path for path in (release / "student").rglob("*") if path.is_file()]
    assert not [path for path in files if "inventory" in path.name]
    published = "\n".join(path.read_text(encoding="utf-8", errors="ignore") for path in files)
    assert "Algorithm 2" in published
    for question in load():
        for form, options in question.options.items():
            for text in (question.asks[form], *(option.reply for option in options)):
                assert text not in published


def test_the_students_copy_gives_nothing_away(release):
    student = release / "student"
    with zipfile.ZipFile(release / "student.zip") as archive:
        packed = {name.removeprefix("student/") for name in archive.namelist()}
    files = {p.relative_to(student).as_posix() for p in student.rglob("*") if p.is_file()}
    assert packed == files
    library = {p.relative_to(ROOT).as_posix() for p in (ROOT / "diffusion_lib").rglob("*") if p.is_file()}
    assert {f for f in files if f.startswith("diffusion_lib/")} == {f for f in library if "__pycache__" not in f}
    assert {f.split("/")[0] for f in files if "/" in f} == {"diffusion_lib", "notebooks"}
    assert {p.name for p in student.rglob("*.py") if re.search(r"\bgrader\b", p.read_text())} == {"__main__.py"}
    text = told(student)
    for name in ("q_sample", "ddpm_loss", "p_sample"):
        for statement in answers()[name]:
            if not statement.startswith(
                ("x_t = q_sample", "signal =", "sigma =")
            ):  # reading a table, calling a function
                assert statement not in text
    assert "mse_loss(model(x_t, t, label), noise)" not in text
    assert "sigma = 1 - schedule.at('alphas_cumprod'" not in text  # the wrong version of notebook 01


def test_caches_and_hidden_copies_are_not_handed_out(tmp_path):
    for name in ("diffusion.py", ".ipynb_checkpoints/diffusion-checkpoint.py", "__pycache__/x.pyc", "weights/w", ".x"):
        (tmp_path / "diffusion_lib" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "diffusion_lib" / name).write_text(SOLUTION)
    copy_package(tmp_path / "diffusion_lib", tmp_path / "out", taken=[get("q_sample")], without={"weights"})
    [copied] = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert "NotImplementedError" in copied.read_text()
    with pytest.raises(FileNotFoundError, match="unet"):  # an answer that is elsewhere now must not slip out
        copy_package(tmp_path / "diffusion_lib", tmp_path / "again", taken=[get("res_block")])


def told(folder):
    """All code under a folder in one normal form, and all prose."""
    parts = []
    for path in folder.rglob("*.py"):
        parts.append(ast.unparse(ast.parse(path.read_text(encoding="utf-8"))))
    for path in folder.rglob("*.ipynb"):
        for cell in nbformat.read(path, as_version=4).cells:
            code = "\n".join(line for line in cell.source.splitlines() if not line.startswith("%"))
            parts.append(ast.unparse(ast.parse(code)) if cell.cell_type == "code" else cell.source.replace('"', "'"))
    parts += [path.read_text(encoding="utf-8").replace('"', "'") for path in folder.rglob("*.md")]
    return "\n".join(line.strip() for line in "\n".join(parts).splitlines())


def test_that_search_would_find_an_answer():
    text = told(ROOT / "diffusion_lib") + told(ROOT / "notebooks")
    for name in ("q_sample", "ddpm_loss", "p_sample"):
        assert all(line.strip() in text for statement in answers()[name] for line in statement.splitlines())
    assert "sigma = 1 - schedule.at('alphas_cumprod'" in text
    assert "mse_loss(model(x_t, t, label), noise)" in text


def test_the_students_notebooks_are_empty_and_ask(release):
    for path in sorted((release / "student" / "notebooks").glob("*.ipynb")):
        book = nbformat.read(path, as_version=4)
        nbformat.validate(book)
        assert not [c for c in book.cells if c.cell_type == "code" and (c.outputs or c.execution_count)]
        assert not [c for c in book.cells if "solution" in c.metadata.get("tags", [])]
    text = "\n".join(p.read_text(encoding="utf-8") for p in (release / "student" / "notebooks").glob("*.ipynb"))
    for name in ("q_sample", "ddpm_loss", "p_sample"):
        assert text.count(f'check(\\"{name}\\").show()') == 1
    assert text.count("*Your answer.*") == 3
    sheets = [
        (release / "student" / name).read_text(encoding="utf-8") for name in ("README.md", "handout.md", "write-up.md")
    ]
    assert not [sheet for sheet in sheets if "{{" in sheet]


def test_a_student_goes_from_nothing_to_a_zip(release, tmp_path):
    with zipfile.ZipFile(release / "student.zip") as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "student"
    out = run("check", cwd=folder, code=1).stdout
    assert re.findall(r"^(\w+): not checked\. It is not written yet", out, flags=re.M) == [
        "q_sample",
        "ddpm_loss",
        "p_sample",
    ]
    source = (folder / FILE).read_text(encoding="utf-8")
    for name, (exercise, body, called) in WRONG.items():
        (folder / FILE).write_text(write_body(source, exercise, body), encoding="utf-8")
        out = run("check", exercise, cwd=folder, code=1).stdout
        if exercise == "ddpm_loss":  # q_sample is not written: the check must say so, and not blame the loss
            assert "q_sample" in out, name
        else:
            assert (f"It looks like this: {called}." if called else "matches no mistake") in out, name
    (folder / FILE).write_text(source.replace("def q_sample(", "def q_sample(("), encoding="utf-8")
    assert "line" in run("check", "q_sample", cwd=folder, code=1).stdout
    (folder / FILE).write_text(student_source(), encoding="utf-8")
    assert run("check", cwd=folder).stdout.count(": right.") == 3
    run("pack", cwd=folder)
    with zipfile.ZipFile(folder / "homework.zip") as archive:
        assert {f"homework/{FILE}", "homework/write-up.md"} <= set(archive.namelist())
    installed = PLAIN | {"PYTHONPATH": str(ROOT)}  # the teacher's package is at hand, but not of this copy
    for env in (PLAIN, installed):
        assert "grade" not in run("--help", cwd=folder, env=env).stdout


SOLVED = """
import json, os, sys
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from diffusion_lib.unet import UNet

UNet.forward = lambda self, x, t, label=None: x  # what it answers is not asked, and thousands of steps ask it
book = json.load(open(sys.argv[1], encoding="utf-8"))
os.chdir("notebooks")
shell, printed = InteractiveShell.instance(), []
for cell in book["cells"]:
    if cell["cell_type"] == "code":
        with capture_output() as captured:
            ran = shell.run_cell("".join(cell["source"]))
        ran.raise_error()
        if ".show()" in "".join(cell["source"]):
            printed.append(captured.stdout)
json.dump(printed, open("printed.json", "w"))
"""


@pytest.mark.parametrize("number", ["01", "03", "04"])
def test_a_solved_notebook_of_the_handout_runs_to_its_end(release, tmp_path, number):
    """Cells that give answers away are gone; none of the others may need them."""
    student = shutil.copytree(release / "student", tmp_path / "student")
    (student / FILE).write_text(student_source(), encoding="utf-8")
    [path] = (student / "notebooks").glob(f"{number}*.ipynb")
    done = python("-c", SOLVED, path, cwd=student, env=PLAIN)
    assert done.returncode == 0, done.stderr
    [printed] = json.loads((student / "notebooks" / "printed.json").read_text(encoding="utf-8"))
    assert ": right." in printed


def test_practice_can_be_handed_out_too(tmp_path):
    text = (ROOT / "homework" / "assignment.toml").read_text(encoding="utf-8")
    more = "[exercises]\nres_block = { points = 1 }\nguided = { points = 0.5 }\n"
    (tmp_path / "assignment.toml").write_text(text.replace("[exercises]\n", more), encoding="utf-8")
    run("build", "--out", tmp_path / "out", "--assignment", tmp_path / "assignment.toml")
    out = run("check", cwd=tmp_path / "out" / "student", code=1).stdout
    assert [line.split(":")[0] for line in out.splitlines()] == [
        "q_sample",
        "ddpm_loss",
        "p_sample",
        "res_block",
        "guided",
    ]
    assert "not empty" in run("build", "--out", tmp_path / "out", code=2).stderr


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """A class of every kind, graded by the command that a teacher types; what never ends is waited for less long."""
    home = tmp_path_factory.mktemp("class")
    make_class(home / "hand-ins")
    command = ("homework", "grade", home / "hand-ins", "--out", home / "results", "--jobs", 2)
    done = python("-c", GRADE, *command, cwd=ROOT, env=PLAIN)
    assert done.returncode == 0, done.stderr
    return home


GRADE = """
from diffusion_lib.__main__ import app
from grader.sandbox import client
client.SECONDS, client.ASLEEP = 2, 3  # of processor time, and asleep; who is right needs a tenth of one
app()
"""


def rows(home):
    with (home / "results" / "grades.csv").open(newline="", encoding="utf-8") as file:
        return {row["hand_in"].removesuffix(".zip"): row for row in csv.DictReader(file)}


def feedback(home, name):
    [folder] = [f for f in (home / "results" / "students").iterdir() if f.name.removesuffix(".zip") == name]
    return "\n".join(json.loads((folder / "result.json").read_text(encoding="utf-8"))["exercises"]["q_sample"]["lines"])


def test_right_and_wrong_get_what_they_earn(graded):
    grades = rows(graded)
    for name in RIGHT:
        assert grades[f"right_{name}"]["total"] == "4"
    for name, (exercise, _, called) in WRONG.items():
        row = grades[f"wrong_{name}"]
        worth = {"q_sample": 1, "ddpm_loss": 2, "p_sample": 1}[exercise]
        assert float(row[exercise]) == (worth / 2 if called else 0)
        assert float(row["total"]) == 4 - worth + float(row[exercise])
        assert called in row["mistakes"]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_hand_in_earns_nothing_and_hears_why(graded, name):
    row = rows(graded)[f"hostile_{name}"]
    assert row["status"] == "graded"
    assert float(row["q_sample"]) <= 0.4  # returning the input keeps the spread: the closed form and the trace pass
    assert HOSTILE[name][1] in feedback(graded, f"hostile_{name}")
    if "import" not in name and name not in ("syntax", "merge", "patches_the_checks", "no_function"):
        assert row["p_sample"] == "1"  # the rest of the hand-in is graded all the same
    assert not os.path.exists("/tmp/diffusion-was-here")


def test_strange_hand_ins_are_read_or_refused_by_name(graded):
    grades = rows(graded)
    for name in ("deep", "flat", "latin", "n\\xffme"):
        assert grades[f"strange_{name}"]["total"] == "4", name
    for name in ("empty", "escape", "torn", "link"):
        assert grades[f"strange_{name}"]["status"] == "unreadable", name
    assert "not in the hand-in" in feedback(graded, "strange_deleted")
    assert "larger than" in feedback(graded, "strange_bomb")
    assert grades["doejane_LATE_111_2001_homework"]["late"] == "late"
    assert grades["roerick_112_2002_homework"]["status"] == "superseded"
    assert grades["roerick_112_2005_homework-1"]["total"] == "4"


def test_reports_are_for_those_whom_they_concern(graded):
    results = graded / "results"
    report = (results / "report.html").read_text(encoding="utf-8")
    assert "the noise lacks its root" in report
    assert "right_library.zip" in report.split("Alike")[1]
    for path in (results / "students").glob("*/feedback.html"):
        page = path.read_text(encoding="utf-8")
        assert "Alike" not in page
        assert not re.search(r"(src|href)=\"?https?:", page)
    scored = json.loads((results / "students" / "wrong_root_missing.zip" / "results.json").read_text(encoding="utf-8"))
    first = scored["tests"][0]
    assert (first["name"], first["score"], first["max_score"]) == ("q_sample", 0.5, 1.0)
    assert scored["tests"][0]["extra_data"]["mistakes"] == ["the noise lacks its root"]


def test_marks_of_written_parts_are_merged_and_checked(graded):
    sheet = graded / "results" / "marking.csv"
    lines = sheet.read_text(encoding="utf-8").splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("right_library.zip"))
    kept = lines[place]
    lines[place] = 'right_library.zip,right_library,1.5,2,"3,5",well seen,'
    sheet.write_text("\n".join(lines) + "\n", encoding="utf-8")
    out = run("grade", graded / "hand-ins", "--out", graded / "results").stdout
    assert re.search(r"(\d+) hand-ins, \1 of them graded before", out)
    assert rows(graded)["right_library"]["total"] == "11"
    assert "well seen" in (graded / "results/students/right_library.zip/feedback.html").read_text(encoding="utf-8")
    lines[place] = "right_library.zip,right_library,1.5,7,3,,"
    sheet.write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert "outside 0 ... 2" in run("grade", graded / "hand-ins", "--out", graded / "results", code=2).stderr
    lines[place] = kept
    sheet.write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_a_killed_run_continues_where_it_stopped(tmp_path):
    (tmp_path / "hand-ins").mkdir()
    for i in range(3):
        zipped(tmp_path / "hand-ins", f"student-{i}", {f"homework/{FILE}": student_source()})
    command = [
        sys.executable,
        "-m",
        "diffusion_lib",
        "homework",
        "grade",
        "hand-ins",
        "--out",
        "results",
        "--jobs",
        "1",
    ]
    running = subprocess.Popen(
        command, cwd=tmp_path, env=PLAIN | {"PYTHONPATH": f"{ROOT}"}, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while not list(tmp_path.glob("results/students/*/result.json")):  # however long the machine takes
        assert running.poll() is None, "the run ended before it had graded one of three"
        time.sleep(0.01)
    os.killpg(running.pid, signal.SIGKILL)
    running.wait()
    before = len(list(tmp_path.glob("results/students/*/result.json")))
    assert 1 <= before <= 3
    out = run("grade", tmp_path / "hand-ins", "--out", tmp_path / "results").stdout
    assert f"3 hand-ins, {before} of them graded before" in out
    assert len(rows(tmp_path)) == 3


def test_a_folder_without_hand_ins_is_refused(tmp_path):
    assert "holds no .zip" in run("grade", tmp_path, "--out", tmp_path / "out", code=2).stderr
    assert "not a folder" in run("grade", tmp_path / "none", "--out", tmp_path / "out", code=2).stderr


def test_gradescopes_zip_grades_a_submission(release, tmp_path):
    with zipfile.ZipFile(release / "teacher" / "gradescope_autograder.zip") as archive:
        archive.extractall(tmp_path / "source")
    assert {"setup.sh", "run_autograder"} <= {p.name for p in (tmp_path / "source").iterdir()}
    (tmp_path / "submission" / "diffusion_lib").mkdir(parents=True)
    (tmp_path / "submission" / FILE).write_text(student_source(), encoding="utf-8")
    run("gradescope", tmp_path / "submission", tmp_path / "results.json", cwd=tmp_path / "source")
    assert sum(test["score"] for test in json.loads((tmp_path / "results.json").read_text())["tests"]) == 4
