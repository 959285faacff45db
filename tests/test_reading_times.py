"""The stated reading times are those of scripts/reading_times.py, and that script counts what it says it counts."""

import json
import subprocess
import sys

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "scripts"))
import reading_times as times

PATHS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def book(*cells):
    """A notebook; prose is text, code is a tuple of its source and its outputs' data."""

    def made(cell):
        if isinstance(cell, str):
            return {"cell_type": "markdown", "source": [cell]}
        return {"cell_type": "code", "source": cell[0], "outputs": [{"data": data} for data in cell[1:]]}

    return {"cells": [made(cell) for cell in cells]}


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_a_notebook_states_its_time_and_a_long_one_has_places_to_stop(path):
    assert times.faults(path.stem, json.loads(path.read_text(encoding="utf-8"))) == []


def test_the_readme_tells_what_the_notebooks_state():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    told = {path.stem: times.stated(json.loads(path.read_text(encoding="utf-8"))) for path in PATHS}
    assert times.in_readme(readme, told) == readme


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Three short words.", 3),
        ("It's a two-step **walk**, see [here](01_forward.ipynb#part).", 6),
        ("`q_sample` of <code>x</code>", 3),
        (r"Then $\sqrt{\bar\alpha_t} = 0.36$ is left", 9),  # then root bar alpha t equals 0.36 is left
        (r"$$\begin{aligned} x &= y \end{aligned}$$", 3),
        ("| a | b |\n|---|---|", 2),
    ],
)
def test_what_is_said_aloud_is_counted(text, words):
    assert times.spoken(text) == words


def test_minutes_add_up():
    page = book(
        "# Title\n\n*Reading time 5 minutes. All cells together run in about two minutes on two CPU cores.*",
        "word " * 183,
        ("x = 1\n\n\ny = 2", {"image/png": "..."}, {"text/html": ["<script>mountPlayer(box)"]}),
        "> **Predict, then run.** " + "word " * 180,
        "> **Write, then run.** " + "word " * 180,
        "**Why?**\n\n<details><summary>a) one</summary></details>\n<details><summary>b) two</summary></details>",
    )
    head, rest = 17 / 183, 5 / 183  # the title line and the rest of the head; the question
    allowed = (2 * 5 + 30 + 60 + 60 + 180 + 60) / 60
    assert times.needed(page) == pytest.approx(2 + head + 3 + allowed + rest)
    assert times.stated(page) == 5
    assert [times.rounded(m) for m in (0.4, 7.4, 7.6, 42.6)] == [5, 5, 10, 45]


def test_a_long_notebook_needs_a_place_to_stop_near_its_middle():
    section = "word " * 183 * 20
    head = "# Long\n\n*Reading time 60 minutes. You need nothing.*"
    prose = [head, "## One\n" + section, "## Two\n" + section, "## Three\n" + section]
    assert times.faults("long", book(*prose)) == [
        'long: 60 minutes without "**A good place to stop.**". Best before "Two".'
    ]
    prose[2] += "\n\n**A good place to stop.** What comes next needs a rested head."
    assert times.faults("long", book(*prose)) == []
    prose[2] = prose[2].partition("**")[0]
    prose[0] += " A good place to stop is after 1.2."
    assert times.faults("long", book(*prose)) != []  # there is no such section
    prose[2] = prose[2].replace("## Two", "## 1.2 Two")
    assert times.faults("long", book(*prose)) == []
    prose[0] = prose[0].replace("60", "25")
    assert "states 25 minutes, needs 60" in times.faults("long", book(*prose))[0]


def test_the_command_writes_the_times_and_nothing_else(tmp_path):
    for folder in ("notebooks", "scripts"):
        (tmp_path / folder).mkdir()
    script = tmp_path / "scripts" / "reading_times.py"
    script.write_text((ROOT / "scripts" / "reading_times.py").read_text())
    notebook, readme = tmp_path / "notebooks" / "01_one.ipynb", tmp_path / "README.md"
    text = json.dumps(book("# One\n\n*Five minutes. You need ε.*", "word " * 183 * 20), indent=1, ensure_ascii=False)
    notebook.write_text(text + "\n", encoding="utf-8")
    table = "| | notebook | after it you can |\n|---|---|---|\n| 1 | [One](notebooks/01_one.ipynb) | count |\n"
    readme.write_text("Before\n\n" + table + "\nAfter\n")

    def run(*arguments):
        return subprocess.run([sys.executable, script, *arguments], capture_output=True, text=True, check=False)

    assert run().returncode == 1
    for _ in range(2):  # the second time changes nothing
        assert run("--write").returncode == 0
        assert notebook.read_text(encoding="utf-8") == text.replace("Five", "Reading time 20") + "\n"
        assert readme.read_text() == "Before\n\n" + (
            "| | notebook | after it you can | minutes |\n|---|---|---|---|\n"
            "| 1 | [One](notebooks/01_one.ipynb) | count | 20 |\n\nAfter\n"
        )
    assert run().returncode == 0
