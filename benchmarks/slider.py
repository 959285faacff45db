"""How long a slider takes to answer, in a real browser with a real kernel: python benchmarks/slider.py

Opens a notebook with the series' largest film in JupyterLab and moves the handle 1,000 times.
Measured for each move: from the moved handle to the painted frame (browser), and the kernel's own time to take the new
value. Also the page's memory before and after. Writes benchmarks/slider.md. Needs Chromium.
"""

import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path

import nbformat
import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
MOVES = 1000
SETUP = """
import torch
from diffusion_lib import viz
from diffusion_lib.widgets import FrameSlider
frames = viz.to_gray(torch.randn(1000, 1, 28, 28) / 2)
slider = FrameSlider(frames, [f"t = {i}" for i in range(1000)], "Noise, for timing.", label="t")
slider
"""
# One move: set the handle, wait until the browser has painted the frame that the handler drew.
MOVE = """async ([moves]) => {
  const input = document.querySelector(".jp-OutputArea-output input[type=range]"), times = [];
  for (let i = 0; i < moves; i++) {
    const start = performance.now();
    input.value = (+input.value + 1) % 1000;
    input.dispatchEvent(new Event("input"));
    await new Promise(requestAnimationFrame);
    await new Promise(done => setTimeout(done, 0));
    times.push(performance.now() - start);
  }
  return times;
}"""
HEAP = "() => { window.gc && window.gc(); return performance.memory.usedJSHeapSize / 2 ** 20; }"


def in_kernel() -> list[float]:
    """Milliseconds that the kernel needs to take each of 1,000 values."""
    from diffusion_lib.widgets import FrameSlider

    slider = FrameSlider(np.zeros((1000, 28, 28), np.uint8), [f"t = {i}" for i in range(1000)], "Blank, for timing.")
    times = []
    for i in range(MOVES):
        start = time.perf_counter()
        slider.set_state({"value": (i + 1) % 1000})
        _ = slider.text
        times.append((time.perf_counter() - start) * 1000)
    return times


def in_browser(tmp: Path) -> tuple[list[float], float, float]:
    """Milliseconds of each move, and the page's heap in MiB before and after."""
    import lab_server as lab
    from playwright.sync_api import sync_playwright

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SETUP)])
    book.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    flags = [*lab.FLAGS, "--enable-precise-memory-info", "--js-flags=--expose-gc"]
    with lab.serve(tmp, {"slider.ipynb": book}) as (address, token), sync_playwright() as playwright:
        page = playwright.chromium.launch(executable_path=lab.CHROMIUM, args=flags).new_page()
        page.goto(f"{address}/lab/workspaces/bench/tree/slider.ipynb?token={token}")
        page.wait_for_function("() => window.jupyterapp !== undefined", timeout=60_000)
        page.wait_for_function(lab.READY, timeout=90_000)
        page.evaluate(lab.RUN_ALL)
        page.wait_for_selector(".jp-OutputArea-output input[type=range]", timeout=60_000)
        page.evaluate(MOVE, [50])
        before = page.evaluate(HEAP)
        times = page.evaluate(MOVE, [MOVES])
        page.wait_for_timeout(2000)
        return times, before, page.evaluate(HEAP)


def row(name: str, times: list[float], target: str) -> str:
    ordered = sorted(times)
    p95 = ordered[int(0.95 * len(ordered))]
    return f"| {name} | {statistics.median(times):.2f} ms | {p95:.2f} ms | {ordered[-1]:.2f} ms | {target} |"


def main() -> None:
    kernel = in_kernel()
    with tempfile.TemporaryDirectory() as tmp:
        browser, before, after = in_browser(Path(tmp))
    lines = [
        "# How fast a slider answers",
        "",
        f"`python benchmarks/slider.py`: {MOVES:,} moves over a film of 1,000 frames of 28 × 28 in JupyterLab and",
        f"headless Chromium, on an {platform.machine()} CPU with {torch.get_num_threads()} threads.",
        "",
        "| | median | 95th percentile | slowest | target, 95th percentile |",
        "|---|---|---|---|---|",
        row("kernel takes the value", kernel, "50 ms"),
        row("handle to painted frame", browser, "120 ms"),
        "",
        f"Script memory of the page: {before:.1f} MiB before the {MOVES:,} moves, {after:.1f} MiB after.",
        "",
    ]
    (ROOT / "benchmarks" / "slider.md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
