"""Handwritten digits on the device, as bytes; and which digits they are, said aloud.

MNIST (LeCun, Cortes and Burges; derived from NIST Special Databases 1 and 3) is read and downloaded by
torchvision. A machine with no network gets scikit-learn's 1,797 digits instead, resized, and is told so.
Digits are never flipped: a mirrored 2 is not a 2.
"""

import contextlib
import hashlib
import os
import socket
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from diffusion_lib.shapes import Images, Labels

Ink = Float[Tensor, "rows columns"]
Split = Literal["train", "test"]
STAND_IN = "scikit-learn digits (offline stand-in for MNIST)"
# Bytes of each uncompressed file: the cheapest way to notice half a download.
FILE_SIZES = {
    "train-images-idx3-ubyte": 47_040_016,
    "train-labels-idx1-ubyte": 60_008,
    "t10k-images-idx3-ubyte": 7_840_016,
    "t10k-labels-idx1-ubyte": 10_008,
}
DOWNLOAD_TIMEOUT = 20.0  # seconds without a byte before a mirror is given up


class StandInWarning(UserWarning):
    """MNIST could not be had, and the offline stand-in is used."""


@dataclass(frozen=True, eq=False)
class Digits:
    """All images of one split on one device, one byte a pixel. Floats are made batch by batch."""

    images: UInt8[Tensor, "count 1 28 28"]  # 0 is paper, 255 is ink
    labels: Labels
    source: str  # "MNIST", or the stand-in's name

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice | list[int]) -> tuple[Images, Labels]:
        """Images of ``index`` as float32 in [-1, 1], (B, 1, 28, 28), and their labels, (B,)."""
        return to_float(self.images[index]), self.labels[index]

    @cached_property
    def digest(self) -> str:
        """A name for exactly these images and labels: two sets are the same where it is the same."""
        parts = (self.images.cpu().contiguous(), self.labels.cpu().contiguous())
        return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()[:16]

    def take(self, count: int) -> "Digits":
        """The first ``count`` digits."""
        return Digits(self.images[:count], self.labels[:count], self.source)

    def to(self, device: torch.device | str) -> "Digits":
        """The same digits on ``device``."""
        return Digits(self.images.to(device), self.labels.to(device), self.source)


def like_mnist(ink: Ink) -> Images:
    """A drawing as MNIST would hold it, (1, 1, 28, 28) in [-1, 1]; ``ink`` (H, W), 0 is paper and 1 is ink.

    The digit is cut out, fitted into 20 x 20 pixels, and placed with its centre of mass at (14, 14) (LeCun et
    al. 1998, section III.A). A model of MNIST has seen nothing else. An empty drawing stays empty.
    """
    page = torch.zeros(1, 1, 28, 28)
    rows, columns = (ink > 0.02).any(dim=1).nonzero().flatten(), (ink > 0.02).any(dim=0).nonzero().flatten()
    if len(rows) == 0:
        return page - 1
    cut = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    size = [max(1, round(20 * side / max(cut.shape))) for side in cut.shape]
    small = interpolate(cut[None, None].float(), size, mode="bilinear", antialias=True)[0, 0].clamp(0, 1)
    places = [torch.arange(side) for side in size]
    mass = [(small.sum(dim=1 - axis) @ places[axis].float() / small.sum()).item() for axis in (0, 1)]
    top, left = (min(max(0, round(14 - m)), 28 - side) for m, side in zip(mass, size, strict=True))
    page[0, 0, top : top + size[0], left : left + size[1]] = small
    return page * 2 - 1


def to_float(images: UInt8[Tensor, "*shape"]) -> Tensor:
    """Bytes 0 ... 255 to floats in [-1, 1]."""
    return images.float() / 127.5 - 1


def to_bytes(images: Tensor) -> UInt8[Tensor, "*shape"]:
    """Floats in [-1, 1] to bytes 0 ... 255; what lies outside is clipped."""
    return ((images.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)


def data_root() -> Path:
    """Where MNIST is kept: ``$DIFFUSION_DATA``, or a folder in the user's cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return Path(os.environ.get("DIFFUSION_DATA") or cache / "diffusion_lib").expanduser()


def load_digits(
    split: Split = "train", device: torch.device | str = "cpu", *, root: Path | str | None = None
) -> Digits:
    """MNIST's ``split`` (60,000 or 10,000 images), downloaded on first use; else the offline stand-in.

    A missing, broken or half-downloaded file is fetched again. Where that fails, a
    :class:`StandInWarning` says why, and the digits' ``source`` names the stand-in.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', but is {split!r}.")
    root = Path(root) if root is not None else data_root()
    try:
        return load_mnist(split, root).to(device)
    except (OSError, RuntimeError) as error:
        warnings.warn(
            f"MNIST could not be read or downloaded ({_first_line(error)}), so {STAND_IN} is used: 1,797 "
            "digits, softer than MNIST's. Results differ. Set DIFFUSION_DATA to a folder that has MNIST, "
            "or run again with a network.",
            StandInWarning,
            stacklevel=2,
        )
        return load_stand_in(split).to(device)


def load_mnist(split: Split, root: Path) -> Digits:
    """MNIST through torchvision, repaired where needed. OSError or RuntimeError where it cannot be had."""
    from filelock import FileLock
    from torchvision.datasets import MNIST  # imported here: it takes seconds, and only data needs it

    with contextlib.ExitStack() as stack:
        if _unusable(root):
            root.mkdir(parents=True, exist_ok=True)
            stack.enter_context(FileLock(root / "mnist.lock"))  # others may want it at the same time
            stack.enter_context(_timeout(DOWNLOAD_TIMEOUT))
            for path in _unusable(root):  # as it is now: another may have done it all
                path.unlink(missing_ok=True)
        data = MNIST(str(root), train=split == "train", download=True)
    return Digits(data.data[:, None].contiguous(), data.targets.long(), "MNIST")


def _unusable(root: Path) -> list[Path]:
    """MNIST's files in ``root`` that are missing or of another size than they should be."""
    paths = {root / "MNIST" / "raw" / name: size for name, size in FILE_SIZES.items()}
    return [path for path, size in paths.items() if not path.exists() or path.stat().st_size != size]


def load_stand_in(split: Split) -> Digits:
    """scikit-learn's 8x8 digits, enlarged to 20x20 and centred like MNIST's; 1,437 train and 360 test."""
    from sklearn.datasets import load_digits as load_sklearn_digits

    data = load_sklearn_digits()
    images = torch.from_numpy(data.images).float()[:, None] / 16
    images = torch.nn.functional.interpolate(images, size=(20, 20), mode="bicubic").clamp(0, 1)
    images = (torch.nn.functional.pad(images, (4, 4, 4, 4)) * 255).round().to(torch.uint8)
    keep = torch.arange(len(images)) % 5 != 0
    if split == "test":
        keep = ~keep
    return Digits(images[keep], torch.from_numpy(data.target)[keep].long(), STAND_IN)


@contextlib.contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """A default for sockets that set none themselves: a silent mirror must not hang the notebook."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(":.")
