"""Labelled images on the device, as bytes; and which images they are, said aloud.

MNIST (LeCun, Cortes and Burges; derived from NIST Special Databases 1 and 3) is the one that the series tells of.
Without a network, scikit-learn's 1,797 digits stand in for it, resized, and this is said. Other data comes by name,
or from a folder of pictures. Images are never flipped: a mirrored 2 is not a 2.
"""

import hashlib
import re
import warnings
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn.functional import interpolate

from diffusion_lib.datasets import KNOWN, DataError, Split, data_root, read
from diffusion_lib.folders import held_out, read_folder
from diffusion_lib.profiles import DataConfig
from diffusion_lib.shapes import Images, Labels

Ink = Float[Tensor, "rows columns"]
STAND_IN = "scikit-learn digits (offline stand-in for MNIST)"


class StandInWarning(UserWarning):
    """MNIST could not be had, and the offline stand-in is used."""


@dataclass(frozen=True, eq=False)
class Digits:
    """All images of one split on one device, one byte a value. Floats are made batch by batch.

    MNIST's are digits, whence the name; ``config`` says what other images are, and what their labels mean.
    """

    images: UInt8[Tensor, "count channel height width"]  # of MNIST: 0 is paper, 255 is ink
    labels: Labels
    source: str  # "MNIST", the stand-in's name, or what else they are
    config: DataConfig = field(default_factory=DataConfig)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: Tensor | slice | list[int]) -> tuple[Images, Labels]:
        """Images of ``index`` as float32 in [-1, 1], (B, C, H, W), and their labels, (B,)."""
        return to_float(self.images[index]), self.labels[index]

    @cached_property
    def digest(self) -> str:
        """A name for exactly these images and labels: two sets are the same where it is the same."""
        parts = (self.images.cpu().contiguous(), self.labels.cpu().contiguous())
        return hashlib.sha256(b"".join(part.numpy().tobytes() for part in parts)).hexdigest()[:16]

    def take(self, count: int) -> "Digits":
        """The first ``count`` images."""
        return self.where(slice(count))

    def where(self, index: Tensor | slice) -> "Digits":
        """The images of ``index``."""
        return replace(self, images=self.images[index], labels=self.labels[index])

    def to(self, device: torch.device | str) -> "Digits":
        """The same images on ``device``."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))


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


def load_digits(
    split: Split = "train", device: torch.device | str = "cpu", *, root: Path | str | None = None
) -> Digits:
    """MNIST's ``split`` (60,000 or 10,000 images), downloaded on first use; else the offline stand-in.

    A missing, broken, half-downloaded or foreign file is fetched again: the published sums tell. Where that fails,
    a :class:`StandInWarning` says why, and the digits' ``source`` names the stand-in.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', but is {split!r}.")
    try:
        return _load_known("mnist", split, root).to(device)
    except (OSError, RuntimeError) as error:
        warnings.warn(
            f"MNIST could not be read or downloaded ({_first_line(error)}), so {STAND_IN} is used: 1,797 "
            "digits, softer than MNIST's. Results differ. Set DIFFUSION_DATA to a folder that has MNIST, "
            "or run again with a network.",
            StandInWarning,
            stacklevel=2,
        )
        return load_stand_in(split).to(device)


def load_data(
    name: str,
    device: torch.device | str = "cpu",
    *,
    size: tuple[int, int] | None = None,
    root: Path | str | None = None,
) -> tuple[Digits, Digits]:
    """Training and test images of ``name``: mnist, fashion-mnist, kmnist, emnist-letters, or folder:PATH.

    A folder has one sub-folder for each class. Its images are resized to ``size``, (H, W), by default 32 x 32, and
    every fifth of each class is for testing. :class:`DataError` where the data cannot be had; MNIST has a stand-in.
    """
    if name.startswith("folder:"):
        train, test = _load_folder(name, size or (32, 32))
        return train.to(device), test.to(device)
    if name not in KNOWN:
        raise ValueError(f"unknown data {name!r}; choose one of {', '.join(KNOWN)}, folder:PATH.")
    if size not in (None, (28, 28)):
        raise ValueError(f"a size can be chosen for folder:PATH alone; {name} is 28 x 28, but {size} was asked for.")
    if name == "mnist":
        return load_digits("train", device, root=root), load_digits("test", device, root=root)
    try:
        return _load_known(name, "train", root).to(device), _load_known(name, "test", root).to(device)
    except (OSError, RuntimeError) as error:
        raise DataError(f"{KNOWN[name].title} could not be read or downloaded: {_first_line(error)}.") from error


def parse_size(text: str) -> tuple[int, int]:
    """(H, W) of "32" or "32x48", height before width."""
    found = re.fullmatch(r"([1-9]\d*)(?:x([1-9]\d*))?", text)
    if not found:
        raise ValueError(f"a size is one number, 32, or height and width, 32x48, but was {text!r}.")
    return int(found[1]), int(found[2] or found[1])


def _load_known(name: str, split: Split, root: Path | str | None) -> Digits:
    images, labels = read(KNOWN[name], split, data_root() if root is None else Path(root))
    config = DataConfig(name, size=(images.shape[2], images.shape[3]), class_names=KNOWN[name].class_names)
    loaded = Digits(images, labels, KNOWN[name].title, config)
    return loaded if bool((labels.diff() < 0).any()) else loaded.where(_mixed(labels))  # EMNIST has some class by class


def _load_folder(name: str, size: tuple[int, int]) -> tuple[Digits, Digits]:
    path = Path(name.removeprefix("folder:")).expanduser()
    images, labels, names = read_folder(path, size)
    rarest = int(labels.bincount().argmin())
    if (labels == rarest).sum() < 5:
        count = int((labels == rarest).sum())
        raise DataError(f"each class needs five images, of which one is for testing, but {names[rarest]} has {count}.")
    config = DataConfig(name, images.shape[1], size, tuple(names), ink=False)
    source, chosen = f"folder {path.resolve().name}", held_out(labels)
    splits = (Digits(images[part], labels[part], source, config) for part in (~chosen, chosen))
    train, test = (split.where(_mixed(split.labels)) for split in splits)
    return train, test


def _mixed(labels: Labels) -> Tensor:
    """A fixed order that mixes images which come class by class, for those who take the first so many.

    Two of one class stay neighbours, so that every second image is half of each class.
    """
    places = [(labels == label).nonzero().flatten() for label in labels.unique()]
    pairs = torch.cat([place[: len(place) // 2 * 2].view(-1, 2) for place in places])
    pairs = pairs[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))]
    return torch.cat([pairs.flatten(), *(place[len(place) // 2 * 2 :] for place in places)])


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


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(":.")
