"""The committed notebooks as files, and proof that the notebook run itself can fail.

The run is nbval's: ``pytest`` collects notebooks/*.ipynb, on the tiny profile with the network blocked. Cells
tagged ``nbval-check-output`` must also print what was committed.
"""

import ast
import json
import os
import re
import statistics
from itertools import pairwise

import nbformat
import pytest
from conftest import ROOT
from warm import python

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


def test_there_are_nine_and_a_toy_and_they_are_valid():
    assert [p.stem for p in [*LESSONS, TOY]] == [p.stem for p in NOTEBOOKS]
    assert [p.name[:2] for p in LESSONS] == ["01", "02", "03", "04", "05", "06", "07", "08", "09", "10"]
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
    assert not [(c.id, line) for c in code_cells(book) for line in c.source.splitlines() if len(line) > 84]  # a page
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


ORDER = re.compile(
    r"\b(falls?|rises?|grows?|shrinks?|higher|lower|highest|lowest|steep\w*|ends?|above|below|dips?|near)\b"
)


def test_what_a_curve_does_is_told_from_its_values_not_by_hand(notebook):
    _, book = notebook
    for cell in code_cells(book):
        for call in ast.walk(ast.parse(cell.source)):
            if isinstance(call, ast.Call) and ast.unparse(call.func) == "viz.lines":
                assert not ORDER.search(ast.literal_eval(call.args[2])), cell.id


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


CASES = {
    "good": ("print('same')", "same\n", CHECKED),
    "exception": ("1 / 0", "", ()),
    "changed_output": ("print('new')", "old\n", CHECKED),
    "missing_file": ("open('missing.txt')", "", ()),
    "network": ("import socket; socket.create_connection(('example.org', 80))", "", ()),
}


def test_the_notebook_run_can_fail(tmp_path):
    for name, case in CASES.items():
        nbformat.write(one_cell(*case), tmp_path / f"{name}.ipynb")
    options = ["-rA", "--nbval-lax", "--nbval-current-env", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTEST_ADDOPTS": ""}
    done = python("-m", "pytest", *options, *(f"{name}.ipynb" for name in CASES), cwd=tmp_path, env=environment)
    assert done.returncode == 1, done.stdout
    verdicts = {
        name: verdict
        for verdict, name in re.findall(r"^(PASSED|FAILED) (\w+)\.ipynb::", done.stdout, flags=re.MULTILINE)
    }
    assert verdicts == dict.fromkeys(CASES, "FAILED") | {"good": "PASSED"}, done.stdout


def test_a_checked_cell_was_executed_before_it_was_committed():
    checked = [
        c
        for p in NOTEBOOKS
        for c in code_cells(nbformat.read(p, as_version=4))
        if CHECKED[0] in c.metadata.get("tags", [])
    ]
    assert len(checked) >= 5
    assert all(c.outputs for c in checked), json.dumps([c.source for c in checked if not c.outputs])
