"""Faster ways to the same numbers. Nothing here needs to be read to understand the rest."""

import ctypes
import sys

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
