"""The slider of a saved page in a real browser: by mouse, by keyboard, on small screens, and without scripts."""

import numpy as np
import pytest
from lab_server import NEEDS_CHROMIUM, PATIENCE, keep

from diffusion_lib.showing.player import player_html

pytestmark = NEEDS_CHROMIUM
COUNT = 9
TEXTS = [f"t = {100 * i} · √ᾱ = {0.9**i:.2f}" for i in range(COUNT)]
AT = """([box, words]) => box.querySelector("output").textContent.startsWith(words)"""
SPILLS = """box => [...box.querySelectorAll("*")].filter(e => e.getClientRects().length
  && e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5).map(e => e.tagName)"""


def written(path, width=290, height=58, **options):
    """A page of one slider over ever darker frames."""
    frames = np.linspace(255, 0, COUNT).astype(np.uint8)[:, None, None].repeat(height, 1).repeat(width, 2)
    curve = (100 * np.arange(COUNT), 0.9 ** np.arange(COUNT), "√ᾱ, what is left of the image")
    html = player_html(frames, TEXTS, "A patch that darkens.", label="t", curve=curve, **options)
    path.write_text(
        '<!doctype html><meta name="viewport" content="width=device-width"><meta charset="utf-8">'
        "<style>@media (prefers-color-scheme: dark) { :root { color-scheme: dark; background: #111 } }</style>" + html,
        encoding="utf-8",
    )
    return path.as_uri()


