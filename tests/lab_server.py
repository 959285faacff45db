"""A JupyterLab server for one test or benchmark, and the questions that are asked of its page."""

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest

TESTS = Path(__file__).parent
LAB = re.findall(r"^LAB := (.*)$", (TESTS.parent / "Makefile").read_text(), re.MULTILINE)[0].split()
# JupyterLab whose kernels start with PyTorch already imported, as those of the tests do.
WITH_WARM_KERNELS = f"""
import sys
sys.path.insert(0, {str(TESTS)!r})
import warm
from jupyter_client.provisioning import local_provisioner
from jupyterlab.labapp import main
local_provisioner.launch_kernel = warm.kernel
main()
"""
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
REQUIRED = bool(os.environ.get("DIFFUSION_REQUIRE_BROWSER"))
NEEDS_CHROMIUM = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM and not REQUIRED, reason="needs Chromium: install your system's chromium package"),
]
PATIENCE = 600_000  # ms a page is waited for: on a busy machine all takes longer, and only what hangs takes this long
SCREENSHOTS = os.environ.get("DIFFUSION_SCREENSHOTS")  # a folder to keep pictures in
PANEL = "[...window.jupyterapp.shell.widgets('main')].find(w => w.context && w.sessionContext)"
READY = """() => {
  const panel = PANEL;
  if (!panel || !panel.context.isReady || !panel.sessionContext.isReady) return false;
  const kernel = panel.sessionContext.session && panel.sessionContext.session.kernel;
  return !!kernel && kernel.status === "idle";
}"""
RUN_ALL = """() => {
  window.jupyterapp.shell.activateById(PANEL.id);
  window.jupyterapp.commands.execute("notebook:run-all-cells").then(() => { window.ranAll = true; });
}"""
FINISHED = """() => {
  const panel = PANEL; if (!panel) return false;
  const cells = panel.content.model.cells;
  const counts = [...cells].filter(c => c.type === "code").map(c => c.executionCount);
  return counts.length > 0 && counts.every(n => n > 0) && window.ranAll === true;
}"""
ERRORS = """() => [...PANEL.content.model.cells].flatMap(c => c.type === "code" ? c.outputs.toJSON() : [])
  .filter(o => o.output_type === "error").length"""
KERNEL_SAYS = """async ([expression, expected]) => {
  const kernel = PANEL.sessionContext.session.kernel;
  const reply = await kernel.requestExecute({ code: "", user_expressions: { it: expression } }).done;
  return reply.content.user_expressions.it.data["text/plain"] === expected;
}"""
SCRIPTS = (READY, RUN_ALL, FINISHED, ERRORS, KERNEL_SAYS)
READY, RUN_ALL, FINISHED, ERRORS, KERNEL_SAYS = (script.replace("PANEL", PANEL) for script in SCRIPTS)


@contextmanager
def serve(
    home: Path, books: dict[str, nbformat.NotebookNode], program: tuple[str, str] = ("-m", "jupyterlab")
) -> Iterator[tuple[str, str]]:
    """JupyterLab over ``books``, with settings of its own under ``home``: (address, token)."""
    (home / "notebooks").mkdir()
    for name, book in books.items():
        nbformat.write(book, home / "notebooks" / name)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(8)
    folders = {f"JUPYTER_{n}_DIR": str(home / n.lower()) for n in ("CONFIG", "DATA", "RUNTIME")} | {
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
    }
    command = [
        sys.executable, *program, "--no-browser", "--allow-root", "--expose-app-in-browser",
        "--JupyterNotebookApp.expose_app_in_browser=True",
        f"--ServerApp.port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={home / 'notebooks'}", *LAB,
    ]  # fmt: skip
    with (home / "log").open("w") as log:
        server = subprocess.Popen(command, env=os.environ | folders, stdout=log, stderr=log, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_for(f"{address}/api?token={token}", server, home / "log")
        yield address, token
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)


def wait_for(url: str, server: subprocess.Popen, log: Path) -> None:
    """Return once ``url`` answers; raise with the log when the server has ended."""
    while server.poll() is None:
        try:
            urllib.request.urlopen(url, timeout=2).read()
            return
        except OSError:
            time.sleep(0.5)
    raise RuntimeError(f"JupyterLab did not start:\n{log.read_text()}")


def keep(page: Any, name: str) -> None:
    """A picture of the page, where a folder for pictures was named."""
    if SCREENSHOTS:
        Path(SCREENSHOTS).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=f"{SCREENSHOTS}/{name}.png")


def move_every_slider(page: Any, name: str) -> int:
    """Move each slider of a saved page to both ends by keyboard, and choose each of its maps; all must follow."""
    boxes = page.locator("[id^=player-]")
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
        maps = set()
        for button in (choices := boxes.nth(i).locator("button[aria-pressed]")).all():
            button.focus()
            page.keyboard.press("Enter")
            assert canvas.get_attribute("aria-label").endswith(f" · {button.inner_text()}")
            maps.add(canvas.evaluate("canvas => canvas.toDataURL()"))
        assert len(maps) == choices.count()
        keep(page, f"{name}_slider_{i}")
    return boxes.count()
