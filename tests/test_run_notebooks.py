"""The command that executes notebooks, with this process in the kernel's place."""

import contextlib
import io
import re
import runpy

import nbformat
import pytest
from conftest import ROOT


class HereClient:
    """Runs code cells in this process."""

    def __init__(self, notebook, **options):
        self.notebook = notebook

    def execute(self):
        for count, cell in enumerate(self.notebook.cells, start=1):
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                exec(cell.source, {})
            cell.outputs = [nbformat.v4.new_output("stream", text=printed.getvalue())]
            cell.execution_count = count


@pytest.fixture
def command(monkeypatch):
    monkeypatch.setattr("nbclient.NotebookClient", HereClient)
    return runpy.run_path(str(ROOT / "scripts" / "run_notebooks.py"))


def test_the_peak_of_memory_is_told_and_leaves_no_trace_in_the_notebook(command, tmp_path, capsys, monkeypatch):
    path = tmp_path / "a.ipynb"
    nbformat.write(
        nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("x = b'1' * 2**27\nprint('hello')")]), path
    )
    peak = command["execute"](path)
    assert 2**27 < peak < 2**40  # bytes, not kibibytes
    (cell,) = nbformat.read(path, as_version=4).cells
    assert cell.outputs[0].text == "hello\n"
    monkeypatch.setattr("sys.argv", ["run_notebooks.py", str(path)])
    monkeypatch.setitem(command["main"].__globals__, "MOST_MEMORY", 2**40)  # this process may hold much already
    command["main"]()
    told = re.search(r" at most (\d+\.\d\d) GiB$", capsys.readouterr().out.strip())
    assert float(told[1]) >= peak / 2**30 - 0.005  # of the same process, a little later
    monkeypatch.setitem(command["main"].__globals__, "MOST_MEMORY", 2**20)
    command["main"]()
    assert "GiB (more than" in capsys.readouterr().out