@pytest.fixture
def opened(browser, tmp_path):
    """Open such a page in a fresh context: (page, box)."""
    contexts = []

    def start(size=1280, page_options=(), **context_options):
        context = browser.new_context(offline=True, viewport={"width": size, "height": 800}, **context_options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.clock.install()  # time passes when the test says so
        page.goto(written(tmp_path / "page.html", **dict(page_options)))
        return page, page.locator("[id^=player-]")

    yield start
    for context in contexts:
        context.close()


def arrived(page, box, i):
    """Wait until frame ``i`` is shown: its words, its picture and its dot."""
    page.wait_for_function(AT, arg=[box.element_handle(), f"t = {100 * i} "])
    assert box.locator("input").get_attribute("aria-valuetext") == TEXTS[i]
    assert box.locator("canvas").get_attribute("aria-label").endswith(TEXTS[i])
    grey = box.locator("canvas").evaluate("c => c.getContext('2d').getImageData(5, 5, 1, 1).data[0]")
    assert abs(grey - (255 - 255 * i / 8)) <= 1
    corner = box.locator("polyline").get_attribute("points").split()[i].split(",")
    dot = box.locator("circle")
    assert [dot.get_attribute("cx"), dot.get_attribute("cy")] == corner
    assert box.locator("svg").get_attribute("aria-label").endswith(f" at {100 * i}.")


def test_it_plays_and_pauses_by_mouse_and_stops_at_the_last_frame(opened):
    page, box = opened()
    page.clock.run_for(10_000)
    arrived(page, box, 0)  # it never begins by itself
    button = box.get_by_role("button")
    assert button.inner_text() == "Play"
    button.click()
    assert button.inner_text() == "Pause"
    page.clock.run_for(2200)  # three frames of 0.7 s
    arrived(page, box, 3)
    button.click()
    assert button.inner_text() == "Play"
    page.clock.run_for(10_000)
    arrived(page, box, 3)
    button.click()
    page.clock.run_for(10_000)
    arrived(page, box, COUNT - 1)
    assert button.inner_text() == "Play"
    button.click()  # from the end it plays again
    arrived(page, box, 0)
    page.clock.run_for(800)
    arrived(page, box, 1)


def test_it_plays_and_pauses_by_keyboard_and_a_hand_on_the_handle_pauses_it(opened):
    page, box = opened(reduced_motion="reduce")
    button = box.get_by_role("button")
    page.keyboard.press("Tab")
    assert button.evaluate("b => b === document.activeElement")
    page.keyboard.press("Space")
    page.clock.run_for(1500)
    arrived(page, box, 2)
    page.keyboard.press("Space")
    page.clock.run_for(1500)
    arrived(page, box, 2)
    page.keyboard.press("Enter")
    page.clock.run_for(750)
    arrived(page, box, 3)
    page.keyboard.press("Tab")
    assert box.get_by_role("slider", name="t").evaluate("s => s === document.activeElement")
    page.keyboard.press("ArrowRight")
    arrived(page, box, 4)
    assert button.inner_text() == "Play"
    page.clock.run_for(5000)
    arrived(page, box, 4)
    page.keyboard.press("ArrowLeft")
    arrived(page, box, 3)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize(("columns", "rows", "wide"), [(28, 28, 336), (290, 58, 580)])
def test_it_is_large_and_never_wider_than_the_page(opened, width, scheme, columns, rows, wide):
    page, box = opened(width, {"width": columns, "height": rows, "start": 4}, color_scheme=scheme)
    arrived(page, box, 4)
    assert box.evaluate(SPILLS) == []
    assert not box.locator("img").is_visible()  # the sheet makes way
    shown = box.locator("canvas").bounding_box()
    assert abs(shown["width"] - min(wide, width - 16)) <= 1  # a page's margin is 8 pixels
    assert abs(shown["height"] / shown["width"] - rows / columns) < 0.02
    assert box.get_by_role("button").bounding_box()["height"] >= 24  # WCAG 2.2, 2.5.8
    keep(page, f"player_{columns}_{width}_{scheme}")


def test_each_pixel_stays_sharp_on_a_dense_screen(opened):
    page, box = opened(390, {"width": 28, "height": 28}, device_scale_factor=2)
    arrived(page, box, 0)
    assert box.locator("canvas").evaluate("c => c.width >= c.clientWidth * devicePixelRatio")


@pytest.mark.parametrize("width", [390, 1280])
def test_without_scripts_all_frames_stand_in_a_sheet_with_words(browser, tmp_path, width):
    context = browser.new_context(java_script_enabled=False, viewport={"width": width, "height": 800})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(written(tmp_path / "page.html", 28, 28))
    image = page.get_by_role("img")
    assert image.get_attribute("alt") == f"A patch that darkens. {page.locator('p').inner_text()}"
    assert page.locator("p").inner_text() == f"All frames, row by row, from {TEXTS[0]} to {TEXTS[-1]}."
    shown = image.bounding_box()
    assert 300 < shown["width"] <= width - 16
    assert page.get_by_role("button").count() == 0
    keep(page, f"player_sheet_{width}")
    context.close()


def test_a_map_is_laid_over_the_picture_by_keyboard_and_by_mouse_and_stays_while_the_slider_moves(browser, tmp_path):
    def flat(*colour):
        return np.tile(np.array(colour, np.uint8), (COUNT, 14, 14, 1))

    frames = np.linspace(255, 0, COUNT).astype(np.uint8)[:, None, None].repeat(14, 1).repeat(14, 2)
    maps = [("red", flat(255, 0, 0)), ("none", flat(255, 255, 255)), ("blue", flat(0, 0, 255))]
    html = player_html(frames, TEXTS, "A patch that darkens.", label="t", start=2, maps=maps)
    (tmp_path / "page.html").write_text(f"<!doctype html><meta charset=utf-8>{html}", encoding="utf-8")
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto((tmp_path / "page.html").as_uri())
    box = page.locator("[id^=player-]")
    page.wait_for_function(AT, arg=[box.element_handle(), "t = 200 "])

    def shown():
        pixel = box.locator("canvas").evaluate("c => [...c.getContext('2d').getImageData(5, 5, 1, 1).data]")
        pressed = [b.inner_text() for b in box.locator("button[aria-pressed=true]").all()]
        words = box.locator("output").inner_text()
        assert box.locator("canvas").get_attribute("aria-label") == f"A patch that darkens. {words}"
        assert box.locator("input").get_attribute("aria-valuetext") == words
        return pixel[:3], words.split(" · ")[-1], pressed

    grey = int(frames[2, 0, 0])
    assert shown() == ([grey, 0, 0], "red", ["red"])
    for _ in range(4):  # Play, the slider, then the first two maps
        page.keyboard.press("Tab")
    page.keyboard.press("Space")
    assert shown() == ([grey] * 3, "none", ["none"])
    box.get_by_role("button", name="blue").click()
    assert shown() == ([0, 0, grey], "blue", ["blue"])
    box.get_by_role("slider").press("ArrowRight")
    assert shown() == ([0, 0, int(frames[3, 0, 0])], "blue", ["blue"])
    assert min(b.bounding_box()["height"] for b in box.get_by_role("button").all()) >= 24
    page.close()
