"""The series in a real browser: JupyterLab with a kernel, and an exported page with the network off."""

import secrets
import subprocess
import sys

import nbformat
import pytest
from conftest import ROOT
from lab_server import (
    ERRORS,
    FINISHED,
    KERNEL_SAYS,
    NEEDS_CHROMIUM,
    PATIENCE,
    READY,
    RUN_ALL,
    keep,
    move_every_slider,
)

pytestmark = NEEDS_CHROMIUM


@pytest.fixture(scope="module")
def lab(tmp_path_factory, jupyterlab):
    """A JupyterLab of its own over copies of the notebooks, as saved and with their outputs taken out."""
    books = {}
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        books[f"saved_{path.name}"] = nbformat.read(path, as_version=4)
        books[path.name] = nbformat.read(path, as_version=4)
        for cell in books[path.name].cells:  # so that what is seen below was computed in this test
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
    with jupyterlab(tmp_path_factory.mktemp("lab"), books) as server:
        yield server


def pixels(canvas):
    return canvas.evaluate("canvas => canvas.toDataURL()")


STAYS = """node => new Promise(done => {
  let before = "", same = 0;
  const look = () => {
    const now = JSON.stringify(node.getBoundingClientRect());
    same = now === before ? same + 1 : 0;
    before = now;
    if (same >= 10) done(now); else requestAnimationFrame(look);
  };
  look();
})"""


def bring_into_view(element):
    """Scroll to it, again for as long as the notebook, which lays out what has come into view, moves it away."""
    where, before = "", None
    while where != before:
        element.scroll_into_view_if_needed()
        where, before = element.evaluate(STAYS), where


def wait_for_the_kernel(page, expression, expected):
    """Ask the kernel until it has heard: a number of questions is more patient on a busy machine than a clock."""
    assert any(page.evaluate(KERNEL_SAYS, [expression, expected]) for _ in range(5000)), f"{expression} != {expected}"


def open_and_run(page, lab, name, place="lab/workspaces/NEW/tree"):
    """Open the notebook, in JupyterLab or elsewhere, and run all its cells."""
    address, token = lab
    page.set_default_timeout(PATIENCE)
    page.goto(f"{address}/{place.replace('NEW', secrets.token_hex(4))}/{name}?token={token}")
    page.wait_for_function("() => window.jupyterapp !== undefined")
    page.wait_for_function(READY)
    page.evaluate(RUN_ALL)
    page.wait_for_function(FINISHED)


def test_notebook_01_runs_in_jupyterlab_and_its_slider_moves_by_keyboard(browser, lab):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints, asked = [], []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("request", lambda r: None if r.url.startswith((lab[0], "data:", "blob:")) else asked.append(r.url))
    open_and_run(page, lab, "01_forward_process.ipynb")

    slider = page.locator(".jp-OutputArea-output input[type=range]").first
    bring_into_view(slider)
    text, canvas = page.locator(".jp-OutputArea-output output").first, page.locator("canvas[role=img]").first
    assert text.inner_text().startswith("t = 250")
    assert slider.get_attribute("aria-valuetext") == text.inner_text()
    before = canvas.evaluate("canvas => canvas.toDataURL()")
    slider.focus()
    for _ in range(9):
        page.keyboard.press("ArrowRight")
    assert text.inner_text().startswith("t = 475")
    assert canvas.get_attribute("aria-label").startswith(
        "A fading digit, growing noise, their sum; below, a dot on both curves. t = 475"
    )
    assert canvas.evaluate("canvas => canvas.toDataURL()") != before
    wait_for_the_kernel(page, "slider.value", "19")
    keep(page, "lab_01_slider_1280")
    play = page.locator(".jp-OutputArea-output [role=group] button").first
    play.focus()
    page.keyboard.press("Space")
    page.wait_for_function(
        "([text, box]) => !text.textContent.startsWith('t = 475') && box.textContent === 'Pause'",
        arg=[text.element_handle(), play.element_handle()],
    )
    page.keyboard.press("Space")
    assert play.inner_text() == "Play"
    stopped_at = slider.input_value()
    wait_for_the_kernel(page, "slider.value", stopped_at)
    assert slider.input_value() == stopped_at
    page.set_viewport_size({"width": 800, "height": 900})
    keep(page, "lab_01_slider_800")
    alts = page.evaluate("[...document.querySelectorAll('.jp-OutputArea-output img')].map(image => image.alt)")
    assert alts
    assert all(len(alt) > 20 for alt in alts)
    errors = page.evaluate(ERRORS)
    assert errors == 0
    assert not [text for text in complaints if "view for model" in text or "mountPlayer" in text]
    assert asked == []
    assert page.get_by_text("Jupyter news").count() == 0  # the pop-up that asks whether news may be fetched
    page.close()


