"""course.py does what make does, and `make lab` keeps to itself."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from conftest import ROOT

import course
from grader.handout import student_makefile

OURS = (ROOT / "Makefile").read_text(encoding="utf-8")
FILES = {"ours": OURS, "a student's": student_makefile(OURS)}
NEEDS_MAKE = pytest.mark.skipif(not shutil.which("make"), reason="needs make")


@pytest.fixture(params=FILES)
def folder(request, tmp_path):
    """A folder with a Makefile and what its set-up needs, older than everything else."""
    (tmp_path / "Makefile").write_text(FILES[request.param], encoding="utf-8")
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000, 1000))
    return tmp_path


def plan(folder, target, windows=False, **chosen):
    text = (folder / "Makefile").read_text(encoding="utf-8")
    known = course.rules(text, course.variables(text, chosen, windows))
    return [command.lstrip("@") for command in course.planned(target, known, folder)]


def made(folder, target, *chosen):
    command = ["make", "--no-print-directory", "-n", target, *chosen]  # these tests may themselves run under make
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if not line.startswith(("make:", "make["))]


@NEEDS_MAKE
def test_it_plans_what_make_would_run(folder):
    text = (folder / "Makefile").read_text(encoding="utf-8")
    targets = next(line for line in text.splitlines() if line.startswith(".PHONY:")).split()[1:]
    for target in sorted({*targets} - {"help"}):
        assert plan(folder, target) == made(folder, target), target
    assert plan(folder, "lab", PYTHON="py") == made(folder, "lab", "PYTHON=py")
    without_cuda = plan(folder, "setup", CPU="1")
    assert without_cuda == made(folder, "setup", "CPU=1") != plan(folder, "setup")
    assert plan(folder, "setup", CPU="yes") == without_cuda == made(folder, "setup", "CPU=yes")
    assert sum("--torch-backend=cpu --excludes requirements-cuda.txt" in line for line in without_cuda) == 1


@NEEDS_MAKE
@pytest.mark.parametrize(("time", "again"), [(2000, False), (500, True)])
def test_it_sets_up_when_the_lock_is_newer_than_the_environment(folder, time, again):
    (folder / ".venv").mkdir()
    (folder / ".venv" / "installed").touch()
    os.utime(folder / ".venv" / "installed", (time, time))
    assert plan(folder, "setup") == made(folder, "setup")
    assert bool(plan(folder, "setup")) == again


def test_on_windows_programs_lie_in_scripts(folder):
    commands = plan(folder, "lab", windows=True)
    assert [c.split()[0] for c in commands[-2:]] == [".venv/Scripts/jupyter"] * 2
    assert not [c for c in commands if "/bin/" in c]


def test_it_runs_a_line_without_a_shell(tmp_path, capfd):
    for name in ("b.txt", "a.txt"):
        (tmp_path / name).touch()
    python = shlex.quote(sys.executable)
    assert course.run(f"{python} -c 'import sys; print(sys.argv[1:])' *.txt", tmp_path) == 0
    assert capfd.readouterr().out.strip() == "['a.txt', 'b.txt']"
    assert course.run(f"@{python} -c 'import sys; print(1); sys.exit(3)' > /dev/null", tmp_path) == 3
    assert capfd.readouterr().out == ""
    course.run("touch c.txt", tmp_path)
    (tmp_path / "folder" / "inside").mkdir(parents=True)
    course.run("rm -rf folder missing *.txt", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_make_lab_asks_nothing_of_the_network():
    import jupyterlab
    from jupyterlab.labapp import LabApp

    words = shlex.split(next(line for line in plan(ROOT, "lab") if "jupyter lab" in line))
    app = LabApp()
    app.parse_command_line(words[2:])
    assert app.news_url is None
    assert app.check_for_updates_class is jupyterlab.NeverCheckForUpdate
    assert app.extension_manager == "readonly"
    settings = json.loads((ROOT / app.app_settings_dir / "overrides.json").read_text())
    ((plugin, chosen),) = settings.items()
    package, name = plugin.split(":")
    schema = json.loads((Path(jupyterlab.__file__).parent / "schemas" / package / f"{name}.json").read_text())
    jsonschema.validate(chosen, schema)  # settings of these names and kinds exist
    assert chosen == {"checkForUpdates": False, "fetchNews": "false"}
