"""Sliders over pictures, for JupyterLab. The only file that imports ipywidgets.

Frames are made once, as bytes; moving the handle looks one up. Nothing is plotted again.
"""

from collections.abc import Sequence
from typing import Any

import ipywidgets
import numpy as np

from diffusion_lib.player import enlarge, player_html, png


class FrameSlider(ipywidgets.VBox):
    """A slider over frames, with its value read out as text, and a face that needs no kernel.

    ``frames`` are display bytes, (N, H, W) or (N, H, W, 3) (see ``viz.to_gray``); ``texts`` has one entry
    for each. ``value`` is the frame shown, 0 ... N-1.
    """

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
        self.frames, self.texts, self.alt, self.label, self.scale, self.start = (
            frames,
            list(texts),
            alt,
            label,
            scale,
            start,
        )
        self.slider = ipywidgets.IntSlider(
            value=start, max=len(frames) - 1, description=label, readout=False, layout={"width": "360px"},
            style={"description_width": "initial"},
        )  # fmt: skip
        self.text = ipywidgets.Label()
        width = f"{frames.shape[2] * scale}px"
        self.picture = ipywidgets.Image(format="png", layout={"width": width, "max_width": "100%"})
        self.slider.observe(self._show, "value")
        self._show()
        super().__init__([ipywidgets.HBox([self.slider, self.text]), self.picture])

    def _show(self, _: Any = None) -> None:
        i = self.slider.value
        self.text.value = self.texts[i]
        self.picture.value = png(enlarge(self.frames[i], self.scale))
        # ipywidgets.Image has no alt trait; the tooltip becomes its title.
        self.picture.tooltip = f"{self.alt} {self.texts[i]}"

    @property
    def value(self) -> int:
        """The frame shown."""
        return self.slider.value

    @value.setter
    def value(self, frame: int) -> None:
        self.slider.value = frame

    def html(self) -> str:
        """The same slider as HTML that needs no kernel."""
        return player_html(self.frames, self.texts, self.alt, label=self.label, scale=self.scale, start=self.start)

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        bundle = dict(super()._repr_mimebundle_(**options))
        return bundle | {"text/html": self.html(), "text/plain": f"Slider: {self.alt}"}
