"""The list of mutants works, and the fast ones among them die; `make mutants` tries them all."""

import os
import re
import sys
from collections import Counter

import pytest
from conftest import ROOT
from lab_server import NEEDS_CHROMIUM
from warm import python

sys.path.insert(0, str(ROOT / "scripts"))
import live_page
from mutants import HEADER, LIST, Mutant, chosen, fault, read_list, verdict

MUTANTS = read_list(LIST)
MODULES = set(
    """
    shapes schedules diffusion predictions flow embeddings unet guidance samplers oracles data datasets metrics profiles
    fast training/loop training/recipe training/checkpoints training/history training/processes training/resuming
    training/optimizers pixels consistency editing latents words showing/player showing/viz
    homework/probing homework/probes_loss homework/checks
    grader/lateness grader/testers grader/marking grader/asking grader/gradebook grader/regrade grader/variants
    grader/sandbox/server grader/sandbox/client grader/sandbox/surroundings
    showing/exporting grader/catalogue/tables scripts/live_page site/live/engine site/live/diffusion
    site/live/prompts site/live/worker site/live/words site/live/walk site/live/compare
    """.split()  # noqa: SIM905 - seventy quotes are harder to read
)
PLANTED = """
[[mutant]]
id = "harmless"
file = "training/history.py"
old = "class History:"
new = "class History:  # as it was"
red = ["test_history.py::test_a_line_that_was_cut_short_is_left_out"]
fast = true

[[mutant]]
id = "not-to-be-imported"
file = "training/history.py"
old = "import json\\n"
new = "import jason\\n"
red = ["test_history.py::test_a_line_that_was_cut_short_is_left_out"]
fast = true
"""


def test_every_entry_fits_the_code_and_the_tests():
    assert {m.id: words for m in MUTANTS if (words := fault(m))} == {}
    assert len(MUTANTS) >= 100
    assert {m.module for m in MUTANTS} == MODULES


def test_the_readme_counts_them():
    counts = Counter(m.module for m in MUTANTS)
    table = (ROOT / "README.md").read_text().partition(HEADER)[2].partition("\n\n")[0]
    rows = re.findall(r"\| `?([\w/]+)`? \| (\d+) \| (\d+) \|", table)
    assert {name: int(count) for name, count, _ in rows} == {**counts, "all": counts.total()}
    assert {alive for _, _, alive in rows} == {"0"}


def test_an_entry_that_does_not_work_is_told():
    good = {"id": "a", "file": "training/recipe.py", "old": "(10 + n)", "new": "(9 + n)", "red": ("test_recipe.py",)}
    assert fault(Mutant(**good)) == ""
    assert "occurs 0 times in training/recipe.py" in fault(Mutant(**good | {"old": "(11 + n)"}))
    assert "no Python" in fault(Mutant(**good | {"new": "(9 + n"}))
    assert "no such test: test_recipe.py::test_none" in fault(Mutant(**good | {"red": ("test_recipe.py::test_none",)}))
    assert [verdict(code) for code in (0, 1)] == ["SURVIVED", "killed"]
    assert all(verdict(code).startswith("broken entry") for code in (2, 3, 4, 5, 70, -9))


class TestInABrowser:
    pytestmark = NEEDS_CHROMIUM

    def test_every_edited_script_is_still_a_script(self, browser, tmp_path):
        page, edited = browser.new_page(), [m for m in MUTANTS if m.file.endswith(".js")]
        tell = "code => { try { new Function(code); } catch (error) { return error.message; } }"
        assert page.evaluate(tell, "const = 3;")
        for mutant in edited:
            (tmp_path / "part.js").write_text(mutant.edited((ROOT / mutant.path).read_text()))
            assert page.evaluate(tell, live_page.joined([tmp_path / "part.js"])) is None, mutant.id
        page.close()


def test_a_share_is_chosen_by_number_by_name_and_by_speed():
    assert chosen([]) == MUTANTS
    assert chosen(["--share", "10"]) == MUTANTS[::10]
    assert chosen(["--only", "no-shuffle"]) == [m for m in MUTANTS if m.id == "no-shuffle"]
    assert 10 <= len(chosen(["--share", "fast"])) <= 12
    for wrong in (["--only", "nobody"], ["--share", "0"]):
        with pytest.raises(SystemExit):
            chosen(wrong)


def test_the_fast_mutants_die_and_of_two_more_one_survives_and_one_is_broken(tmp_path):
    listed = tmp_path / "mutants.toml"
    listed.write_text(LIST.read_text(encoding="utf-8") + PLANTED, encoding="utf-8")
    script = ROOT / "scripts" / "mutants.py"
    done = python(script, "--list", listed, "--share", "fast", cwd=ROOT, env=os.environ)
    rows = dict(re.findall(r"^([a-z0-9-]+) +(killed|SURVIVED|broken entry)", done.stdout, flags=re.MULTILINE))
    expected = {m.id: "killed" for m in chosen(["--share", "fast"])}
    assert rows == {**expected, "harmless": "SURVIVED", "not-to-be-imported": "broken entry"}, done.stderr
    assert "| `training/history` | 2 | 2 |" in done.stdout
    assert done.returncode == 1
