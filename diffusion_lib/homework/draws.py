"""Is what was drawn standard normal, pixel by pixel, and all of it independent?

Every bound leaves honest noise a chance below 1e-10 to be refused, so no verdict hangs on luck. What is wrong on
purpose lies far beyond: clamped at 2.5 or 3, one number for an image, a channel, a row.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from diffusion_lib.homework.probing import LARGE

NORMAL = {"randn", "randn_like", "normal", "normal_"}
SURE = 9.0  # standard deviations: a normal variable is beyond with a chance of 2e-19
RARE = 28.0  # of exp(-RARE) = 7e-13 is the chance of a count
TAILS = (1.0, 2.0, 2.5, 3.0, 3.25, 3.5)


def kinds(noise: Tensor) -> tuple[int, int, bool]:
    """For noise (calls, B, C, H, W): its kind, what in it is linked, and is it crooked?

    Kind: 1 is about normal, 2 about uniform, 0 neither. The bounds are wide: the mean of 2,400 numbers is off by 0.02.
    The finer questions are asked of normal noise only, and the last of independent noise only, so that what is wrong in
    one way is always told in the same way.
    """
    mean, spread = noise.mean().item(), noise.std().item()
    known = ((1, 0.0, 1.0), (2, 0.5, 0.289))
    kind = next((k for k, m, s in known if abs(mean - m) < 0.18 and abs(spread - s) < 0.18), 0)
    link = linked(noise) if kind == 1 else 0
    return kind, link, kind == 1 and not link and crooked(noise)


def linked(noise: Tensor) -> int:
    """1: all pixels of an image are equal; 2: images hang together; 3: pixels do; 4: calls do; 0: nothing."""
    calls, batch = noise.shape[:2]
    flat = noise.reshape(calls, batch, -1)
    pixels, images = flat.flatten(0, 1).T, flat.transpose(0, 1).flatten(1)
    if (noise - noise[:, :, :1, :1, :1]).abs().max() < 1e-4:
        return 1
    for code, rows in ((2, images), (3, pixels), (4, flat.flatten(1))):
        if _hang_together(rows) or _hang_together(rows.abs()):
            return code
    return 0


def _hang_together(rows: Tensor) -> bool:
    """Is any of the correlations between the rows (n, samples) not 0?"""
    away = torch.corrcoef(rows).nan_to_num(1.0).fill_diagonal_(0).abs().max().item()
    return away > SURE / math.sqrt(rows.shape[1])


def crooked(noise: Tensor) -> bool:
    """Is the mean, the spread or a tail wrong, of all the noise, of a channel, or of a pixel?"""
    calls, batch, channels = noise.shape[:3]
    pixels = noise.reshape(calls * batch, channels, -1)
    groups = [pixels.reshape(1, -1), pixels.transpose(0, 1).flatten(1), pixels.flatten(1).T]
    return any(_odd(rows) for rows in groups)


def _odd(rows: Tensor) -> bool:
    """Is any row (n, samples) not a sample of the standard normal distribution?"""
    samples = rows.shape[1]
    off = rows.mean(dim=1).abs().max() > SURE / math.sqrt(samples)
    wide = (rows.square().mean(dim=1) - 1).abs().max() > SURE * math.sqrt(2 / samples)
    return bool(off or wide) or any(_rare(rows, tail, side) for tail in TAILS for side in (-1, 1))


def _rare(rows: Tensor, tail: float, side: int) -> bool:
    """Do too many or too few numbers lie beyond ``tail`` on one side? Chernoff's bound for a Poisson count."""
    expected = rows.shape[1] * 0.5 * math.erfc(tail / math.sqrt(2))
    counts = (side * rows > tail).sum(dim=1).double()
    bound = expected - counts + torch.special.xlogy(counts, counts / expected)
    return bool((bound > RARE).any())


class Sixes(TorchFunctionMode):
    """While it is on, each normal number that torch draws is ±6, as its sign is.

    A mode of functions, since the first mode of operations in a process imports 900 modules.
    """

    drew = False

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        """Every function of torch comes by here."""
        answer = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") in NORMAL:
            self.drew = True
            with torch.no_grad():
                answer.copy_(LARGE * answer.sign())
        return answer
