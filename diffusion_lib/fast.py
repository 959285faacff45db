"""Faster ways to the same numbers. Nothing here needs to be read to understand the rest."""

import ctypes
import sys
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h


class TokenLinear(nn.Linear):
    """``nn.Linear`` for tokens, (B, N, C_in) -> (B, N, C_out); on CPUs a 1 x 1 convolution of B x N pixels.

    Convolutions go through oneDNN, which uses the widest vectors of any maker's CPU. Matrix products go through
    MKL, which on AMD's does not: 217 against 480 GFLOP/s on one of them, alike on one whose vectors are half as wide.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The same as ``nn.Linear``, to rounding."""
        if input.device.type != "cpu" or input.ndim != 3:
            return super().forward(input)
        pixels = input[None].permute(0, 3, 1, 2)  # (1, C_in, B, N), channels last in memory as it is
        return F.conv2d(pixels, self.weight[..., None, None], self.bias).permute(0, 2, 3, 1).squeeze(0)


class UpsampleConv2d(nn.Conv2d):
    """A 3 x 3 convolution of an image in which each pixel has been repeated 2 x 2, without making that image.

    Neighbours in it are often copies of one pixel, so the weights that would meet them are added beforehand. That
    leaves a 4 x 4 transposed convolution of the small image: four products where the plain way has nine.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1)

    def forward(self, input: Tensor) -> Tensor:
        """(B, C_in, H, W) -> (B, C_out, 2 H, 2 W); ``conv(interpolate(input, scale_factor=2))``, to rounding."""
        sums = 4 * F.avg_pool2d(self.weight.flip(2, 3), 2, stride=1, padding=1)
        return F.conv_transpose2d(input, sums.transpose(0, 1), self.bias, stride=2, padding=1)


class GroupNorm(nn.GroupNorm):
    """``nn.GroupNorm``; in float32 where autocast narrows the rest, as it is on GPUs without being asked.

    On CPUs the loop over bfloat16 takes four times as long.
    """

    def forward(self, input: Tensor) -> Tensor:
        """The same as ``nn.GroupNorm``, to rounding."""
        narrowed = input.device.type == "cpu" and torch.is_autocast_enabled("cpu")
        return super().forward(input.float() if narrowed else input)


def likes_bfloat16(device: torch.device) -> bool:
    """Whether autocast to bfloat16 pays there: on NVIDIA's GPUs, and on CPUs that multiply such matrices (AMX)."""
    known: Mapping[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()  # older torch has no such function
    return device.type == "cuda" or (device.type == "cpu" and known.get("amx_bf16", False))


def bfloat16(device: torch.device, *, wanted: bool) -> torch.autocast:
    """Autocast to bfloat16, where that is ``wanted`` and pays; elsewhere a context that does nothing."""
    kind = "cuda" if device.type == "cuda" else "cpu"
    return torch.autocast(kind, torch.bfloat16, enabled=wanted and likes_bfloat16(device))


def keep_memory() -> None:
    """Let this process keep freed memory for the next large tensor, on Linux.

    By default glibc hands blocks above 32 MiB back to the system at once, and a training step spends its time on
    getting them again, page by page.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # other C libraries have none
    if mallopt:
        mallopt(M_MMAP_THRESHOLD, 1 << 30)
        mallopt(M_TRIM_THRESHOLD, torch.iinfo(torch.int32).max)
