"""The committed notebooks as files, and proof that the notebook run itself can fail.

The run is nbval's: ``pytest`` collects notebooks/*.ipynb, on the tiny profile with the network blocked. Cells
tagged ``nbval-check-output`` must also print what was committed.
"""

import json
import os
import re
import statistics
import subprocess
import sys
from itertools import pairwise

import nbformat
import pytest
from conftest import ROOT

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
TOY = ROOT / "notebooks" / "draw_a_digit.ipynb"
LESSONS = [path for path in NOTEBOOKS if path != TOY]


@pytest.fixture(params=NOTEBOOKS, ids=lambda p: p.stem)
def notebook(request):
    return request.param, nbformat.read(request.param, as_version=4)


def code_cells(book):
    return [c for c in book.cells if c.cell_type == "code"]


def outputs(book):
    return [output for cell in code_cells(book) for output in cell.outputs]


def test_there_are_eight_and_a_toy_and_they_are_valid():
    assert [p.stem for p in [*LESSONS, TOY]] == [p.stem for p in NOTEBOOKS]
    assert [p.name[:2] for p in LESSONS] == ["01", "02", "03", "04", "05", "06", "07", "08"]
    for path in NOTEBOOKS:
        nbformat.validate(nbformat.read(path, as_version=4))


def test_it_was_executed_top_to_bottom_without_an_error(notebook):
    _, book = notebook
    assert [c.execution_count for c in code_cells(book)] == list(range(1, len(code_cells(book)) + 1))
    assert not [o for o in outputs(book) if o.output_type == "error" or o.get("name") == "stderr"]
    assert "profile: laptop" in outputs(book)[0].text


def test_it_is_small_and_holds_nothing_of_the_machine_that_ran_it(notebook):
    path, book = notebook
    text = path.read_text()
    assert path.stat().st_size < 2 * 2**20
    assert "widgets" not in book.metadata
    assert "application/vnd.jupyter.widget-view+json" not in text
    assert not re.search(
        r"/(home|root|tmp|work|Users)/|0x[0-9a-f]{8}", re.sub(r'base64,[^"\\]+|"image/png": "[^"]+"', "", text)
    )


@pytest.mark.parametrize("path", LESSONS, ids=lambda p: p.stem)
def test_its_code_is_short_and_its_questions_are_asked(path):
    book = nbformat.read(path, as_version=4)
    lengths = [len(c.source.splitlines()) for c in code_cells(book)]
    assert 100 <= sum(lengths) <= 250
    assert statistics.median(lengths) <= 8
    prose = "\n".join(c.source for c in book.cells if c.cell_type == "markdown")
    assert len(re.findall(r"\*\*Predict, then (run|move)\.\*\*", prose)) >= 4
    assert "Broken on purpose" in prose
    assert "What can go wrong" in prose
    assert prose.count("<details>") >= 5  # the self-check: each option has its own reply


def test_every_picture_has_alt_text_and_every_slider_moves_without_a_kernel(notebook):
    _, book = notebook
    sliders = 0
    for output in outputs(book):
        data = output.get("data", {})
        if "image/png" in data:
            assert len(output.metadata["image/png"]["alt"]) > 20
        if "text/html" in data:
            sliders += "mountPlayer(box" in data["text/html"]
            assert all(len(alt) > 20 for alt in re.findall(r'alt="([^"]*)"', data["text/html"]))
            assert not re.search(r"(src|href)=\"?https?:", data["text/html"])
    assert sliders >= 1


def test_headings_are_in_order(notebook):
    _, book = notebook
    prose = "\n".join(c.source for c in book.cells if c.cell_type == "markdown")
    levels = [len(m.group(1)) for m in re.finditer(r"^(#+) ", prose, flags=re.MULTILINE)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in pairwise(levels))


def one_cell(source, printed, tags=()):
    cell = nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)})
    cell.outputs, cell.execution_count = [nbformat.v4.new_output("stream", text=printed)], 1
    kernel = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
    return nbformat.v4.new_notebook(cells=[cell], metadata=kernel)


CHECKED = ["nbval-check-output"]


@pytest.mark.parametrize(
    ("source", "printed", "tags", "code"),
    [
        ("print('same')", "same\n", CHECKED, 0),
        ("1 / 0", "", (), 1),
        ("print('new')", "old\n", CHECKED, 1),
        ("open('missing.txt')", "", (), 1),
        ("import socket; socket.create_connection(('example.org', 80))", "", (), 1),
    ],
    ids=["good", "exception", "changed output", "missing file", "network"],
)
def test_the_notebook_run_can_fail(tmp_path, source, printed, tags, code):
    path = tmp_path / "case.ipynb"
    nbformat.write(one_cell(source, printed, tags), path)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--nbval-lax",
        "--nbval-current-env",
        "-p",
        "no:cacheprovider",
        str(path),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env=os.environ | {"PYTEST_ADDOPTS": ""}
    )
    assert done.returncode == code, done.stdout


def test_a_checked_cell_was_executed_before_it_was_committed():
    checked = [
        c
        for p in NOTEBOOKS
        for c in code_cells(nbformat.read(p, as_version=4))
        if CHECKED[0] in c.metadata.get("tags", [])
    ]
    assert len(checked) >= 5
    assert all(c.outputs for c in checked), json.dumps([c.source for c in checked if not c.outputs])
