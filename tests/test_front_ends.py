"""What other front ends make of a notebook: their own renderer where it can be had, and the signs that they show."""

import json
import re
import secrets
import sys
import types
from functools import cache

import nbformat
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT
from lab_server import ERRORS, FINISHED, NEEDS_CHROMIUM, PANEL, PATIENCE, READY, RUN_ALL, keep, move_every_slider
from nbformat.sign import NotebookNotary

from diffusion_lib.showing.widgets import FrameSlider

BOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SAVED = ROOT / "notebooks" / "draw_a_digit.ipynb"
WIDGET = "application/vnd.jupyter.widget-view+json"
OUTPUTS = ".jp-OutputArea-output"
LOADED = f"() => {{ const panel = {PANEL}; return !!panel && panel.context.isReady; }}"
CODE = """import os
import numpy as np
from diffusion_lib.showing.widgets import FrameSlider
os.environ["KAGGLE_KERNEL_RUN_TYPE"] = "Interactive"
frames = np.linspace(255, 0, 9).astype(np.uint8)[:, None, None].repeat(28, 1).repeat(28, 2)
FrameSlider(frames, [f"t = {i}" for i in range(9)], "A patch that darkens.")"""


def slider():
    return FrameSlider(np.zeros((2, 3, 3), np.uint8), ["first", "second"], "Two frames.")


def bundle():
    data, metadata = slider()._repr_mimebundle_()
    assert "mountPlayer" in data["text/html"]
    assert data["text/plain"] == "Slider: Two frames."
    return data, metadata


def test_a_slider_is_a_widget_with_plain_html_beside_it():
    assert WIDGET in bundle()[0]


@pytest.mark.parametrize("sign", ["DIFFUSION_PLAIN", "KAGGLE_KERNEL_RUN_TYPE"])
def test_on_kaggle_or_where_it_is_wished_it_is_plain_html_alone(monkeypatch, sign):
    monkeypatch.setenv(sign, "1")
    assert bundle() == ({k: v for k, v in bundle()[0].items() if k != WIDGET}, {})


def test_in_colab_it_needs_no_widget_manager(monkeypatch):
    """Colab's own module, as far as anywidget asks it."""
    asked = []
    colab, output = types.ModuleType("google.colab"), types.ModuleType("google.colab.output")
    output.enable_custom_widget_manager = lambda: asked.append("switched on")
    output._widgets = types.SimpleNamespace(_installed_url="colab's")
    monkeypatch.setitem(sys.modules, "google.colab", colab)
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    assert WIDGET not in bundle()[0]
    monkeypatch.delitem(sys.modules, "google.colab")
    _, metadata = bundle()  # what the pad does, which cannot do without: anywidget switches the manager on by itself
    assert metadata[WIDGET]["colab"]["custom_widget_manager"]["url"] == "colab's"
    assert asked == ["switched on"]


@pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
def test_no_saved_notebook_promises_a_widget_that_it_does_not_hold(path):
    """GitHub refuses a notebook whose metadata names widgets without their state; others show an empty box."""
    text = path.read_text(encoding="utf-8")
    assert "widgets" not in json.loads(text)["metadata"]
    assert WIDGET not in text
    assert "widget-state" not in text


def test_a_sheet_fits_the_column_of_a_front_end_that_takes_its_style_away():
    wide = np.zeros((9, 58, 290), np.uint8)
    made = FrameSlider(wide, list("abcdefghi"), "Nine wide frames.")._repr_mimebundle_()[0]["text/html"]
    assert re.search(r' width="(\d+)"', made)[1] == "960"
    for path in BOOKS:
        widths = re.findall(r'base64,[^"]*\\" width=\\"(\d+)', path.read_text(encoding="utf-8"))
        assert widths, path
        assert all(84 <= int(width) <= 960 for width in widths), path


@pytest.fixture(scope="module")
def lab(tmp_path_factory, jupyterlab):
    """JupyterLab without anywidget's part, as on a hub that was not asked, with a saved notebook, trusted and not."""
    home = tmp_path_factory.mktemp("front")
    (home / "config" / "labconfig").mkdir(parents=True)
    (home / "config" / "labconfig" / "page_config.json").write_text('{"disabledExtensions": {"anywidget": true}}')
    (home / "data").mkdir()
    trusted, untrusted = (nbformat.read(SAVED, as_version=4) for _ in range(2))
    untrusted.cells[0].source += " "  # a signature is of the whole text
    NotebookNotary(data_dir=str(home / "data")).sign(trusted)
    live = nbformat.v4.new_notebook(metadata=trusted.metadata, cells=[nbformat.v4.new_code_cell(CODE)])
    with jupyterlab(home, {"trusted.ipynb": trusted, "untrusted.ipynb": untrusted, "live.ipynb": live}) as server:
        yield server


