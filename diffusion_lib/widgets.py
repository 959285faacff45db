"""Sliders over pictures, for JupyterLab. The only file that imports a widget library.

Frames are made once, as bytes, and drawn by the browser: moving the handle plots nothing and asks no kernel.
The kernel still knows the value, so code can read it, set it and watch it.
"""

from collections.abc import Sequence
from typing import Any

import anywidget
import numpy as np
import traitlets

from diffusion_lib.player import SCRIPT, film, player_html


class FrameSlider(anywidget.AnyWidget):
    """A slider over frames, with its value read out as text, and a face that needs no kernel.

    ``frames`` are display bytes, (N, H, W) or (N, H, W, 3) (see ``viz.to_gray``); ``texts`` has one entry for
    each. ``value`` is the frame shown, 0 ... N-1.
    """

    _esm = (
        SCRIPT
        + """
export default { render({ model, el }) {
  const move = mountPlayer(el, model.get("film"), model.get("value"), value => {
    model.set("value", value); model.save_changes();
  });
  model.on("change:value", () => move(model.get("value")));
} };
"""
    )
    film = traitlets.Dict().tag(sync=True)
    value = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        frames: np.ndarray,
        texts: Sequence[str],
        alt: str,
        *,
        label: str = "step",
        scale: int = 6,
        start: int = 0,
    ) -> None:
        if len(frames) != len(texts) or len(frames) == 0:
            raise ValueError(f"one text for each frame is needed, but there are {len(frames)} and {len(texts)}.")
        self.texts, self.alt = list(texts), alt
        self._html = player_html(frames, texts, alt, label=label, scale=scale, start=start)
        super().__init__(film=film(frames, texts, alt, label=label, scale=scale), value=start)

    @traitlets.validate("value")
    def _in_range(self, proposal: Any) -> int:
        if not 0 <= proposal["value"] < len(self.texts):
            raise ValueError(f"value must lie in 0 ... {len(self.texts) - 1}, but is {proposal['value']}.")
        return proposal["value"]

    @property
    def text(self) -> str:
        """What is read out for the frame shown."""
        return self.texts[self.value]

    def _repr_mimebundle_(self, **options: Any) -> Any:
        shown = super()._repr_mimebundle_(**options)
        data, metadata = shown if isinstance(shown, tuple) else (shown, {})
        return {**(data or {}), "text/html": self._html, "text/plain": f"Slider: {self.alt}"}, metadata
