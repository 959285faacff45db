"""Drawings: the UNet from its live shapes, and an equation or algorithm beside the code that does it."""

import ast
import inspect
import textwrap
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle
from torch import Tensor

from diffusion_lib.pixels import as_array
from diffusion_lib.showing.viz import DASHES, PALETTE, PAPER, Picture

BLANK = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}  # behind words that lie on a line


def axes_of(picture: Picture) -> Any:
    """One empty pair of axes that fills the picture."""
    ax = picture.subplots()
    ax.set_axis_off()
    return ax


def unet_diagram(shapes: Mapping[str, tuple[int, int, int]], inputs: Mapping[str, str] | None = None) -> Picture:
    """The stages of a UNet as boxes: lower is coarser, wider has more channels; dashed arrows add the skips' channels.

    ``shapes`` maps each stage's name ("down 0", "middle 1", "up 0" ...) to its output (C, H, W), in order;
    ``inputs`` says in a word or two what else enters a stage.
    """
    told = "; ".join(f"{name} {' × '.join(map(str, shape))}" for name, shape in shapes.items())
    picture = Picture(f"The UNet's stages and their output shapes, channels × height × width: {told}.", 9.0, 3.4)
    ax = axes_of(picture)
    ax.set_axis_off()
    finest, widest = max(s[1] for s in shapes.values()), max(s[0] for s in shapes.values())
    places = {name: (i, np.log2(side / finest)) for i, (name, (_, side, _)) in enumerate(shapes.items())}
    names, half = list(shapes), {name: 0.25 + 0.175 * shape[0] / widest for name, shape in shapes.items()}
    for a, b in pairwise(names):  # from edge to edge, so that the heads are seen
        ends = [(places[b][0] - half[b], places[b][1]), (places[a][0] + half[a], places[a][1])]
        ax.annotate(
            "", *ends, arrowprops={"arrowstyle": "->", "color": "#444444", "shrinkA": 0, "shrinkB": 0}, zorder=1
        )
    for name in names:
        _box(ax, name, shapes[name], places[name], 2 * half[name])
        x, y = places[name]
        if inputs and name in inputs:
            ax.text(x, y - 0.48, f"↑ {inputs[name]}", ha="center", va="center", fontsize=8, color=PALETTE[0], zorder=3)
        twin = name.replace("down", "up")
        if twin != name and twin in places:
            _skip(ax, (x, y + 0.2), (places[twin][0], y + 0.2), shapes[name][0])
    ax.set(xlim=(-0.6, len(names) - 0.4), ylim=(min(y for _, y in places.values()) - 0.5, 0.9))
    return picture


def _box(ax: Any, name: str, shape: tuple[int, int, int], place: tuple[float, float], width: float) -> None:
    (x, y), sizes = place, "×".join(map(str, shape))
    colour = PALETTE[5] if "down" in name else PALETTE[4] if "up" in name else "#DDDDDD"
    ax.add_patch(Rectangle((x - width / 2, y - 0.2), width, 0.4, facecolor=colour, edgecolor="black", zorder=2))
    ax.text(x, y, name, ha="center", va="center", fontsize=9, zorder=3)
    ax.text(x, y - 0.33, sizes, ha="center", va="center", fontsize=8, zorder=3, bbox=BLANK)


def _skip(ax: Any, start: tuple[float, float], end: tuple[float, float], channels: int) -> None:
    style = {"arrowstyle": "->", "linestyle": "--", "color": PALETTE[0], "connectionstyle": "arc3,rad=-0.18"}
    ax.annotate("", end, start, arrowprops=style, zorder=1)
    ax.text(end[0] + 0.06, end[1] + 0.09, f"+ {channels} channels", fontsize=8, color=PALETTE[0], bbox=BLANK)


def body_of(function: Callable) -> str:
    """A function's source without its docstring and annotations of the signature."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    node = tree.body[0]
    assert isinstance(node, ast.FunctionDef)
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    start = node.body[1].lineno if ast.get_docstring(node) else node.body[0].lineno
    names = [a.arg for a in (*node.args.args, *node.args.kwonlyargs)]
    return "\n".join([f"def {node.name}({', '.join(names)}):", *lines[start - 1 :]])


def beside_code(lines: Sequence[str], function: Callable, alt: str, *, width: float = 10.0) -> Picture:
    """Mathematics on the left, ``lines`` of matplotlib's mathtext; the library's own code on the right."""
    code = body_of(function)
    height = 0.35 + 0.26 * max(len(code.splitlines()), len(lines) * 1.7)
    picture = Picture(f"{alt} Beside it the code:\n{code}", width, height)
    ax = axes_of(picture)
    ax.set(xlim=(0, 1), ylim=(0, 1))
    for i, line in enumerate(lines):
        ax.text(0.0, 0.97 - i * 0.94 / max(1, len(lines)), line, fontsize=11, va="top")
    ax.axvline(0.47, color="#999999", lw=0.8)
    ax.text(0.49, 0.97, code, fontsize=9.5, va="top", family="monospace", linespacing=1.45)
    return picture


def moving_panels(panels: Mapping[str, Tensor], curves: Mapping[str, Any], at: Sequence[int]) -> np.ndarray:
    """Frames for a slider, (N, H, W, 3): named images in a row, and below them curves with a dot on each.

    ``panels`` hold one image for each frame, (N, 1, H, W), drawn from -2 to 2; ``curves`` are drawn whole over
    their index, and the dots of frame n stand at index ``at[n]``.
    """
    picture = Picture("", 4.9, 3.5)
    grid = picture.add_gridspec(2, len(panels), height_ratios=(3, 2))
    shown = [_panel(picture, grid[0, i], name) for i, name in enumerate(panels)]
    ax = picture.add_subplot(grid[1, :], xlabel="t")
    ax.spines[["top", "right"]].set_visible(False)
    dots = []
    for i, (name, y) in enumerate(curves.items()):
        ax.plot(as_array(y), color=PALETTE[i], ls=DASHES[i], label=name)
        dots += ax.plot([0], [0], "o", color=PALETTE[i], ms=8, animated=True)
    ax.legend(fontsize=9, frameon=False)
    picture.canvas.draw()
    still, frames = picture.canvas.copy_from_bbox(picture.bbox), []  # type: ignore[attr-defined]
    for n, index in enumerate(at):
        for image, film in zip(shown, panels.values(), strict=True):
            image.set_data(as_array(film[n, 0]))
        for dot, y in zip(dots, curves.values(), strict=True):
            dot.set_data([index], [float(y[index])])
        frames.append(_redrawn(picture, still, [*shown, *dots]))
    return np.stack(frames)


def _panel(picture: Picture, place: Any, name: str) -> Any:
    ax = picture.add_subplot(place, xticks=[], yticks=[])
    ax.set_title(name, fontsize=10)
    start = np.zeros((1, 1))
    return ax.imshow(start, cmap=PAPER, vmin=-2, vmax=2, interpolation="nearest", extent=(0, 1, 0, 1), animated=True)


def _redrawn(picture: Picture, still: Any, moved: Sequence[Any]) -> np.ndarray:
    """The picture's bytes with only ``moved`` drawn anew: laying out all of it again is slow."""
    canvas: Any = picture.canvas
    canvas.restore_region(still)
    for artist in moved:
        artist.axes.draw_artist(artist)
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
