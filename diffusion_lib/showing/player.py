"""A slider that needs no kernel: frames and a few lines of script in one piece of HTML.

It moves in a live notebook, in one opened again, in an exported page and with the network off, and plays when
asked to. Where scripts do not run, its sheet of frames stays as a plain picture.
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

from diffusion_lib.pixels import beside

SCRIPT = Path(__file__).with_name("player.js").read_text()
STATIC_FRAMES = 41  # frames kept in a page: enough for an even motion, small enough for a notebook
WIDEST, TALLEST, MOST = 720, 600, 12  # CSS pixels that a picture fills by itself, and how often it is enlarged at most
SHEET = 960  # CSS pixels of a sheet's width at most, also where a front end takes its style away, as GitHub does
LEAST = 84  # CSS pixels of a frame's width, eight in a row, where no script runs and the sheet stands
GAP = 4  # pixels between a picture and its maps in a sheet

Curve = tuple[Any, Any, str]  # x and y, one number for each frame (sequences, arrays, tensors), and what y is
Maps = Sequence[tuple[str, np.ndarray]]  # the name of each, and its frames, as many and as large as the film's


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


def fitting(height: int, width: int) -> int:
    """How many times a picture of so many pixels can be enlarged and still fit a page's column and a screen."""
    return max(1, min(MOST, WIDEST // width, TALLEST // height))


def film(
    frames: np.ndarray,
    texts: Sequence[str],
    alt: str,
    *,
    label: str,
    scale: int | None = None,
    curve: Curve | None = None,
    maps: Maps = (),
) -> dict[str, Any]:
    """What player.js needs to show display bytes (N, H, W) or (N, H, W, 3), each enlarged ``scale`` times.

    Without ``scale``, as large as fits. ``curve`` is drawn below the picture, with a dot that moves along. In the sheet
    ``maps`` stand beside their picture; the one that is chosen is laid over it, and darkens it as a filter does.
    """
    height, width = frames.shape[1:3]
    whole = with_maps(frames, maps) if maps else frames
    columns = max(1, SHEET // whole.shape[2]) if maps else WIDEST // LEAST
    columns = min(len(frames), columns)  # neighbours in a row also compress well: they are alike
    source = base64.b64encode(png(sheet(whole, columns))).decode()
    places = {"columns": columns, "width": width, "height": height, "scale": scale or fitting(height, width)}
    told = {"sheet": f"data:image/png;base64,{source}", "texts": list(texts), "alt": alt, "label": label, **places}
    told |= {"maps": {"names": [name for name, _ in maps], "gap": GAP}} if maps else {}
    return told | ({"curve": points(curve, len(frames))} if curve else {})


def with_maps(frames: np.ndarray, maps: Maps) -> np.ndarray:
    """Each frame with its maps at its right, and white below and behind them, as the sheet shows them."""
    for name, shown in maps:
        if shown.shape[:3] != frames.shape[:3]:
            wanted = "{} frames of {} x {} pixels".format(*frames.shape[:3])
            raise ValueError(f"a map needs {wanted} as the film has, but {name!r} has the shape {shown.shape}.")
    joined = beside(frames, *(shown for _, shown in maps), gap=GAP)
    margins = [(0, 0), (0, GAP), (0, GAP), (0, 0)][: joined.ndim]
    return np.pad(joined, margins, constant_values=255)


def magnified(width: int) -> int:
    """How many times a sheet of frames so wide is enlarged where it stands alone."""
    return math.ceil(LEAST / width)


def points(curve: Curve, count: int) -> dict[str, Any]:
    """A curve as player.js draws it, to four digits."""
    x, y = (np.asarray(values, dtype=float).ravel() for values in curve[:2])
    if len(x) != count or len(y) != count:
        raise ValueError(f"a curve needs one x and one y for each of {count} frames, but has {len(x)} and {len(y)}.")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("a curve needs finite numbers, but has NaN or infinity: leave those frames out.")
    return {"x": [float(f"{v:.4g}") for v in x], "y": [float(f"{v:.4g}") for v in y], "label": curve[2]}


def keep_even(count: int, most: int = STATIC_FRAMES) -> list[int]:
    """At most ``most`` of 0 ... count - 1, evenly spaced, with both ends."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def player_html(
    frames: np.ndarray,
    texts: Sequence[str],
    alt: str,
    *,
    label: str,
    scale: int | None = None,
    start: int = 0,
    curve: Curve | None = None,
    maps: Maps = (),
) -> str:
    """Some of the frames under a range input, as HTML. ``start`` is shown first, with the first of ``maps``."""
    keep = keep_even(len(frames))
    first = int(np.abs(np.array(keep) - start).argmin())
    kept = curve and (np.asarray(curve[0])[keep], np.asarray(curve[1])[keep], curve[2])
    few = [(name, shown[keep]) for name, shown in maps]
    data = film(frames[keep], [texts[i] for i in keep], alt, label=label, scale=scale, curve=kept, maps=few)
    wide = (1 + len(few)) * (data["width"] + GAP) if few else data["width"]
    picture, width = data.pop("sheet"), min(SHEET, wide * data["columns"] * magnified(wide))
    told = f"All frames, row by row, from {data['texts'][0]} to {data['texts'][-1]}."
    told += f" Beside each its maps: {', '.join(name for name, _ in few)}." if few else ""
    size = f'width="{width}" style="max-width:100%;height:auto;image-rendering:pixelated"'
    name = "player-" + hashlib.sha1((picture + alt).encode()).hexdigest()[:10]
    payload = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
    return f"""<div id="{name}"><div><img src="{picture}" {size} alt="{escape(alt)} {escape(told)}">
<p>{escape(told)}</p></div>
<script>{{
{SCRIPT}
for (const box of document.querySelectorAll("#{name}:not([data-on])")) {{
  const image = box.querySelector("img"), film = {payload};
  box.dataset.on = image.parentElement.hidden = true;
  mountPlayer(box, {{ ...film, sheet: image.src }}, {first}, 0, () => {{}});
}}}}</script></div>"""
