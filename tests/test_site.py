"""The reading site: built by its command, and read in a browser that has no network."""

import re
import subprocess
import sys
import tomllib

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import ROOT
from lab_server import NEEDS_CHROMIUM, PATIENCE, keep, move_every_slider

from diffusion_lib.showing.widgets import NO_KERNEL
from grader.catalogue.mistakes import MISTAKES

LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
PAGES = [
    "index",
    "live",
    "debugging",
    "glossary",
    "symbols",
    "figures",
    "course",
    *(f"notebooks/{name}" for name in LESSONS),
]
CUT = """([code, most]) => [...document.querySelectorAll(code)].map(pre => [pre, pre.innerText])
  .filter(([pre, text]) => pre.scrollWidth > pre.clientWidth && text.split("\\n").every(line => line.length <= most))
  .map(([_, text]) => text)"""  # blocks of code whose lines, of at most so many characters, do not fit
REACHABLE = "() => [...document.querySelectorAll('pre')].every(p => p.tabIndex === 0 || p.scrollWidth <= p.clientWidth)"
# axe-core takes a second for a thousand elements. Formulas' drawings have words beside them, and two blocks of code of
# a kind stand for the others; the rest of a page is looked at whole.
WITHOUT_DRAWINGS = """() => document.querySelectorAll("mjx-container svg").forEach(svg => svg.replaceChildren())"""
THIN = """() => {
  for (const code of [".cell_input pre", ".cell_output pre"])
    [...document.querySelectorAll(code)].slice(2).forEach(pre => pre.replaceChildren("code"));
}"""


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "html"
    command = [sys.executable, str(ROOT / "scripts" / "build_site.py"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr  # a warning stops it too
    return out


def faults(page, *rules):
    """What axe-core finds on the page as it stands, by all its rules or by these: {rule: [where]}."""
    options = {"resultTypes": ["violations"], "preload": False} | ({"runOnly": rules} if rules else {})
    found = Axe().run(page, options=options).response["violations"]
    return {each["id"]: [node["target"] for node in each["nodes"]] for each in found}


def test_the_notebooks_pad_leads_to_the_one_that_needs_no_kernel(site, browser):
    """The link opens the live page at its pad, and there is one wherever a saved notebook shows the sentence."""
    assert sum(NO_KERNEL in (site / f"notebooks/{name}.html").read_text() for name in LESSONS) == 0
    page = browser.new_context(offline=True, viewport={"width": 1000, "height": 900}).new_page()
    page.goto((site / "notebooks" / "draw_a_digit.html").as_uri())
    page.get_by_role("link", name="Draw a digit here").click()
    page.wait_for_function("() => performance.getEntriesByName('live-ready').length > 0", timeout=PATIENCE)
    pad = page.locator("#live-draw .sketch-pad").bounding_box()
    assert 0 < pad["y"] < pad["y"] + pad["height"] < 900
    page.context.close()


def test_every_mistake_of_the_catalogue_has_one_symptom():
    symptoms = tomllib.loads((ROOT / "site" / "symptoms.toml").read_text())["symptom"]
    listed = [name for symptom in symptoms for name in symptom["mistakes"]]
    assert sorted(listed) == sorted({mistake.id for mistake in MISTAKES})  # one name may stand for two variants


def test_no_page_fetches_anything_from_elsewhere(site):
    for page in PAGES:
        html = (site / f"{page}.html").read_text()
        for tag in re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", html):
            assert not re.search(r"(src|href)=[\"']?(https?:)?//", tag), f"{page}: {tag[:200]}"


def test_every_reading_link_leads_to_a_page_and_every_picture_has_words(site):
    for page in PAGES:
        html, here = (site / f"{page}.html").read_text(), (site / page).parent
        article = html[html.index("<article") : html.index("</article>")]
        for link in re.findall(r'href="([^"#:]+)[^":]*"', article):
            assert (here / link).exists(), f"{page}: {link}"
        alts = re.findall(r'<img\b[^>]*?alt="([^"]*)"', article)
        assert len(alts) == len(re.findall(r"<img\b", article))
        assert all(len(alt) > 20 for alt in alts), page


def test_every_page_says_how_long_it_takes_and_every_section_has_an_address(site):
    for page in PAGES:
        html = (site / f"{page}.html").read_text()
        article = html[html.index("<article") : html.index("</article>")]
        assert page == "index" or re.search(r"Reading time \d+ minutes", article), page
        for heading in re.findall(r"<h[1-3]>.*?</h[1-3]>", article):
            name = re.search(r'class="headerlink" href="#([^"]+)"', heading)
            assert name, heading
            assert f'id="{name[1]}"' in article
    assert sum('class="right-next"' in (site / f"{page}.html").read_text() for page in PAGES) == len(PAGES) - 1


@pytest.mark.parametrize("page_name", PAGES)
class TestInABrowser:
    pytestmark = NEEDS_CHROMIUM

    def test_it_reads_well_offline_on_a_wide_and_a_narrow_screen(self, site, browser, page_name):
        complaints, asked = [], []
        context = browser.new_context(
            offline=True, viewport={"width": 1280, "height": 900}, color_scheme="light", reduced_motion="reduce"
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda r: None if r.url.startswith(("file:", "data:", "blob:")) else asked.append(r.url))
        page.goto((site / f"{page_name}.html").as_uri())
        page.wait_for_function(
            "() => document.querySelectorAll('.math').length <= document.querySelectorAll('mjx-container svg').length"
        )
        assert page.locator("[data-mml-node=merror]").count() == 0
        sliders = move_every_slider(page, f"site_{page_name[-20:].replace('/', '_')}")
        assert sliders >= (page_name.startswith("notebooks/"))
        assert page.evaluate(CUT, [".cell_input pre", 84]) == []
        for width in (1280, 640, 390):  # 640: 1280 at 200 % zoom
            page.set_viewport_size({"width": width, "height": 900})
            page.evaluate("window.scrollTo(0, 0)")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            keep(page, f"site_{width}_{page_name.split('/')[-1]}")
            for slider in page.locator("[id^=player-] input").all():
                assert slider.bounding_box()["width"] >= min(400, 0.5 * width)
        page.wait_for_function(REACHABLE)  # the theme's script answers a new width after a moment
        page.evaluate("document.documentElement.dataset.theme = 'dark'")
        keep(page, f"site_dark_{page_name.split('/')[-1]}")
        page.evaluate(WITHOUT_DRAWINGS)
        assert faults(page, "scrollable-region-focusable") == {}
        page.set_viewport_size({"width": 1280, "height": 900})
        page.emulate_media(media="print")
        assert page.evaluate(CUT, ["article pre", 1000]) == []
        assert not page.locator(".bd-sidebar-primary, [id^=player-] input").first.is_visible()
        page.emulate_media(media="screen")
        page.evaluate(THIN)
        assert faults(page, "color-contrast") == {}
        page.evaluate("document.documentElement.dataset.theme = 'light'")
        assert faults(page) == {}
        assert complaints == []
        assert asked == []
        context.close()


class TestSearch:
    pytestmark = NEEDS_CHROMIUM

    def test_it_works_from_disk(self, site, browser):
        page = browser.new_page()
        page.set_default_timeout(PATIENCE)
        complaints = []
        page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
        page.goto((site / "search.html").as_uri() + "?q=posterior")
        page.wait_for_selector("#search-results li a")
        found = page.locator("#search-results li a").first
        found.click()
        page.wait_for_url(lambda url: "search.html" not in url)
        assert "posterior" in page.locator("article").inner_text().lower()
        assert complaints == []
        page.close()
