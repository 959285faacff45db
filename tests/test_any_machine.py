"""Windows and other code pages: what is printed everywhere, what grading needs, how packed scripts end their lines."""

import io
import sys
import zipfile

import pytest
import typer
from typer.testing import CliRunner

from diffusion_lib.homework import commands as students
from diffusion_lib.homework import printing
from diffusion_lib.homework.checks import LAYERS, Verdict
from diffusion_lib.homework.exercises import EXERCISES, assignment_path, load_assignment
from diffusion_lib.homework.records import shipped_record
from grader import commands as teachers
from grader.gradescope import write_autograder
from grader.trees import pack_folder

PAGES = ["cp1252", "cp437", "cp850", "cp932", "ascii", "utf-8"]
MISTAKES = [mistake for entry in shipped_record().values() for mistake in entry.mistakes]


def said():
    """Everything that a check can say of the catalogue's mistakes, and the tasks."""
    verdicts = [Verdict(e.name, ok, dict.fromkeys(LAYERS, ok), MISTAKES) for e in EXERCISES for ok in (True, False)]
    return "\n".join([*map(repr, verdicts), *(e.task for e in EXERCISES), "β̃_t = ᾱ_{t−1} … x² → σ"])


@pytest.mark.parametrize("page", PAGES)
def test_a_check_prints_on_any_code_page(monkeypatch, page):
    out = io.TextIOWrapper(io.BytesIO(), encoding=page, newline="\n")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", out)
    if page not in ("utf-8",):
        with pytest.raises(UnicodeEncodeError):
            said().encode(page)
    printing.on_any_code_page()
    print(said())
    out.flush()
    text = out.buffer.getvalue().decode(page)
    assert text.count("?") == said().count("?")  # nothing is lost
    assert text.count("\n") == said().count("\n") + 1
    assert page == "utf-8" or "exact values yes" in text or "exact values ✓" in text


def test_letters_are_spelled_as_they_are_read():
    assert "".join(map(printing.spelled, "√ᾱ_t · β̃ − Σ ≤ é ✗ x₀² …")) == (
        "sqrt alpha_bar_t * beta_tilde - Sigma <= e no x0^2 ..."
    )
    assert printing.spelled("名") == "?"


def test_the_command_prints_into_a_cp1252_file(monkeypatch):
    verdict = Verdict("q_sample", False, {"S": True, "G": False}, [MISTAKES[0]])
    monkeypatch.setattr("diffusion_lib.homework.checks.check_all", lambda names: [verdict])
    done = CliRunner(charset="cp1252").invoke(students.app, ["check", "q_sample"])
    assert done.exit_code == 1, done.exception
    assert "exact values yes, closed form no" in done.stdout


@pytest.fixture
def on_windows(monkeypatch):
    """Modules of the teacher's package are imported afresh, and what only Unix has is not there."""
    for name in [name for name in sys.modules if name.startswith("grader.sandbox") or name == "grader.rounds"]:
        monkeypatch.delitem(sys.modules, name)
    for name in ("resource", "fcntl", "pwd"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delattr("grader.sandbox", raising=False)
    import grader.rounds  # noqa: F401

    monkeypatch.setattr(sys, "platform", "win32")


@pytest.mark.parametrize("more", [[], ["--unsafe"]])
def test_on_windows_grading_says_in_a_sentence_what_it_needs(on_windows, tmp_path, more):
    app = typer.Typer()
    teachers.enter(app)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.py").write_text("x = 1\n")
    done = CliRunner().invoke(app, ["grade", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *more])
    assert done.exit_code == 2, done.exception
    assert done.stderr.count("\n") == 1
    assert "needs Linux (5.13 or newer, with Landlock and seccomp)" in done.stderr
    assert not (tmp_path / "out").exists()


def test_packed_text_ends_lines_as_linux_wants(tmp_path):
    folder = tmp_path / "student"
    folder.mkdir()
    for name in ("Makefile", "run.sh", "a.py", "n.ipynb", "weights.safetensors", "picture.png"):
        (folder / name).write_bytes(b"one\r\ntwo\r\n")
    pack_folder(folder, tmp_path / "student.zip")
    with zipfile.ZipFile(tmp_path / "student.zip") as archive:
        ends = {name.partition("/")[2]: b"\r" in archive.read(name) for name in archive.namelist()}
    assert ends == {"Makefile": False, "run.sh": False, "a.py": False, "n.ipynb": False, "weights.safetensors": True,
                    "picture.png": True}  # fmt: skip


def test_the_autograder_holds_pages_and_scripts_for_linux(tmp_path):
    write_autograder(tmp_path / "autograder.zip", load_assignment(assignment_path()))
    with zipfile.ZipFile(tmp_path / "autograder.zip") as archive:
        assert {"grader/templates/page.html", "setup.sh", "run_autograder"} <= set(archive.namelist())
        for name in ("setup.sh", "run_autograder"):
            assert archive.read(name).startswith(b"#!/usr/bin/env bash\n")
