"""Pictures: pure functions from data to a figure. Each figure carries its own alt text.

No pyplot, so no hidden state: a figure is shown by the notebook or saved by its own ``savefig``.
Colours are Okabe and Ito's, told apart by colour-blind readers; lines also differ in dash.
"""

import inspect
import io
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import torch
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer
from torch import Tensor

from diffusion_lib.pixels import as_array, in_colours, is_rgb
from diffusion_lib.pixels import beside as beside  # asked for from here
from diffusion_lib.pixels import mosaic as mosaic
from diffusion_lib.pixels import to_display as to_display
from diffusion_lib.pixels import to_gray as to_gray
from diffusion_lib.profiles import DataConfig

PALETTE = ["#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000"]
DASHES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 3))]
PAPER = "gray_r"  # ink is dark, paper is white: -1 is paper, +1 is ink
SIGNED = "PuOr"  # zero is white, the two signs differ in grey as well as in colour


class Picture(Figure):
    """A matplotlib figure with alt text, shown as a PNG wherever a notebook is read."""

    def __init__(self, alt: str, width: float, height: float) -> None:
        super().__init__(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(self)
        self.alt = alt

    def png(self, dpi: int = 110) -> bytes:
        """The figure as PNG bytes, without a date or a version, so that equal figures are equal bytes."""
        buffer = io.BytesIO()
        self.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
        return buffer.getvalue()

    def svg(self) -> bytes:
        """The figure as SVG, without a date and with steady names."""
        buffer = io.BytesIO()
        with rc_context({"svg.hashsalt": "diffusion_lib"}):
            self.savefig(buffer, format="svg", metadata={"Date": None, "Title": self.alt})
        return buffer.getvalue()

    def pixels(self) -> np.ndarray:
        """The figure as an image, (H, W, 3) in 0 ... 255: a frame for a slider."""
        canvas: Any = self.canvas
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())[..., :3].copy()

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        # nbconvert takes the alt text from the metadata; JupyterLab only from HTML.
        png = self.png()
        html = f'<img src="data:image/png;base64,{b64encode(png).decode()}" alt="{escape(self.alt)}">'
        data = {"image/png": png, "text/html": html, "text/plain": self.alt}
        return data, {"image/png": {"alt": self.alt}}

    def __repr__(self) -> str:
        return f"Picture: {self.alt}"


def _axes(picture: Picture, rows: int = 1, columns: int = 1, **options: Any) -> np.ndarray:
    axes = picture.subplots(rows, columns, squeeze=False, **options)
    for ax in axes.flat:
        ax.spines[["top", "right"]].set_visible(False)
        ax.tick_params(labelsize=9)
    return axes