def test_a_digit_is_drawn_and_brought_back_by_mouse_and_by_keyboard(browser, lab):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    open_and_run(page, lab, "draw_a_digit.ipynb")
    box = page.locator(".sketch")
    bring_into_view(box)
    pad, seen, state, guess = (box.locator("canvas").nth(i) for i in range(4))
    status, run = box.locator("[role=status]"), box.get_by_role("button", name="Noise it and bring it back")
    blank = [pixels(c) for c in (pad, seen, state, guess)]

    place = pad.bounding_box()
    page.mouse.move(place["x"] + 40, place["y"] + 35)
    page.mouse.down()
    for x, y in ((95, 35), (90, 60), (70, 110)):  # a 7
        page.mouse.move(place["x"] + x, place["y"] + y, steps=5)
    drawn = pixels(pad)
    page.mouse.up()
    assert drawn != blank[0]  # the pad itself waits for nobody
    page.wait_for_function("([c, before]) => c.toDataURL() !== before", arg=[seen.element_handle(), blank[1]])
    noised = pixels(state)
    assert noised != blank[2]

    box.get_by_role("combobox").nth(1).select_option("7")
    run.click()
    page.wait_for_function("node => node.textContent.startsWith('From t = 499 as a 7')", arg=status.element_handle())
    page.wait_for_function("node => node.textContent.startsWith('Brought back')", arg=status.element_handle())
    assert pixels(state) != noised
    assert pixels(guess) != blank[3]
    keep(page, "sketch_mouse")

    result = pixels(state)
    clear = box.get_by_role("button", name="Clear")
    clear.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("([c, before]) => c.toDataURL() === before", arg=[seen.element_handle(), blank[1]])
    assert pixels(pad) == blank[0]
    box.get_by_role("combobox").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")  # Take it
    page.wait_for_function("([c, before]) => c.toDataURL() !== before", arg=[seen.element_handle(), blank[1]])
    assert "from the test set" in status.inner_text()
    assert pixels(pad) != blank[0]
    slider = box.get_by_role("slider")
    slider.focus()
    for _ in range(10):
        page.keyboard.press("ArrowRight")
    assert slider.get_attribute("aria-valuetext") == "t = 509"
    run.focus()
    page.keyboard.press("Space")
    page.wait_for_function("node => node.textContent.includes('from t = 509: 50 steps')", arg=status.element_handle())
    assert pixels(state) != result
    keep(page, "sketch_keyboard")
    assert page.evaluate(ERRORS) == 0
    page.close()


def test_notebook_7_draws_on_the_pad_and_moves_a_slider(browser, lab):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    open_and_run(page, lab, "draw_a_digit.ipynb", "notebooks")
    assert page.evaluate("window.jupyterapp.name") == "Jupyter Notebook"
    box = page.locator(".sketch")
    box.scroll_into_view_if_needed()
    page.wait_for_timeout(1000)  # the notebook lays out the cells that have come into view
    box.scroll_into_view_if_needed()
    pad, seen = box.locator("canvas").nth(0), box.locator("canvas").nth(1)
    blank, place = pixels(seen), pad.bounding_box()
    page.mouse.move(place["x"] + 70, place["y"] + 30)
    page.mouse.down()
    page.mouse.move(place["x"] + 70, place["y"] + 110, steps=5)
    page.mouse.up()
    page.wait_for_function("([c, before]) => c.toDataURL() !== before", arg=[seen.element_handle(), blank])
    slider = page.locator("[role=group] input[type=range]").first
    slider.scroll_into_view_if_needed()
    assert slider.get_attribute("aria-valuetext") == "t = 500"
    slider.focus()
    page.keyboard.press("Home")
    assert slider.get_attribute("aria-valuetext") == "t = 50"
    keep(page, "notebook_7")
    assert page.evaluate(ERRORS) == 0
    page.close()


def test_every_slider_of_an_exported_page_moves_with_the_network_off(browser, tmp_path):
    name = "02_embeddings_and_unet"
    notebook = str(ROOT / "notebooks" / f"{name}.ipynb")
    command = [sys.executable, "-m", "nbconvert", "--to", "html", "--output-dir", str(tmp_path), notebook]
    out = subprocess.run(command, capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    context = browser.new_context(offline=True, viewport={"width": 800, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto((tmp_path / f"{name}.html").as_uri(), wait_until="domcontentloaded")
    move_every_slider(page, "export_02")
    context.close()
