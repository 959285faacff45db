"""The shape vocabulary. Every public signature is written in these words.

``Images``     float, (batch, channel, height, width); clean images live in [-1, 1]
``Timesteps``  int64, (batch,), 0 ... T-1; t = 0 is one step of noise
``Labels``     int64, (batch,), 0 ... number of classes - 1; or (batch, word), for a network that reads prompts
``EpsModel``   a function (x_t, t) -> predicted noise, of x_t's shape

The annotations cost nothing in use. The tests switch on a run-time check that holds each of them.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Images = Float[Tensor, "batch channel height width"]
Timesteps = Int64[Tensor, "batch"]
Labels = Int64[Tensor, "batch *word"]
EpsModel = Callable[[Images, Timesteps], Images]


def check_range(name: str, index: Tensor, size: int) -> None:
    """Raise IndexError unless every entry of ``index`` lies in 0 ... size - 1.

    Only values that already lie on the CPU are read: on a GPU the check would wait for the device.
    """
    if index.device.type != "cpu" or torch.compiler.is_compiling() or index.numel() == 0:
        return
    low, high = int(index.min()), int(index.max())
    if low < 0 or high >= size:
        raise IndexError(f"{name} must lie in 0 ... {size - 1}, but runs from {low} to {high}.")


def check_prompts(prompt: Tensor, batch: int, words: int) -> None:
    """Raise unless ``prompt`` is int64 of shape (batch, words): one prompt for each image."""
    if prompt.dtype != torch.int64:
        raise TypeError(f"a prompt must be int64, but is {prompt.dtype}; convert it with .long().")
    if prompt.shape != (batch, words):
        raise ValueError(
            f"this network reads prompts of shape ({batch}, {words}), {words} words for each image, "
            f"but the shape is {tuple(prompt.shape)}."
        )


def check_batch(name: str, index: Tensor, batch: int) -> None:
    """Raise unless ``index`` is int64 of shape (batch,): one entry for each image."""
    if index.dtype != torch.int64:
        raise TypeError(f"{name} must be int64, but is {index.dtype}; convert it with .long().")
    if index.shape != (batch,):
        raise ValueError(
            f"{name} must have shape ({batch},), one entry for each image, but has {tuple(index.shape)}; "
            f"use torch.full(({batch},), value) for one value."
        )
