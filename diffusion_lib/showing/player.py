"""A slider that needs no kernel: frames and a few lines of script in one piece of HTML.

It moves in a live notebook, in one opened again, in an exported page and with the network off. Where scripts
do not run, its sheet of frames stays as a plain picture.
"""

import base64
import hashlib
import io
import json
import math
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

SCRIPT = Path(__file__).with_name("player.js").read_text()
STATIC_FRAMES = 41  # frames kept in a page: enough for an even motion, small enough for a notebook


def png(image: np.ndarray) -> bytes:
    """Display bytes (H, W) or (H, W, 3) as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    return buffer.getvalue()


def sheet(frames: np.ndarray, columns: int) -> np.ndarray:
    """Frames (N, H, W[, 3]) as one picture, row by row with ``columns`` in a row; empty places are white."""
    missing = -len(frames) % columns
    padded = np.concatenate([frames, np.full((missing, *frames.shape[1:]), 255, np.uint8)])
    rows = padded.reshape(-1, columns, *frames.shape[1:])
    return np.concatenate([np.concatenate(list(row), axis=1) for row in rows], axis=0)


def film(frames: np.ndarray, texts: Sequence[str], alt: str, *, label: str, scale: int) -> dict[str, Any]:
    """What player.js needs to show display bytes (N, H, W) or (N, H, W, 3), each enlarged ``scale`` times."""
    columns = math.ceil(math.sqrt(len(frames)))
    source = base64.b64encode(png(sheet(frames, columns))).decode()
    height, width = frames.shape[1:3]
    places = {"columns": columns, "width": width, "height": height, "scale": scale}
    return {"sheet": f"data:image/png;base64,{source}", "texts": list(texts), "alt": alt, "label": label, **places}


def keep_even(count: int, most: int = STATIC_FRAMES) -> list[int]:
    """At most ``most`` of 0 ... count - 1, evenly spaced, with both ends."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def player_html(frames: np.ndarray, texts: Sequence[str], alt: str, *, label: str, scale: int, start: int) -> str:
    """Some of the frames under a range input, as HTML. ``start`` is shown first."""
    keep = keep_even(len(frames))
    first = int(np.abs(np.array(keep) - start).argmin())
    data = film(frames[keep], [texts[i] for i in keep], alt, label=label, scale=scale)
    picture = data.pop("sheet")
    name = "player-" + hashlib.sha1((picture + alt).encode()).hexdigest()[:10]
    payload = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    return f"""<div id="{name}"><img src="{picture}" alt="{escape(alt)} All frames, row by row.">
<script>{{
{SCRIPT}
for (const box of document.querySelectorAll("#{name}:not([data-on])")) {{
  const image = box.querySelector("img"), film = {payload};
  box.dataset.on = image.hidden = true;
  mountPlayer(box, {{ ...film, sheet: image.src }}, {first}, () => {{}});
}}}}</script></div>"""
