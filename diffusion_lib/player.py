"""A slider that needs no kernel: frames and a few lines of script in one piece of HTML.

It moves in a live notebook, in one opened again, in an exported page and with the network off. Where scripts
do not run, its strip of frames stays as a plain picture.
"""

import base64
import hashlib
import io
import json
from collections.abc import Sequence
from html import escape

import numpy as np

STATIC_FRAMES = 41  # frames kept in a page: enough for an even motion, small enough for a notebook

SCRIPT = """
(() => { for (const box of document.querySelectorAll("#ID:not([data-on])")) {
  box.dataset.on = 1;
  const d = JSON.parse(box.querySelector("script[type='application/json']").textContent);
  const film = box.querySelector(".film"), text = box.querySelector("output"), input = box.querySelector("input");
  const show = () => {
    const i = +input.value;
    film.style.backgroundPosition = `0 ${-i * d.height}px`;
    film.setAttribute("aria-label", d.alt + " " + d.texts[i]);
    input.setAttribute("aria-valuetext", d.texts[i]);
    text.textContent = d.texts[i];
  };
  film.style.backgroundImage = `url(${box.querySelector("img").src})`;
  input.addEventListener("input", show);
  input.addEventListener("keydown", e => e.stopPropagation());
  box.querySelector("img").hidden = true; box.querySelector(".live").hidden = false;
  show();
}})();
"""


def png(image: np.ndarray) -> bytes:
    """Display bytes (H, W) or (H, W, 3) as PNG."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="png")
    return buffer.getvalue()


def enlarge(image: np.ndarray, scale: int) -> np.ndarray:
    """Each pixel repeated ``scale`` times in both directions."""
    return image.repeat(scale, axis=0).repeat(scale, axis=1)


def keep_even(count: int, most: int = STATIC_FRAMES) -> list[int]:
    """At most ``most`` of 0 ... count - 1, evenly spaced, with both ends."""
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def player_html(frames: np.ndarray, texts: Sequence[str], alt: str, *, label: str, scale: int, start: int) -> str:
    """Frames (N, H, W[, 3]) under a range input. ``texts`` are read out; ``start`` is shown first."""
    keep = keep_even(len(frames))
    height, width = frames.shape[1] * scale, frames.shape[2] * scale
    first = int(np.abs(np.array(keep) - start).argmin())
    data = {"alt": alt, "texts": [texts[i] for i in keep], "height": height}
    sheet = base64.b64encode(png(np.concatenate(list(frames[keep])))).decode()
    name = "player-" + hashlib.sha1(sheet.encode()).hexdigest()[:10]
    payload = json.dumps(data).replace("<", "\\u003c")
    return f"""<div id="{name}" style="font-family:sans-serif;font-size:14px;margin:8px 0">
<img src="data:image/png;base64,{sheet}" alt="{escape(alt)} All frames, from first to last, top to bottom."
 style="width:{frames.shape[2]}px">
<div class="live" hidden>
<label style="display:flex;gap:12px;align-items:center;flex-wrap:wrap">{escape(label)}
<input type="range" min="0" max="{len(keep) - 1}" value="{first}" style="width:min(320px,70vw)">
<output style="font-variant-numeric:tabular-nums"></output></label>
<div class="film" role="img" style="width:{width}px;height:{height}px;max-width:100%;background-repeat:no-repeat;
background-size:{width}px {height * len(keep)}px;image-rendering:pixelated"></div></div>
<script type="application/json">{payload}</script>
<script>{SCRIPT.replace("ID", name)}</script></div>"""
