"""Sliders over pictures, for JupyterLab. The only file that imports a widget library.

Frames are made once, as bytes, and drawn by the browser: moving the handle plots nothing and asks no kernel.
The kernel still knows the value, so code can read it, set it and watch it.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import torch
import traitlets
from torch import Tensor
from torch.nn.functional import interpolate

from diffusion_lib.data import Digits, like_mnist
from diffusion_lib.diffusion import q_sample
from diffusion_lib.pixels import to_display
from diffusion_lib.profiles import DataConfig
from diffusion_lib.samplers import sdedit
from diffusion_lib.shapes import Images
from diffusion_lib.showing.player import SCRIPT, Curve, Maps, film, player_html
from diffusion_lib.training.checkpoints import Pretrained

# What stands where the pad would be; scripts/build_site.py puts a link there.
NO_KERNEL = (
    "A pad to draw a digit on. It needs a running kernel: open this notebook in JupyterLab and run it. "
    'Or draw where none is needed: on the page "The network, live", which "make site" builds.'
)
WISH, KAGGLE, COLAB = "DIFFUSION_PLAIN", "KAGGLE_KERNEL_RUN_TYPE", "google.colab"


def plain() -> bool:
    """Whether a slider had better be HTML alone: in Colab and on Kaggle, and where $DIFFUSION_PLAIN is set.

    Colab shows such widgets by a manager that fetches its parts from elsewhere, and Kaggle's editor runs on another
    machine than the kernel, where anywidget need not be. A kernel cannot ask its front end: it goes by these signs.
    """
    return COLAB in sys.modules or any(os.environ.get(name) for name in (WISH, KAGGLE))


class FrameSlider(anywidget.AnyWidget):
    """A slider over frames, with its value read out as text, and a face that needs no kernel.

    ``frames`` are display bytes, (N, H, W) or (N, H, W, 3) (see ``viz.to_gray``); ``texts`` has one entry for
    each. ``value`` is the frame shown, 0 ... N-1. Each pixel is drawn ``scale`` times as large, by default as
    large as fits a page. ``curve`` (x, y, label), one x and one y for each frame, is drawn below, with a dot on it
    that moves along. ``maps`` (name, frames), white where there is nothing to see, can be laid over the picture: a
    button each says which one, and ``chosen`` is its number.
    """

    _esm = (
        SCRIPT
        + """
export default { render({ model, el }) {
  const state = () => [model.get("value"), model.get("chosen")];
  const move = mountPlayer(el, model.get("film"), ...state(), (value, chosen) => {
    model.set("value", value); model.set("chosen", chosen); model.save_changes();
  });
  for (const name of ["value", "chosen"]) model.on(`change:${name}`, () => move(...state()));
} };
"""
    )
    film = traitlets.Dict().tag(sync=True)
    value = traitlets.Int(0).tag(sync=True)
    chosen = traitlets.Int(0).tag(sync=True)

    def __init__(
        self,
        frames: np.ndarray,
        texts: Sequence[str],
        alt: str,
        *,
        label: str = "step",
        scale: int | None = None,
        start: int = 0,
        curve: Curve | None = None,
        maps: Maps = (),
    ) -> None:
        if len(frames) != len(texts) or len(frames) == 0:
            raise ValueError(f"one text for each frame is needed, but there are {len(frames)} and {len(texts)}.")
        self.texts, self.alt, self.names = list(texts), alt, [name for name, _ in maps]
        how: dict[str, Any] = {"label": label, "scale": scale, "curve": curve, "maps": maps}
        shown = film(frames, texts, alt, **how)
        self._html = player_html(frames, texts, alt, start=start, **how)
        super().__init__(film=shown, value=start)

    @traitlets.validate("value", "chosen")
    def _in_range(self, proposal: Any) -> int:
        name = proposal["trait"].name
        last = len(self.texts if name == "value" else self.names or [""]) - 1
        if not 0 <= proposal["value"] <= last:
            raise ValueError(f"{name} must lie in 0 ... {last}, but is {proposal['value']}.")
        return proposal["value"]

    @property
    def text(self) -> str:
        """What is read out for the frame shown, and the map over it."""
        return " · ".join([self.texts[self.value], *self.names[self.chosen :][:1]])

    def _repr_mimebundle_(self, **options: Any) -> Any:
        shown: Any = {} if plain() else super()._repr_mimebundle_(**options)
        data, metadata = shown if isinstance(shown, tuple) else (shown, {})
        return {**(data or {}), "text/html": self._html, "text/plain": f"Slider: {self.alt}"}, metadata


def a(name: str) -> str:
    """A class's name with its article: a 7, an 8, an ankle boot."""
    return f"{'an' if name[:1].lower() in tuple('aeiou8') else 'a'} {name}"


