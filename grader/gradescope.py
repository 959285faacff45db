"""An autograder for Gradescope: both of the repository's packages, and two scripts that Gradescope calls."""

import shutil
import tempfile
from pathlib import Path

from diffusion_lib.homework.exercises import Assignment, tree
from grader.trees import copy_package, pack_folder

SETUP = """#!/usr/bin/env bash
set -euo pipefail
cd /autograder/source
python3 -m venv /autograder/venv
/autograder/venv/bin/pip install --quiet -r requirements.lock
"""
# The hand-in's code runs as another user, or shut in by Landlock. All that knows an answer is for root alone.
RUN = """#!/usr/bin/env bash
set -euo pipefail
chmod -R go-rwx /autograder/source
chmod go-rwx /autograder/submission /autograder/results
find /autograder -maxdepth 1 -name '*.json' -exec chmod go-rwx {} +
export XDG_CACHE_HOME=/autograder/source/.cache
cd /autograder/source
/autograder/venv/bin/python -m diffusion_lib homework gradescope /autograder/submission /autograder/results/results.json
"""


def write_autograder(target: Path, assignment: Assignment) -> None:
    """Zip what Gradescope needs: setup.sh, run_autograder, the library with its answers, the grader, the assignment."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for package in ("diffusion_lib", "grader"):
            copy_package(tree() / package, folder, without={"weights"})
        (folder / "homework").mkdir()
        (folder / "homework" / "assignment.toml").write_text(assignment.published, encoding="utf-8")
        shutil.copyfile(tree() / "requirements.lock", folder / "requirements.lock")
        (folder / "setup.sh").write_text(SETUP)
        (folder / "run_autograder").write_text(RUN)
        pack_folder(folder, target, inside=False)
