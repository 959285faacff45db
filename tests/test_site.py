"""The reading site: built by its command, and read in a browser that has no network."""

import re
import subprocess
import sys
import tomllib

import pytest
from conftest import ROOT
from lab_server import NEEDS_CHROMIUM, PATIENCE, keep, move_every_slider

from grader.catalogue.mistakes import MISTAKES

LESSONS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))
PAGES = ["index", "live", "debugging", "glossary", "symbols", *(f"notebooks/{name}" for name in LESSONS)]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site") / "html"
    command = [sys.executable, str(ROOT / "scripts" / "build_site.py"), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr  # a warning stops it too
    return out


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


@pytest.mark.parametrize("page_name", PAGES)
class TestInABrowser:
    pytestmark = NEEDS_CHROMIUM

    def test_it_reads_well_offline_on_a_wide_and_a_narrow_screen(self, site, browser, page_name):
        complaints, asked = [], []
        context = browser.new_context(offline=True, viewport={"width": 1280, "height": 900})
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
        for width in (1280, 390):
            page.set_viewport_size({"width": width, "height": 900})
            page.evaluate("window.scrollTo(0, 0)")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            keep(page, f"site_{width}_{page_name.split('/')[-1]}")
        assert complaints == []
        assert asked == []
        context.close()
