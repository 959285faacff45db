"""Images as display bytes, for sliders and mosaics: grey ones and ones in colour."""

from typing import Any

import numpy as np
from torch import Tensor


def as_array(values: Any) -> np.ndarray:
    """A tensor of any device, an array or numbers, as an array."""
    return values.detach().float().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def is_rgb(images: Tensor) -> bool:
    """Whether images are of three channels, (N, 3, H, W)."""
    return images.ndim == 4 and images.shape[1] == 3


def in_colours(image: Tensor, limits: tuple | None = (-1, 1)) -> np.ndarray:
    """One image (3, H, W) as colours in [0, 1], (H, W, 3); ``limits`` None takes its own least and largest value."""
    low, high = limits or (float(image.min()), float(image.max()))
    return ((as_array(image).transpose(1, 2, 0) - low) / ((high - low) or 1.0)).clip(0, 1)


def to_display(images: Tensor, *, ink: bool = True) -> np.ndarray:
    """Images in [-1, 1] as display bytes: of three channels in their colours, (N, H, W, 3); else grey, (N, H, W).

    Where 1 is ``ink``, as in MNIST, it is dark on white paper; else 1 is white.
    """
    array = as_array(images).clip(-1, 1)
    if is_rgb(images):
        return ((1 + array.transpose(0, 2, 3, 1)) * 127.5).round().astype(np.uint8)
    return ((1 + (-array if ink else array)) * 127.5).round().astype(np.uint8).reshape(-1, *images.shape[-2:])


to_gray = to_display  # MNIST's side of it, and the name that the series uses


def beside(*frames: np.ndarray, gap: int = 2) -> np.ndarray:
    """Frames (N, H, W[, 3]) of several films joined side by side, with a white gap."""
    colour = any(f.ndim == 4 for f in frames)
    films = [np.repeat(f[..., None], 3, axis=-1) if colour and f.ndim == 3 else f for f in frames]
    space = np.full_like(films[0][:, :, :1].repeat(gap, axis=2), 255)
    joined = [part for film in films for part in (film, space)][:-1]
    return np.concatenate(joined, axis=2)


def mosaic(images: np.ndarray, columns: int, gap: int = 1) -> np.ndarray:
    """Display bytes (N, H, W[, 3]) as one picture with ``columns`` in a row and a white gap, (H', W'[, 3])."""
    margins = [(0, -len(images) % columns), (0, gap), (0, gap), (0, 0)][: images.ndim]
    padded = np.pad(images, margins, constant_values=255)
    rows = padded.reshape(-1, columns, *padded.shape[1:]).swapaxes(1, 2)
    return rows.reshape(rows.shape[0] * rows.shape[1], -1, *images.shape[3:])
