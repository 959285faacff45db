"""The pages for people who add to the series, cite it or teach it: what they name exists."""

import re
import tomllib

import pytest
import yaml
from conftest import ROOT

VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
GUIDE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COURSE = (ROOT / "site" / "course.md").read_text(encoding="utf-8")
NAMED = re.compile(r"(?:diffusion_lib|grader|homework|notebooks|scripts|site|tests)/[\w/.]+\.\w+")


@pytest.mark.parametrize("text", [GUIDE, COURSE], ids=["contributing", "course"])
def test_every_file_that_is_named_is_there(text):
    linked = {path.split("#")[0] for path in re.findall(r"\]\((?!http)([^)]+)\)", text)}
    files = {name for name in NAMED.findall(text) if "NN_name" not in name} | linked
    assert len(files) >= 5
    assert not [name for name in files if not (ROOT / name).exists() and not (ROOT / "site" / name).exists()]


def test_the_guide_has_four_short_pages_that_end_with_their_tests():
    pages = re.split(r"^## ", GUIDE, flags=re.MULTILINE)[1:]
    assert [page.splitlines()[0] for page in pages] == ["An exercise", "A mistake", "A data set", "A notebook"]
    for page in pages:
        steps = re.findall(r"^\d+\. .*(?:\n   .*)*", page, flags=re.MULTILINE)
        assert 5 <= len(steps) <= 10
        assert re.search(r"`python -m pytest( tests/test_\w+\.py)+`$", steps[-1])


def test_the_guide_speaks_of_names_that_exist():
    pairs = re.findall(r"`(\w+)` (?:of|to) `([\w/.]+)`", GUIDE)
    assert {"PROBES", "KNOWN", "Exercise", "FORMULA", "FORMULAS", "ROOMS", "SETS"} == {name for name, _ in pairs}
    for name, path in pairs:
        assert re.search(rf"\b{name}\b", (ROOT / path).read_text(encoding="utf-8")), name


def test_sections_that_the_course_names_are_sections():
    books = {path.name[:2]: path.read_text(encoding="utf-8") for path in (ROOT / "notebooks").glob("0*.ipynb")}
    for section in set(re.findall(r"\b\d\.\d\b", re.sub(r"exercises? \d\.\d", "", COURSE))):
        assert f'"## {section} ' in books[f"0{section[0]}"], section


def test_the_version_is_said_once():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()  # what the format asks for
    assert citation["version"] == VERSION
    assert citation["license"] == "MIT"
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert VERSION in headings[:2]


def test_every_figure_stands_in_the_gallery_with_words():
    gallery = dict(re.findall(r"!\[([^\]]+)\]\(figures/([^)]+)\)", (ROOT / "site" / "figures.md").read_text()))
    assert set(gallery.values()) == {path.name for path in (ROOT / "figures").iterdir()}
    assert all(len(words) > 30 for words in gallery)
