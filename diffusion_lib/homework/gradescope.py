"""An autograder for Gradescope: the repository's library, and two scripts that Gradescope calls."""

import shutil
import tempfile
from pathlib import Path

from diffusion_lib.homework.exercises import Assignment, tree
from diffusion_lib.homework.handout import pack_folder

SETUP = """#!/usr/bin/env bash
set -euo pipefail
cd /autograder/source
python3 -m venv /autograder/venv
/autograder/venv/bin/pip install --quiet -r requirements.lock
"""
RUN = """#!/usr/bin/env bash
cd /autograder/source
/autograder/venv/bin/python -m diffusion_lib homework gradescope /autograder/submission /autograder/results/results.json
"""


def write_autograder(target: Path, assignment: Assignment) -> None:
    """Zip what Gradescope needs: setup.sh, run_autograder, the library with its answers, the assignment."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shutil.copytree(
            tree() / "diffusion_lib", folder / "diffusion_lib",
            ignore=shutil.ignore_patterns("__pycache__", "*.pyc", "weights"),
        )  # fmt: skip
        (folder / "homework").mkdir()
        (folder / "homework" / "assignment.toml").write_text(assignment.source, encoding="utf-8")
        shutil.copyfile(tree() / "requirements.lock", folder / "requirements.lock")
        (folder / "setup.sh").write_text(SETUP)
        (folder / "run_autograder").write_text(RUN)
        pack_folder(folder, target, inside=False)
