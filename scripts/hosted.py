"""The series on a hosted machine: copies of the notebooks whose first cell fetches and installs what is missing.

    python course.py hosted REPOSITORY=ADDRESS TAG=v0.1.0

ADDRESS is where your copy of this repository can be cloned from; none is written down here. The cell does nothing where
``diffusion_lib`` can be imported, so it may be run again, and anywhere. It needs nothing but Python, Git and pip.
"""

import argparse
import importlib
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

HERE = Path(__file__).resolve().parents[1]
KEPT = ("torch", "torchvision", "numpy")  # what a hosted machine has and other parts of it were built for
LEFT_OUT = ("jupyterlab", "ipywidgets")  # the machine has a front end of its own, and widgets that fit it
CELL = """\
# A hosted machine (Colab, Kaggle): fetch the series and install what is missing.
# Where it is installed, this cell does nothing. PyTorch is kept as it is.
import importlib.util, pathlib, runpy, subprocess

if importlib.util.find_spec("diffusion_lib") is None:
    here = pathlib.Path("series")
    clone = "git clone --quiet --depth 1 --branch".split()
    if not here.exists():
        subprocess.run([*clone, "TAG", "ADDRESS", here], check=True)
    install = runpy.run_path(str(here / "scripts/hosted.py"))["install"]
    install(here)
"""
NOTE = "On Kaggle, switch the session's internet on before you run the next cell."


def install(folder: Path) -> None:
    """Install the series from its clone, and then what it needs and this machine lacks. PyTorch stays what it was."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet"]
    subprocess.run([*pip, "--no-deps", str(folder)], check=True)
    importlib.invalidate_caches()
    needed = [r for r in requires("diffusion_lib") or [] if "extra ==" not in r and name(r) not in LEFT_OUT]
    subprocess.run([*pip, *needed, *pinned()], check=True)  # what is there and new enough, pip leaves alone
    importlib.invalidate_caches()
    print(f"diffusion_lib {version('diffusion_lib')} is installed beside PyTorch {version('torch')}.")


def name(requirement: str) -> str:
    """The package of a line like torch>=2.9."""
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def pinned() -> list[str]:
    """The versions that are there of what must stay: with them pip says no rather than replace one."""
    found = []
    for package in KEPT:
        try:
            found.append(f"{package}=={version(package)}")
        except PackageNotFoundError:
            continue
    return found


def cell(repository: str, tag: str) -> str:
    """The cell, with the address and the version filled in."""
    return CELL.replace('"TAG"', json.dumps(tag)).replace('"ADDRESS"', json.dumps(repository))


def with_cell(notebook: dict, repository: str, tag: str) -> dict:
    """The notebook with the cell below its title, and nothing else changed."""
    source = cell(repository, tag).splitlines(keepends=True)
    code = {"cell_type": "code", "execution_count": None, "id": "hosted", "metadata": {}, "outputs": []}
    words = {"cell_type": "markdown", "id": "hosted-note", "metadata": {}, "source": [NOTE]}
    first, *others = notebook["cells"]
    return notebook | {"cells": [first, words, code | {"source": source}, *others]}


def main() -> None:
    parser = argparse.ArgumentParser(description="Write copies of the notebooks for a hosted machine.")
    parser.add_argument("--repository", required=True, help="an address that git can clone")
    parser.add_argument("--tag", help="a version of it; by default v and the version of pyproject.toml")
    parser.add_argument("target", type=Path, help="a folder for the copies")
    given = parser.parse_args()
    if not given.repository:
        parser.error("say where the series can be cloned from: --repository ADDRESS, or REPOSITORY=ADDRESS with make")
    tag = given.tag or "v" + tomllib.loads((HERE / "pyproject.toml").read_text())["project"]["version"]
    given.target.mkdir(parents=True, exist_ok=True)
    for path in sorted((HERE / "notebooks").glob("*.ipynb")):
        book = with_cell(json.loads(path.read_text(encoding="utf-8")), given.repository, tag)
        text = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
        (given.target / path.name).write_text(text, encoding="utf-8")
        print(given.target / path.name)


if __name__ == "__main__":
    main()
