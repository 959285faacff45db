"""One source for what can go wrong: site/symptoms.toml, the notebooks' tables, and what the wrong samplers drew."""

import json
import re
import tomllib

import pytest
from conftest import ROOT

from diffusion_lib.homework.exercises import EXERCISES

SYMPTOMS = tomllib.loads((ROOT / "site" / "symptoms.toml").read_text(encoding="utf-8"))["symptom"]
MEASURED = json.loads((ROOT / "site" / "symptoms.json").read_text(encoding="utf-8"))
LESSONS = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))}


def prose(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def table(text):
    """The rows (symptom, cause) of a notebook's table."""
    section = text.split("What can go wrong", 1)[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("|")]
    return [tuple(row) for row in rows[2:]]


@pytest.mark.parametrize("number", LESSONS)
def test_the_table_of_a_notebook_has_the_rows_of_the_symptom_page(number):
    rows = [row for symptom in SYMPTOMS for row in symptom.get("row", []) if row["notebook"] == number]
    assert sorted(table(prose(LESSONS[number]))) == sorted((row["see"], row["cause"]) for row in rows)


def test_a_row_names_only_mistakes_of_its_own_symptom():
    for symptom in SYMPTOMS:
        for row in symptom.get("row", []):
            assert set(row.get("mistakes", [])) <= set(symptom["mistakes"]), row["see"]


def looks(name):
    """What a measurement of a mistake allows to say: a set of titles, by agreement and spread beside the correct run's.

    40 digits: agreement is known to about 0.1, and a tenth of the spread is more than the correct samplers differ by.
    """
    found, right = MEASURED[name], MEASURED[name.split("/")[0] + "/correct"]
    if "error" in found:
        return {"Everything is black and white, or grey, or NaN", "It stops with an error"}
    agreement, spread = found["agreement"], found["spread"] / right["spread"]
    titles = set()
    if agreement >= right["agreement"] - 0.1 and 0.9 <= spread <= 1.1:
        titles |= {
            "Nothing to see",
            "A setting does less, or more, than it should",
            "A fine grain lies on every sample",
        }
    if name.startswith("inpaint_step/"):
        titles |= {"An edited image does not fit"}  # two halves: these numbers are of whole images
    known = 0.1 if spread > 0.5 else 0.2  # four digits that are one tell as much as one
    if agreement >= right["agreement"] - known and spread < 0.95:
        titles |= {"Samples are clean, but alike"}
    if agreement >= 0.4:
        titles |= {"Samples are grey, washed out or too bold"}
    if agreement <= 0.4:
        titles |= {"The loss falls, and samples are noise, or digits under noise"}
        titles |= {"Everything is black and white, or grey, or NaN"}
        if spread <= 0.6:
            titles |= {"The loss falls, and samples are soft, stained or only half digits"}
        if 0.9 <= spread <= 1.3:
            titles |= {"Good digits, but not the ones asked for"}
    return titles


def test_every_symptom_that_was_run_is_what_was_measured():
    placed = {name: symptom["title"] for symptom in SYMPTOMS for name in symptom["mistakes"]}
    run = [name for name in MEASURED if not name.endswith("/correct")]
    assert len(run) > 40
    assert {name: placed[name] for name in run if placed[name] not in looks(name)} == {}


def test_the_section_that_a_mistake_sends_to_is_there():
    for exercise in EXERCISES:
        number, _, title = exercise.reread.partition(", ")
        assert re.search(rf"^##+ {re.escape(title)}", prose(LESSONS[number]), flags=re.MULTILINE), exercise.reread