@pytest.fixture
def opened(lab, browser):
    """Open a notebook of that server, in JupyterLab or in Notebook 7."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(PATIENCE)

    def start(name, place="lab"):
        where = {"lab": f"lab/workspaces/{secrets.token_hex(4)}/tree", "notebook": "notebooks"}[place]
        page.goto(f"{lab[0]}/{where}/{name}.ipynb?token={lab[1]}")
        page.wait_for_function("() => window.jupyterapp !== undefined")
        page.wait_for_function(LOADED)
        return page

    yield start
    page.close()


def faults(page, exclude=()):
    """What axe-core finds in our outputs; the page around them is not ours."""
    context = {"include": [[OUTPUTS]], "exclude": list(exclude)}
    found = Axe().run(page, context=context, options={"resultTypes": ["violations"], "preload": False})
    return {each["id"]: [node["html"] for node in each["nodes"]] for each in found.response["violations"]}


@cache
def exporter(template):
    """nbconvert's, with its templates read once."""
    from nbconvert import HTMLExporter

    return HTMLExporter(template_name=template)


class TestInABrowser:
    pytestmark = NEEDS_CHROMIUM

    def test_where_the_front_end_lacks_the_widget_the_plain_player_moves(self, opened):
        page = opened("live")
        page.wait_for_function(READY)
        page.evaluate(RUN_ALL)
        page.wait_for_function(FINISHED)
        assert page.evaluate(ERRORS) == 0
        assert move_every_slider(page, "kaggle") == 1
        assert faults(page) == {}
        page.evaluate("window.jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
        page.wait_for_function("() => document.body.dataset.jpThemeName === 'JupyterLab Dark'")
        assert faults(page) == {}
        keep(page, "front_end_dark")

    @pytest.mark.parametrize("place", ["lab", "notebook"])
    def test_a_saved_notebook_that_is_trusted_moves_without_its_widget(self, opened, place):
        page = opened("trusted", place)
        page.wait_for_selector("[id^=player-] canvas")
        assert move_every_slider(page, f"trusted_{place}") == 1
        assert faults(page, [[".jp-RenderedImage > img"]]) == {}  # the front end leaves the words of a saved PNG out

    @pytest.mark.parametrize("place", ["lab", "notebook"])
    def test_one_that_is_not_trusted_shows_all_frames_with_words(self, opened, place):
        page = opened("untrusted", place)
        sheet = page.locator(f"{OUTPUTS} img[alt*='All frames, row by row']")
        sheet.wait_for()
        assert sheet.bounding_box()["width"] > 300
        assert page.locator(f"{OUTPUTS} input").count() == 0
        keep(page, f"untrusted_{place}")

    def test_nbviewers_page_moves_and_githubs_keeps_the_sheet(self, browser, tmp_path):
        """nbviewer's is nbconvert's template "basic". GitHub's has no script, no style and no handler."""
        body, _ = exporter("basic").from_filename(str(SAVED))
        (tmp_path / "page.html").write_text(f"<!doctype html><meta charset=utf-8>{body}", encoding="utf-8")
        context = browser.new_context(offline=True, viewport={"width": 1000, "height": 900})
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto((tmp_path / "page.html").as_uri())
        assert move_every_slider(page, "nbviewer") == 1
        page.evaluate(STRIPPED, body)
        sheet = page.get_by_role("img", name="All frames, row by row")
        assert 300 < sheet.bounding_box()["width"] <= 960
        assert page.locator("input, canvas").count() == 0
        assert page.get_by_text("It needs a running kernel").count() == 1
        assert all(len(image.get_attribute("alt") or "") > 20 for image in page.locator("img").all())
        keep(page, "github")
        context.close()

    @pytest.mark.parametrize("path", BOOKS, ids=lambda path: path.stem)
    def test_an_exported_page_has_no_fault_in_our_outputs(self, browser, tmp_path, path):
        body, _ = exporter("lab").from_filename(str(path))
        (tmp_path / "page.html").write_text(body, encoding="utf-8")
        context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.goto((tmp_path / "page.html").as_uri(), wait_until="domcontentloaded")
        assert faults(page) == {}
        context.close()


STRIPPED = """body => {
  const page = new DOMParser().parseFromString(body, "text/html");
  page.querySelectorAll("script, style, iframe, object").forEach(element => element.remove());
  for (const element of page.querySelectorAll("*"))
    for (const { name } of [...element.attributes])
      if (name === "style" || name.startsWith("on")) element.removeAttribute(name);
  document.body.replaceChildren(...page.body.childNodes);
}"""
