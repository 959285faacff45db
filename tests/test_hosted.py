"""The first cell of a hosted machine, run as it is written, with a git and a pip that only tell what they are asked."""

import json
import os
import runpy
import subprocess
import sys
import tomllib

import nbformat
import pytest
from conftest import ROOT

DEPENDENCIES = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
SCRIPT = runpy.run_path(str(ROOT / "scripts" / "hosted.py"))
ADDRESS, TAG = "https://git.example/series.git", "v0.1.0"
GIT = """#!{python}
import json, pathlib, shutil, sys
open({log!r}, "a").write(json.dumps(["git", *sys.argv[1:]]) + "\\n")
(pathlib.Path(sys.argv[-1]) / "scripts").mkdir(parents=True)
shutil.copy({script!r}, pathlib.Path(sys.argv[-1]) / "scripts")
"""
PIP = """import json, pathlib, sys
open({log!r}, "a").write(json.dumps(["pip", *sys.argv[1:]]) + "\\n")
def put(name, version, needs=()):
    info = pathlib.Path({site!r}) / f"{{name}}-{{version}}.dist-info"
    info.mkdir(exist_ok=True)
    lines = [f"Name: {{name}}", f"Version: {{version}}", *(f"Requires-Dist: {{n}}" for n in needs)]
    (info / "METADATA").write_text("Metadata-Version: 2.1\\n" + "\\n".join(lines) + "\\n")
if "--no-deps" in sys.argv:
    put("diffusion_lib", "0.1.0", {needs!r})
    (pathlib.Path({site!r}) / "diffusion_lib.py").touch()
elif not any(word.startswith("torch==") for word in sys.argv):
    put("torch", "2.9.1")
"""


@pytest.fixture
def machine(tmp_path):
    """A machine without the series: (run its Python on a text, what git and pip were asked)."""
    site, work, log = tmp_path / "site", tmp_path / "work", tmp_path / "log"
    for folder in (site / "pip", work, tmp_path / "bin"):
        folder.mkdir(parents=True)
    told = {"log": str(log), "site": str(site), "script": str(ROOT / "scripts" / "hosted.py")}
    needs = [*DEPENDENCIES, 'pytest>=8; extra == "test"']
    (site / "pip" / "__init__.py").touch()
    (site / "pip" / "__main__.py").write_text(PIP.format(needs=needs, **told))
    (tmp_path / "bin" / "git").write_text(GIT.format(python=sys.executable, **told))
    (tmp_path / "bin" / "git").chmod(0o755)

    def run(text, *more):
        environment = {"PATH": str(tmp_path / "bin"), "PYTHONPATH": os.pathsep.join([*map(str, more), str(site)])}
        command = [sys.executable, "-S", "-c", text]  # -S: nothing that is installed here
        done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run, lambda: [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []


def have(tmp_path, name, version):
    info = tmp_path / "site" / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_the_cell_fetches_the_pinned_version_and_keeps_the_pytorch_that_is_there(machine, tmp_path):
    run, asked = machine
    have(tmp_path, "torch", "2.8.0+cu126")
    have(tmp_path, "numpy", "2.1.3")
    said = run(SCRIPT["cell"](ADDRESS, TAG))
    assert said == "diffusion_lib 0.1.0 is installed beside PyTorch 2.8.0+cu126.\n"
    fetched, series, others = asked()
    assert fetched == ["git", "clone", "--quiet", "--depth", "1", "--branch", TAG, ADDRESS, "series"]
    assert series == ["pip", "install", "--quiet", "--no-deps", "series"]
    assert others[-2:] == ["torch==2.8.0+cu126", "numpy==2.1.3"]
    left_out = {"jupyterlab", "ipywidgets"}
    assert set(others[3:-2]) == {line for line in DEPENDENCIES if line.split(">")[0] not in left_out}


def test_without_pytorch_one_is_installed(machine):
    run, asked = machine
    assert "beside PyTorch 2.9.1" in run(SCRIPT["cell"](ADDRESS, TAG))
    assert [line for line in asked()[-1] if line.startswith("torch")] == ["torch>=2.9", "torchvision>=0.24"]


def test_it_does_nothing_where_the_series_is_and_fetches_nothing_twice(machine):
    run, asked = machine
    assert run(SCRIPT["cell"](ADDRESS, TAG), ROOT) == ""
    assert asked() == []
    run(SCRIPT["cell"](ADDRESS, TAG))
    assert len(asked()) == 3
    assert run(SCRIPT["cell"](ADDRESS, TAG)) == ""  # again, after a restart of the kernel
    assert len(asked()) == 3


def test_copies_differ_by_that_cell_alone(tmp_path):
    script = str(ROOT / "scripts" / "hosted.py")
    done = subprocess.run([sys.executable, script, "--repository", ADDRESS, tmp_path], capture_output=True, check=True)
    assert len(done.stdout.splitlines()) == len(list(tmp_path.iterdir())) == len([*ROOT.glob("notebooks/*.ipynb")])
    for path in ROOT.glob("notebooks/*.ipynb"):
        book = nbformat.read(tmp_path / path.name, as_version=4)
        nbformat.validate(book)
        title, note, code, *others = book.cells
        assert [title, *others] == nbformat.read(path, as_version=4).cells
        assert title.source.startswith("#")
        assert "internet" in note.source
        assert code.source == SCRIPT["cell"](ADDRESS, "v0.1.0")
        assert ADDRESS not in path.read_text()


def test_an_address_is_asked_for_and_none_is_built_in():
    command = [sys.executable, str(ROOT / "scripts" / "hosted.py"), "--repository=", "hosted"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "say where the series can be cloned from" in done.stderr
    for name in ("scripts/hosted.py", "postBuild", "Makefile"):
        assert "://" not in (ROOT / name).read_text(), name


def test_the_readme_shows_the_cell():
    assert SCRIPT["cell"]("ADDRESS", TAG) in (ROOT / "README.md").read_text()


def test_binder_trusts_the_notebooks_after_its_environment_is_made():
    assert os.access(ROOT / "postBuild", os.X_OK)
    first, *_, last = (ROOT / "postBuild").read_text().splitlines()
    assert first == "#!/bin/bash"
    assert last == "jupyter trust notebooks/*.ipynb > /dev/null"
    assert not (ROOT / "binder").exists()  # it would hide environment.yml
