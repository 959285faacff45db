"""Style and types: `make lint`, command by command, beside the other tests."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

RECIPE = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)[1]


@pytest.mark.parametrize("command", [line.removeprefix("\t$(BIN)/") for line in RECIPE.splitlines()])
def test_what_make_lint_runs_finds_nothing(command):
    program, *arguments = command.split()
    found = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.returncode == 0, found.stdout + found.stderr
