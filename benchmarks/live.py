"""How fast the live page is, in a real browser: python benchmarks/live.py

Opens the page's own scripts from disk with no network and without the site's theme. Measured: from opening the file to
controls that can be used and to a network that is ready; one forward pass with WebAssembly and without; a digit in 20
guided steps, from the press of the button to the last frame, one hundred times; memory before those, after them, and
after three hundred more; pages of four digits from a prompt; a training on points. Writes benchmarks/live.md. Needs
Chromium.
"""

import gzip
import platform
import re
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "scripts")]
STARTS, FORWARDS, DIGITS, PAGES = 7, 60, 100, 30
READY = "() => performance.getEntriesByName('live-ready').length > 0"
START = """() => [performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd,
  performance.getEntriesByName('live-ready')[0].startTime]"""
FORWARD = """([vectors, count, description]) => {
  const net = new Network(description, { vectors }), x = new Float32Array(784).fill(0.5), times = [];
  for (let i = 0; i < count + 5; i++) {
    const start = performance.now();
    net.forward(x, 10 * i, i % 10);
    times.push(performance.now() - start);
  }
  return times.slice(5);
}"""
# Presses a button and waits for the words that tell the end.
PRESS = """([part, text, end]) => new Promise(done => {
  const box = document.getElementById(part), status = box.querySelector("[role=status]");
  const start = performance.now();
  const watch = new MutationObserver(() => {
    if (!status.textContent.startsWith(end)) return;
    watch.disconnect();
    done(performance.now() - start);
  });
  watch.observe(status, { childList: true, characterData: true, subtree: true });
  [...box.querySelectorAll("button")].find(button => button.textContent === text).click();
})"""
EARLIER = """
Firefox is no part of this command. By hand, on 2026-11-25 and such a machine, headless Firefox ESR 153.7.0 opened the
site's page from disk with every address but its own machine's blocked: it had WebAssembly's vectors, grew a digit with
each of the three networks (20 guided steps in 0.7 s, 8 straight pieces in 0.2 s, one look), brought a drawing back, ran
a wrong sampler beside the right one, and trained on points, without an error in its console. On 2026-12-01 Firefox ESR
153.8.0 did so too; it drew pages from prompts (20 guided steps, each decoded, in 0.7 s), told an
unknown word, and ran a wrong guidance beside the right one at a louder setting.

The runtime that was not chosen is onnxruntime-web. What is known of it comes from an earlier measurement on such a
machine and was not repeated here: it brings 14 MB, starts in 2 to 3 s, takes 21 ms for one forward pass, and loads its
parts by address, which fails from a file that is opened from disk; its threads want headers that static hosts do not
set. Naive loops took 53 ms for one forward pass there.
"""


def write_page(folder: Path) -> tuple[Path, dict[str, Any], str]:
    """The page without the theme: its file, what it knows, and its scripts."""
    import live_page

    known = live_page.known()
    scripts = live_page.scripts(known)
    text = (ROOT / "site" / "live.md").read_text(encoding="utf-8").replace('<div id="live-scripts"></div>', scripts)
    path = folder / "live.html"
    path.write_text(f'<!doctype html><meta charset="utf-8"><title>live</title>{text}', encoding="utf-8")
    return path, known, scripts


def resident() -> float:
    """MiB that the browser's page processes hold."""
    family = psutil.Process().children(recursive=True)
    return sum(p.memory_info().rss for p in family if "--type=renderer" in p.cmdline()) / 2**20


def starts(browser: Any, path: Path) -> list[list[float]]:
    """[usable, ready] in ms for each fresh opening."""
    found = []
    for _ in range(STARTS):
        page = browser.new_context(offline=True).new_page()
        page.goto(path.as_uri())
        page.wait_for_function(READY)
        found.append(page.evaluate(START))
        page.context.close()
    return found


