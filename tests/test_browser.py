"""The series in a real browser: JupyterLab with a kernel, and an exported page with the network off."""

import os
import secrets
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from conftest import ROOT
from lab_server import CHROMIUM, ERRORS, FINISHED, FLAGS, KERNEL_SAYS, READY, RUN_ALL, serve

REQUIRED = bool(os.environ.get("DIFFUSION_REQUIRE_BROWSER"))
pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM and not REQUIRED, reason="needs Chromium: install your system's chromium package"),
]
SCREENSHOTS = os.environ.get("DIFFUSION_SCREENSHOTS")  # a folder to keep pictures in


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "DIFFUSION_REQUIRE_BROWSER is set, but there is no Chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield chromium
        chromium.close()


def keep(page, name):
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{SCREENSHOTS}/{name}.png")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A JupyterLab of its own over copies of the notebooks, as saved and with their outputs taken out."""
    books = {}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        books[f"saved_{path.name}"] = nbformat.read(path, as_version=4)
        books[path.name] = nbformat.read(path, as_version=4)
        for cell in books[path.name].cells:  # so that what is seen below was computed in this test
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
    with serve(tmp_path_factory.mktemp("lab"), books) as server:
        yield server


def test_notebook_01_runs_in_jupyterlab_and_its_slider_moves_by_keyboard(browser, lab):
    address, token = lab
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.goto(f"{address}/lab/workspaces/{secrets.token_hex(4)}/tree/01_forward_process.ipynb?token={token}")
    page.wait_for_function("() => window.jupyterapp !== undefined", timeout=60_000)
    page.wait_for_function(READY, timeout=90_000)
    page.evaluate(RUN_ALL)
    page.wait_for_function(FINISHED, timeout=180_000)

    slider = page.locator(".jp-OutputArea-output input[type=range]").first
    slider.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)  # the notebook lays out the cells that have come into view
    slider.scroll_into_view_if_needed()
    text, canvas = page.locator(".jp-OutputArea-output output").first, page.locator("canvas[role=img]").first
    assert text.inner_text().startswith("t = 250")
    assert slider.get_attribute("aria-valuetext") == text.inner_text()
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    slider.focus()
    for _ in range(21):
        page.keyboard.press("ArrowRight")
    assert text.inner_text().startswith("t = 271")
    assert canvas.get_attribute("aria-label").startswith("One digit at noise level t. t = 271")
    assert canvas.evaluate("canvas => canvas.toDataURL()") != before
    for _ in range(50):
        if page.evaluate(KERNEL_SAYS, ["slider.value", "271"]):
            break
        page.wait_for_timeout(200)
    else:
        raise AssertionError("the kernel did not hear of the slider's move")
    keep(page, "lab_01_slider_1280")
    page.set_viewport_size({"width": 800, "height": 900})
    page.wait_for_timeout(500)
    keep(page, "lab_01_slider_800")
    alts = page.evaluate("[...document.querySelectorAll('.jp-OutputArea-output img')].map(image => image.alt)")
    assert alts
    assert all(len(alt) > 20 for alt in alts)
    errors = page.evaluate(ERRORS)
    assert errors == 0
    assert not [text for text in complaints if "view for model" in text or "mountPlayer" in text]
    page.close()


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb")))
def test_every_slider_of_an_exported_page_moves_with_the_network_off(browser, tmp_path, name):
    notebook = str(ROOT / "notebooks" / f"{name}.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--output-dir", str(tmp_path), notebook]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    context = browser.new_context(offline=True, viewport={"width": 800, "height": 900})
    page = context.new_page()
    page.goto((tmp_path / f"{name}.html").as_uri(), wait_until="domcontentloaded")
    boxes = page.locator("[id^=player-]")
    assert boxes.count() >= 1
    for i in range(boxes.count()):
        slider, text, canvas = (boxes.nth(i).locator(part) for part in ("input[type=range]", "output", "canvas"))
        slider.scroll_into_view_if_needed()
        seen = []
        for key in ("Home", "End"):
            slider.focus()
            page.keyboard.press(key)
            assert canvas.get_attribute("aria-label").endswith(text.inner_text())
            seen.append((text.inner_text(), canvas.evaluate("canvas => canvas.toDataURL()")))
        assert all(first != last for first, last in zip(*seen, strict=True))
        keep(page, f"export_{name[:2]}_slider_{i}")
    context.close()
