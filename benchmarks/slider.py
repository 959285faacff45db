"""How long a slider and the drawing pad take to answer, in a real browser: python benchmarks/slider.py

Opens a notebook with the series' largest film in JupyterLab and moves the handle 1,000 times.
Measured for each move: from the moved handle to the painted frame (browser), and the kernel's own time to take the new
value. Also the page's memory before and after. For the pad: from a stroke to its painted ink, from a moved level to the
newly noised drawing (through the kernel), and a whole run. Writes benchmarks/slider.md. Needs Chromium.
"""

import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import torch

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
MOVES = 1000
SETUP = """
import torch
from diffusion_lib.showing import viz
from diffusion_lib.showing.widgets import FrameSlider
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
PAD = """
from diffusion_lib.training.checkpoints import load_pretrained
from diffusion_lib.data import load_stand_in
from diffusion_lib.showing.widgets import SketchPad
pad = SketchPad(load_pretrained(), load_stand_in("test"))
pad
"""
STROKES = """async ([moves]) => {
  const pad = document.querySelector(".sketch-pad"), box = pad.getBoundingClientRect(), times = [];
  const send = (type, x, y) => pad.dispatchEvent(new PointerEvent(type,
    { pointerId: 1, clientX: box.left + x, clientY: box.top + y }));
  pad.setPointerCapture = () => {};
  send("pointerdown", 20, 20);
  for (let i = 0; i < moves; i++) {
    const start = performance.now();
    send("pointermove", 20 + (i * 7) % 100, 20 + (i * 3) % 100);
    await new Promise(requestAnimationFrame);
    await new Promise(done => setTimeout(done, 0));
    times.push(performance.now() - start);
  }
  send("pointerup", 20, 20);
  return times;
}"""
LEVELS = """async ([moves]) => {
  const input = document.querySelector(".sketch input[type=range]"), times = [];
  const noised = document.querySelectorAll(".sketch canvas")[2];
  for (let i = 0; i < moves; i++) {
    const start = performance.now(), before = noised.toDataURL();
    input.value = 50 + (i * 37) % 900;
    input.dispatchEvent(new Event("input"));
    while (noised.toDataURL() === before) await new Promise(requestAnimationFrame);
    times.push(performance.now() - start);
  }
  return times;
}"""
RUNS = """async ([runs]) => {
  const button = [...document.querySelectorAll(".sketch button")].at(-1), times = [];
  const status = document.querySelector(".sketch-status");
  for (let i = 0; i < runs; i++) {
    const start = performance.now();
    button.click();
    while (!status.textContent.startsWith("From")) await new Promise(requestAnimationFrame);
    while (!status.textContent.startsWith("Brought")) await new Promise(requestAnimationFrame);
    times.push(performance.now() - start);
  }
  return times;
}"""
HEAP = "() => { window.gc && window.gc(); return performance.memory.usedJSHeapSize / 2 ** 20; }"


def in_kernel() -> list[float]:
    """Milliseconds that the kernel needs to take each of 1,000 values."""
    from diffusion_lib.showing.widgets import FrameSlider

    slider = FrameSlider(np.zeros((1000, 28, 28), np.uint8), [f"t = {i}" for i in range(1000)], "Blank, for timing.")
    times = []
    for i in range(MOVES):
        start = time.perf_counter()
        slider.set_state({"value": (i + 1) % 1000})
        _ = slider.text
        times.append((time.perf_counter() - start) * 1000)
    return times


def book(source: str) -> nbformat.NotebookNode:
    """A notebook of one cell."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    made.metadata["kernelspec"] = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return made


def in_browser(tmp: Path) -> tuple[dict[str, list[float]], float, float]:
    """Milliseconds of each answer, and the slider page's heap in MiB before and after."""
    import lab_server as lab
    from playwright.sync_api import sync_playwright

    flags = [*lab.FLAGS, "--enable-precise-memory-info", "--js-flags=--expose-gc"]
    books = {"slider.ipynb": book(SETUP), "pad.ipynb": book(PAD)}
    with lab.serve(tmp, books) as (address, token), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=lab.CHROMIUM, args=flags)

        def opened(name: str) -> Any:
            page = browser.new_page()
            page.goto(f"{address}/lab/workspaces/{name[:3]}/tree/{name}?token={token}")
            page.wait_for_function("() => window.jupyterapp !== undefined", timeout=60_000)
            page.wait_for_function(lab.READY, timeout=90_000)
            page.evaluate(lab.RUN_ALL)
            page.wait_for_selector(".jp-OutputArea-output input[type=range]", timeout=60_000)
            return page

        page = opened("slider.ipynb")
        page.evaluate(MOVE, [50])
        before = page.evaluate(HEAP)
        times = {"handle": page.evaluate(MOVE, [MOVES])}
        page.wait_for_timeout(2000)
        after = page.evaluate(HEAP)
        page.close()
        page = opened("pad.ipynb")
        for name, script, count in (("stroke", STROKES, 200), ("level", LEVELS, 100), ("run", RUNS, 10)):
            page.evaluate(script, [2])
            times[name] = page.evaluate(script, [count])
        return times, before, after


def row(name: str, times: list[float], target: str) -> str:
    ordered = sorted(times)
    p95 = ordered[int(0.95 * len(ordered))]
    return f"| {name} | {statistics.median(times):.2f} ms | {p95:.2f} ms | {ordered[-1]:.2f} ms | {target} |"


def main() -> None:
    kernel = in_kernel()
    with tempfile.TemporaryDirectory() as tmp:
        browser, before, after = in_browser(Path(tmp))
    lines = [
        "# How fast a slider and the drawing pad answer",
        "",
        f"`python benchmarks/slider.py`: {MOVES:,} moves over a film of 1,000 frames of 28 × 28 in JupyterLab and",
        f"headless Chromium, on an {platform.machine()} CPU with {torch.get_num_threads()} threads.",
        "",
        "| | median | 95th percentile | slowest | target, 95th percentile |",
        "|---|---|---|---|---|",
        row("kernel takes the value", kernel, "50 ms"),
        row("handle to painted frame", browser["handle"], "120 ms"),
        row("pad: stroke to painted ink", browser["stroke"], "50 ms"),
        row("pad: level to noised drawing, through the kernel", browser["level"], "120 ms"),
        row("pad: a run of 50 steps, each of them shown", browser["run"], "3000 ms"),
        "",
        f"Script memory of the page: {before:.1f} MiB before the {MOVES:,} moves, {after:.1f} MiB after.",
        "",
    ]
    (ROOT / "benchmarks" / "slider.md").write_text("\n".join(lines))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