def image_grid(
    images: Tensor,
    alt: str,
    *,
    titles: Sequence[str] | None = None,
    columns: int | None = None,
    row_titles: Sequence[str] | None = None,
    size: float = 0.9,
    limits: tuple[float, float] | None = (-1, 1),
    cmap: str = PAPER,
) -> Picture:
    """Images (N, 1, H, W) or (N, H, W) in rows of ``columns``; ``limits`` None scales each on its own.

    Images (N, 3, H, W) are drawn in their colours; ``cmap`` is for one channel.
    """
    images = images if is_rgb(images) else images.reshape(-1, *images.shape[-2:])
    columns = columns or min(len(images), 10)
    rows = -(-len(images) // columns)
    titled_rows = -(-len(titles) // columns) if titles is not None else 0
    room = 0.25 + 0.15 * max((text.count("\n") for text in titles or [""]), default=0)
    width, height = columns * size + (0.9 if row_titles else 0.1), rows * size + room * titled_rows + 0.1
    picture = Picture(alt, width, height)
    axes = _axes(picture, rows, columns)
    low, high = limits or (None, None)
    for i, ax in enumerate(axes.flat):
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set_visible(False)
        if i < len(images):
            shown = in_colours(images[i], limits) if is_rgb(images) else as_array(images[i])
            ax.imshow(shown, cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
        if titles is not None and i < len(titles):
            ax.set_title(titles[i], fontsize=9)
    for ax, row_title in zip(axes[:, 0], row_titles or [], strict=False):
        ax.set_ylabel(row_title, fontsize=9, rotation=0, ha="right", va="center")
    return picture


def course(name: str, x: Any, y: Any) -> str:
    """A curve in words: its first and last value, and between them its least and greatest where they are neither."""
    xs, ys = as_array(x), as_array(y)
    low, high = int(ys.argmin()), int(ys.argmax())
    places = sorted({0, low, high, len(ys) - 1})
    word = {low: "lowest ", high: "highest "}
    values = [f"{word.get(i, '')}{ys[i]:.3g} at {xs[i]:.4g}" for i in places]
    return f"{name}: {', '.join(values)}."


def lines(
    x: Any,
    ys: Mapping[str, Any],
    alt: str,
    *,
    xlabel: str,
    ylabel: str,
    log: str = "",
    floor: tuple[str, float] | Mapping[str, float] | None = None,
    width: float = 6.0,
    height: float = 3.2,
    points: bool = False,
) -> Picture:
    """Curves over one x, each named in the legend; ``floor`` draws named horizontal lines.

    ``log`` holds "x", "y" or both for logarithmic axes. ``alt`` says what is drawn; where the curves run is added to
    it from their values, so that it cannot claim what they do not do.
    """
    floors = dict([floor]) if isinstance(floor, tuple) else dict(floor or {})
    courses = [course(name, x[name] if isinstance(x, Mapping) else x, y) for name, y in ys.items()]
    levels = [f"Line at {height_of_floor:.3g}: {name}." for name, height_of_floor in floors.items()]
    picture = Picture(" ".join([alt, *courses, *levels]), width, height)
    ax = _axes(picture)[0, 0]
    for i, (name, y) in enumerate(ys.items()):
        xs = x[name] if isinstance(x, Mapping) else x
        marker = "os^Dv"[i % 5] if points else None
        ax.plot(
            as_array(xs), as_array(y), color=PALETTE[i % 7], ls=DASHES[i % 7], marker=marker, ms=4, lw=1.8, label=name
        )
    for i, (name, height_of_floor) in enumerate(floors.items()):
        ax.axhline(height_of_floor, color="#666666", lw=1, ls=[(0, (1, 1)), (0, (4, 2))][i % 2], label=name)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    ax.set_xscale("log" if "x" in log else "linear")
    ax.set_yscale("log" if "y" in log else "linear")
    if "x" in log and points and not isinstance(x, Mapping):
        ax.set_xticks(as_array(x), [f"{value:g}" for value in as_array(x)])
        ax.minorticks_off()
    if len(ys) + len(floors) > 1:
        ax.legend(fontsize=9, frameon=False)
    return picture


def heat_map(
    values: Any, alt: str, *, xlabel: str, ylabel: str, signed: bool = True, width: float = 6.0, height: float = 3.2
) -> Picture:
    """A matrix as colours with a scale beside it; row 0 is at the top."""
    values = as_array(values)
    picture = Picture(alt, width, height)
    ax = _axes(picture)[0, 0]
    limit = np.abs(values).max() or 1.0
    low, high, cmap = (-limit, limit, SIGNED) if signed else (values.min(), values.max(), "cividis")
    image = ax.imshow(values, aspect="auto", cmap=cmap, vmin=low, vmax=high, interpolation="nearest")
    picture.colorbar(image, ax=ax)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    return picture


def scatter(groups: Mapping[str, Tensor], alt: str, *, limit: float = 2.5, size: float = 2.3) -> Picture:
    """Clouds of 2-D points, (N, 2) each, one panel for each name."""
    picture = Picture(alt, size * len(groups), size + 0.3)
    for i, (ax, (name, points)) in enumerate(zip(_axes(picture, 1, len(groups))[0], groups.items(), strict=True)):
        xy = as_array(points)
        ax.scatter(xy[:, 0], xy[:, 1], s=3, alpha=0.5, color=PALETTE[i % 7], linewidths=0)
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), xticks=[], yticks=[], aspect="equal")
        ax.set_title(name, fontsize=9)
    return picture


def histograms(samples: Mapping[str, Tensor], alt: str, *, normal: bool = True, xlabel: str = "pixel value") -> Picture:
    """A histogram for each name in a row of panels, against the standard normal curve."""
    picture = Picture(alt, 2.1 * len(samples), 2.2)
    grid = np.linspace(-4, 4, 200)
    for ax, (name, values) in zip(_axes(picture, 1, len(samples), sharey=True)[0], samples.items(), strict=True):
        ax.hist(as_array(values).ravel(), bins=60, range=(-4, 4), density=True, color=PALETTE[5], label="pixels")
        if normal:
            ax.plot(grid, np.exp(-(grid**2) / 2) / np.sqrt(2 * np.pi), color="black", lw=1.2, label="N(0, 1)")
        ax.set_title(name, fontsize=9)
        ax.set(xlabel=xlabel, ylim=(0, 0.8))
    return picture


def learning_curve(epochs: Sequence[dict[str, Any]], steps: Sequence[dict[str, Any]] = ()) -> Picture:
    """Training loss by step and by epoch, and the held-out loss of the averaged weights."""
    number = [record["epoch"] for record in epochs]
    held_out = [record["held_out_loss"] for record in epochs]
    alt = (
        f"Learning curve over {len(number)} epochs. The held-out loss of the averaged weights goes from "
        f"{held_out[0]:.4f} after the first epoch to {held_out[-1]:.4f} after the last."
    )
    picture = Picture(alt, 6.0, 3.2)
    ax: Axes = _axes(picture)[0, 0]
    if steps:
        per_epoch = max(record["step"] for record in steps) / max(record["epoch"] for record in steps)
        x, y = [r["step"] / per_epoch for r in steps], [r["loss"] for r in steps]
        ax.plot(x, y, color="#999999", lw=0.7, zorder=3, label="training loss, last 50 steps")
    ax.plot(
        number, [r["train_loss"] for r in epochs], color=PALETTE[0], marker="o", ms=4, label="training loss, epoch mean"
    )
    ax.plot(number, held_out, color=PALETTE[1], ls="--", marker="s", ms=4, label="held-out loss, averaged weights")
    ax.set(xlabel="epoch", ylabel="mean squared error of the noise", yscale="log", xlim=(0, None))
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter(NullFormatter())
    ax.legend(fontsize=9, frameon=False)
    return picture


def sample_grid(images: Tensor, labels: Tensor, title: str = "", data: DataConfig | None = None) -> Picture:
    """One row of samples for each label, as many columns as the rarest label has images; ``data`` names the labels."""
    data = data or DataConfig()
    classes = labels.unique().tolist()
    columns = min(int((labels == c).sum()) for c in classes)
    rows, names = [images[labels == c][:columns] for c in classes], [data.class_names[c] for c in classes]
    what = title or ("Digits" if data.name == "mnist" else "Samples")
    alt = f"{what}: one row for each label, {names[0]} at the top to {names[-1]}, {columns} in a row."
    cmap = PAPER if data.ink else "gray"
    picture = image_grid(torch.cat(rows), alt, columns=columns, row_titles=names, size=0.55, cmap=cmap)
    if title:
        picture.suptitle(title, fontsize=10)
    return picture


def to_colour(values: Tensor, limit: float | None = None) -> np.ndarray:
    """Signed maps (N, H, W) as display bytes, (N, H, W, 3): orange below zero, white at 0, purple above."""
    from matplotlib import colormaps

    array = as_array(values)
    limit = limit or float(np.abs(array).max()) or 1.0
    return (colormaps[SIGNED](array / limit / 2 + 0.5)[..., :3] * 255).round().astype(np.uint8)


def tint(shares: Tensor) -> np.ndarray:
    """Shares in [0, 1], (N, H, W), as display bytes, (N, H, W, 3): white at 0, orange at 1. A map to lay over ink."""
    orange = np.array([0xE6, 0x9F, 0x00])
    return (255 - as_array(shares)[..., None] * (255 - orange)).round().astype(np.uint8)


class Source:
    """A library function's own source, shown as highlighted code."""

    def __init__(self, *functions: Callable) -> None:
        self.text = "\n\n".join(inspect.getsource(f).rstrip() for f in functions)

    def _repr_html_(self) -> str:
        # Colours inline, on a light ground of its own: the same in JupyterLab, in an exported page and on a site.
        style = "font-family:monospace;font-size:13px;line-height:1.4;background:#f7f7f7;color:#111;padding:8px"
        formatter = HtmlFormatter(noclasses=True, nobackground=True, style="xcode", prestyles=style)
        return highlight(self.text, PythonLexer(), formatter)

    def __repr__(self) -> str:
        return self.text


def show_source(*functions: Callable) -> Source:
    """The source of library functions, for a cell that shows it beside the equation."""
    return Source(*functions)