def measure(browser: Any, path: Path, description: dict[str, Any]) -> dict[str, Any]:
    """Every time in ms, and memory in MiB."""
    found: dict[str, Any] = {"start": starts(browser, path)}
    page = browser.new_context(offline=True).new_page()
    page.goto(path.as_uri())
    page.wait_for_function(READY)
    thread = page.workers[0]
    found["vectors"] = thread.evaluate(FORWARD, [True, FORWARDS, description])
    found["plain"] = thread.evaluate(FORWARD, [False, FORWARDS // 4, description])
    grow = ["live-grow", "Next seed", "Grown"]
    for _ in range(5):
        page.evaluate(PRESS, grow)
    found["memory"], found["digit"] = [(0, resident())], []
    for _ in range(4):
        found["digit"] += [page.evaluate(PRESS, grow) for _ in range(DIGITS)]
        found["memory"].append((len(found["digit"]), resident()))
    found["kept"] = kept(page)
    del found["digit"][DIGITS:]
    pages = ["live-words", "Next seed", "Drawn"]
    found["first page"] = page.evaluate(PRESS, pages)  # reads the weights, too
    found["page"] = [page.evaluate(PRESS, pages) for _ in range(PAGES)]
    found["train"] = page.evaluate(PRESS, ["live-train", "Train on these points", "Trained"])
    found["trained"] = page.locator("#live-train [role=status]").inner_text()
    page.context.close()
    return found


def kept(page: Any) -> float:
    """MiB that the page's process holds once all garbage is collected, in the page and in its thread."""
    for place in (page, page.workers[0]):
        place.evaluate("() => gc()")
    page.wait_for_timeout(1000)
    return resident()


def ends(times: list[float], unit: float = 1.0) -> str:
    """Median, 95th percentile and slowest, as cells of a table."""
    ordered = sorted(times)
    chosen = (statistics.median(ordered), ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))], ordered[-1])
    return " | ".join(f"{value / unit:.2f} s" if unit > 1 else f"{value:.1f} ms" for value in chosen)


def mebibytes(text: str) -> str:
    """Size of a text, plain and compressed, as cells of a table."""
    return " | ".join(f"{len(data) / 2**20:.2f} MiB" for data in (text.encode(), gzip.compress(text.encode())))


def report(found: dict[str, Any], scripts: str, version: str) -> str:
    """benchmarks/live.md."""
    usable, ready = zip(*found["start"], strict=True)
    memory = "; ".join(f"{size:.0f} after {count} digits" for count, size in found["memory"])
    weights = [len(text) / 2**20 for text in re.findall(r'"weights": "([^"]*)"', scripts)]
    prompts = re.sub(r'<script[^>]*id="live-network-words">.*?</script>', "", scripts)
    return f"""# How fast the live page is

`python benchmarks/live.py`: headless Chromium {version} on an {platform.machine()} CPU with
{psutil.cpu_count()} threads, the page opened from disk with the network off. Load average of the machine at the end:
{psutil.getloadavg()[0]:.1f}; above {psutil.cpu_count()}, other work slowed these times down.

| | median | 95th percentile | slowest | target, 95th percentile |
|---|---|---|---|---|
| open the file to usable controls ({STARTS} times) | {ends(list(usable))} | 1000 ms |
| open the file to a network that is ready | {ends(list(ready))} | |
| one forward pass, WebAssembly ({FORWARDS} times) | {ends(found["vectors"])} | |
| one forward pass, plain JavaScript ({FORWARDS // 4} times) | {ends(found["plain"])} | |
| a digit, 20 guided steps, each shown ({DIGITS} times) | {ends(found["digit"], 1000)} | 1.5 s |
| a page of four digits from a prompt, 20 guided steps, each decoded and shown ({PAGES} times) | \
{ends(found["page"], 1000)} | |

Memory of the page's process, in MiB: {memory}; {found["kept"]:.0f} once the garbage was collected.

Training on a ring of 40 points ends after ten seconds or 3,000 steps. {found["trained"]}

The first page took {found["first page"] / 1000:.2f} s: its weights are read and unpacked when it is asked for.

| size of the scripts, the networks and the tables | text | compressed |
|---|---|---|
| without the network of prompts and its decoder | {mebibytes(prompts)} |
| with them | {mebibytes(scripts)} |

The weights of {len(weights)} networks are {sum(weights):.2f} MiB of it. The page reads those of a network when it is
chosen; at the start it reads only the first one's.
{EARLIER}"""


def main() -> None:
    from lab_server import CHROMIUM, FLAGS
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path, known, scripts = write_page(Path(folder))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[*FLAGS, "--js-flags=--expose-gc"])
        text = report(measure(browser, path, known["model"]), scripts, browser.version.split(".")[0])
        browser.close()
    Path(__file__).with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