class SketchPad(anywidget.AnyWidget):
    """Draw a digit, noise it to a level, and see the model bring it back as the label asked for (SDEdit).

    ``panes`` is what the browser shows: the drawing as the model sees it, the state x_t, and the clean image that
    the model predicts, three pictures of display bytes, each ``size`` high and wide. ``label`` -1 asks for any digit.
    Each run draws new noise. A model of other images names its classes, and sees the drawing in their size.
    """

    _esm = Path(__file__).with_name("sketch.js").read_text()
    _css = Path(__file__).with_name("sketch.css").read_text()
    SIDE = 140  # pixels of the pad's side
    panes = traitlets.CBytes(b"").tag(sync=True)
    size = traitlets.List([28, 28]).tag(sync=True)
    names: Any = traitlets.List([]).tag(sync=True)
    noun = traitlets.Unicode("digit").tag(sync=True)
    label = traitlets.Int(-1).tag(sync=True)
    level = traitlets.Int(500).tag(sync=True)
    highest = traitlets.Int(999).tag(sync=True)
    status = traitlets.Unicode("").tag(sync=True)

    def __init__(self, trained: Pretrained, digits: Digits, *, num_steps: int = 50, seed: int = 0) -> None:
        self.trained, self.digits, self.num_steps = trained, digits, num_steps
        self.schedule = trained.schedule.to("cpu")  # for the preview, at each move of the level
        self.generator = torch.Generator().manual_seed(seed)
        self.data = trained.profile.data
        self.drawing = self._empty()
        self.noise = torch.randn(self.drawing.shape, generator=self.generator)
        highest, names = len(trained.schedule) - 1, list(self.data.class_names)
        noun = "digit" if self.data == DataConfig() else "image"
        here = {"size": list(self.data.size), "names": names, "noun": noun, "label": min(3, len(names) - 1)}
        super().__init__(highest=highest, level=highest // 2, status=self._idle(noun), **here)
        self._preview()
        self.on_msg(self._hear)

    @traitlets.validate("level")
    def _in_range(self, proposal: Any) -> int:
        if not 0 <= proposal["value"] <= self.highest:
            raise ValueError(f"level must lie in 0 ... {self.highest}, but is {proposal['value']}.")
        return proposal["value"]

    @traitlets.validate("label")
    def _is_label(self, proposal: Any) -> int:
        if not -1 <= proposal["value"] < self.data.num_classes:
            raise traitlets.TraitError(
                f"label must lie in -1 ... {self.data.num_classes - 1}, but is {proposal['value']}."
            )
        return proposal["value"]

    @staticmethod
    def _idle(noun: str) -> str:
        return f"Draw {a(noun)}, or take one."

    def _fitted(self, ink: Tensor) -> Images:
        """A drawing, 0 is paper and 1 is ink, as the data would hold it: fitted as MNIST was, or else resized."""
        if self.data == DataConfig():
            return like_mnist(ink)
        small = interpolate(ink[None, None], self.data.size, mode="bilinear", antialias=True).clamp(0, 1) * 2 - 1
        return (small if self.data.ink else -small).expand(-1, self.data.channels, -1, -1).clone()

    def _empty(self) -> Images:
        return self._fitted(torch.zeros(self.SIDE, self.SIDE))

    @traitlets.observe("level")
    def _levelled(self, change: Any) -> None:
        self._preview()

    def _hear(self, widget: Any, content: dict[str, Any], buffers: Any) -> None:
        match content["do"]:
            case "draw":
                self.draw(bytes(buffers[0]))
            case "take":
                self.take(content["digit"])
            case "clear":
                self.clear()
            case "run":
                self.level, self.label = content["level"], content["label"]
                self.run()

    def draw(self, pad: bytes) -> None:
        """Take over what was drawn, 140 x 140 bytes, 0 is ink."""
        grey = np.frombuffer(pad, np.uint8).reshape(self.SIDE, self.SIDE)
        self.drawing = self._fitted(torch.from_numpy(1 - grey / np.float32(255)))
        self._preview()

    def take(self, digit: int) -> None:
        """Put a random test image of that label on the pad."""
        those = (self.digits.labels == digit).nonzero().flatten()
        chosen = those[torch.randint(len(those), (1,), generator=self.generator)]
        self.drawing = self.digits[chosen][0].cpu()
        self._preview()
        self.status = f"{a(self.names[digit]).capitalize()} from the test set."
        self.send({"do": "show"})

    def clear(self) -> None:
        """An empty pad."""
        self.drawing = self._empty()
        self._preview()
        self.status = self._idle(self.noun)

    def run(self) -> Images:
        """Noise the drawing to ``level`` and bring it back, showing each step; returns the result."""
        start, device = time.perf_counter(), self.trained.schedule.betas.device
        label = None if self.label < 0 else torch.tensor([self.label], device=device)
        self.noise = torch.randn(self.drawing.shape, generator=self.generator)
        wanted = f"any {self.noun}" if label is None else a(self.names[self.label])
        steps = sdedit(
            self.trained.model, self.trained.schedule, self.drawing.to(device), label, self.level,
            self.noise.to(device), self.num_steps, guidance_scale=self.trained.profile.guidance_scale,
            generator=self.generator,
        )  # fmt: skip
        for count, step in enumerate(steps, start=1):
            self._show(step.x.cpu(), step.x_start.cpu())
            self.status = f"From t = {self.level} as {wanted}: step {count}, t = {step.t}."
        self.status = (
            f"Brought back as {wanted} from t = {self.level}: {count} steps, {time.perf_counter() - start:.1f} s."
        )
        return step.x

    def _preview(self) -> None:
        t = torch.tensor([self.level])
        self._show(q_sample(self.schedule, self.drawing, t, self.noise), self._empty())

    def _show(self, x_t: Tensor, x_start: Tensor) -> None:
        self.panes = to_display(torch.cat([self.drawing, x_t, x_start]), ink=self.data.ink).tobytes()

    def _repr_mimebundle_(self, **options: Any) -> Any:
        shown: Any = {} if os.environ.get(WISH) else super()._repr_mimebundle_(**options)
        data, metadata = shown if isinstance(shown, tuple) else (shown, {})
        return {**(data or {}), "text/html": f"<p><em>{NO_KERNEL}</em></p>", "text/plain": NO_KERNEL}, metadata
