"""Where images come from: files found, verified, downloaded and read. What a student reads is data.py.

torchvision knows the addresses and the formats. Here is what it leaves out: the sums of unpacked files, which of two
folders holds them, and the reason in words where a download fails.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import socket
import string
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import torch
from jaxtyping import UInt8
from torch import Tensor

from diffusion_lib.shapes import Labels

Split = Literal["train", "test"]
Bytes = UInt8[Tensor, "count channel height width"]
DOWNLOAD_TIMEOUT = 20.0  # seconds without a byte before a mirror is given up
# Sums of the unpacked files: those of `gunzip` on the four published .gz files, whose own sums are torchvision's
# MNIST.resources (f68b3c2d..., d53e105e..., 9fb629c4..., ec29112d...).
MNIST_MD5 = {
    "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
    "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
    "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
    "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
}


class DataError(RuntimeError):
    """A data set that cannot be had; the message says why, and where its files are looked for."""


@dataclass(frozen=True)
class Known:
    """A data set that torchvision knows, all of it grey and 28 x 28."""

    title: str
    torchvision: str  # the class
    class_names: tuple[str, ...]
    prefixes: dict[str, str] = field(default_factory=lambda: {"train": "train", "test": "t10k"})
    options: dict[str, Any] = field(default_factory=dict)
    first_label: int = 0
    transposed: bool = False

    @property
    def files(self) -> list[str]:
        """The four files' names."""
        return [f"{p}-{kind}-ubyte" for p in self.prefixes.values() for kind in ("images-idx3", "labels-idx1")]


CLOTHES = ("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot")
SYLLABLES = ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")
KNOWN = {
    "mnist": Known("MNIST", "MNIST", tuple(string.digits)),
    "fashion-mnist": Known("Fashion-MNIST", "FashionMNIST", CLOTHES),
    "kmnist": Known("KMNIST", "KMNIST", SYLLABLES),
    "emnist-letters": Known(
        "EMNIST letters", "EMNIST", tuple(string.ascii_lowercase),
        {split: f"emnist-letters-{split}" for split in ("train", "test")}, {"split": "letters"},
        first_label=1, transposed=True,  # labels are 1 ... 26, and rows are written where columns belong
    ),
}  # fmt: skip


def cache_root() -> Path:
    """The library's folder in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "diffusion_lib"


def data_root() -> Path:
    """Where data sets are kept: ``$DIFFUSION_DATA``, or the cache."""
    return Path(os.environ.get("DIFFUSION_DATA") or cache_root()).expanduser()


def mirror(known: Known) -> str:
    """``$DIFFUSION_MNIST_MIRROR``: the one folder or address that a class takes MNIST's files from; "" without."""
    return os.environ.get("DIFFUSION_MNIST_MIRROR", "") if known is KNOWN["mnist"] else ""


def read(known: Known, split: Split, root: Path) -> tuple[Bytes, Labels]:
    """One split of a known data set, downloaded where need be. :class:`DataError` where it cannot be had."""
    from torchvision import datasets  # imported here: it takes seconds, and only data needs it

    place = whole(known, root) or download(known, root)
    made = getattr(datasets, known.torchvision)
    there = type(known.torchvision, (made,), {"raw_folder": str(place), "processed_folder": ""})
    data = there(place, train=split == "train", **known.options)
    images, labels = data.data[:, None], data.targets.long() - known.first_label
    if len(images) != len(labels) or labels.min() < 0 or labels.max() >= len(known.class_names):
        raise DataError(f"the files in {place} are not those of {known.title}: images and labels do not fit")
    return (images.transpose(2, 3) if known.transposed else images).contiguous(), labels


def places(known: Known, root: Path) -> list[Path]:
    """Folders that may hold the files, the usual one first: ``root`` may be the data's root, NAME/, or NAME/raw."""
    names = {k.torchvision for k in KNOWN.values()}
    base = root.parent if root.name == "raw" and root.parent.name in names else root
    base = base.parent if base.name in names else base
    usual = [base / known.torchvision / "raw", cache_root() / known.torchvision / "raw"]
    # Only MNIST's files are known by their sums: others of the same names must lie in a folder of their own.
    return [usual[0], root / "raw", root, usual[1]] if known is KNOWN["mnist"] else usual


def whole(known: Known, root: Path) -> Path | None:
    """The first of the places whose four files are all in order."""
    return next((place for place in places(known, root) if not faults(known, place)), None)


def faults(known: Known, place: Path) -> list[str]:
    """What is wrong with the four files in ``place``, in words."""
    sums = MNIST_MD5 if known is KNOWN["mnist"] else {}
    told = (fault(place / name, sums.get(name)) for name in known.files)
    return [words for words in told if words]


def fault(path: Path, md5: str | None = None) -> str:
    """What is wrong with an idx file, in words; empty where nothing is."""
    if not path.is_file():
        return f"{path.name} is missing"
    with path.open("rb") as file:
        head = file.read(16)
    axes = head[3] if head[:3] == b"\0\0\x08" and len(head) > 3 else 0
    lengths = [int.from_bytes(head[4 * i : 4 * i + 4], "big") for i in range(1, axes + 1)]
    if axes != (3 if "idx3" in path.name else 1) or path.stat().st_size != 4 + 4 * axes + torch.Size(lengths).numel():
        return f"{path.name} is cut short, or no idx file"
    return "" if md5 is None or _verified(path, md5) else f"{path.name} is another file than the published one"


def _verified(path: Path, md5: str) -> bool:
    """Whether the file has this sum, remembered in the cache until its size or its time changes."""
    stamps, key = cache_root() / "verified.json", str(path.resolve())
    now = [path.stat().st_size, path.stat().st_mtime_ns, md5]
    known: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        known = json.loads(stamps.read_text())
    if known.get(key) == now:
        return True
    if not _has_sum(path, md5):
        return False
    with contextlib.suppress(OSError):  # where the cache cannot be written, the file is read again next time
        write_whole(stamps, json.dumps({**known, key: now}).encode())
    return True


def _has_sum(path: Path, md5: str) -> bool:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest() == md5


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step: others see the old one or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_bytes(content)
    os.replace(part, path)


def download(known: Known, root: Path) -> Path:
    """Fetch the four files beside everything else; only whole ones are moved to their place, which is returned."""
    from filelock import FileLock

    cache_root().mkdir(parents=True, exist_ok=True)
    lock = FileLock(cache_root() / f"{known.torchvision}.lock")  # others may want them at the same time
    with lock, _timeout(DOWNLOAD_TIMEOUT), TemporaryDirectory(prefix="download-", dir=cache_root()) as folder:
        place = whole(known, root)
        if place is None:
            _fetch(known, root, Path(folder))
            usual, *_, cached = places(known, root)
            place = usual if _writable(usual) else cached
            for name in known.files:
                write_whole(place / name, (Path(folder) / name).read_bytes())
    return place


def _fetch(known: Known, root: Path, folder: Path) -> None:
    """Download and unpack into ``folder``, through torchvision; packed files that are there already are used."""
    from torchvision import datasets

    usual, chosen = places(known, root)[0], mirror(known)
    made = getattr(datasets, known.torchvision)
    here: dict[str, Any] = {"raw_folder": str(folder)}
    try:
        if "://" in chosen:  # packed anew, perhaps: what counts is the sum of what is inside
            here |= {"mirrors": [chosen.rstrip("/") + "/"], "resources": [(name, None) for name, _ in made.resources]}
        elif chosen:
            _copy(Path(chosen).expanduser(), folder, MNIST_MD5 | dict(made.resources))
        else:
            for packed in [*usual.glob("*.gz"), *usual.glob("*.zip")]:
                shutil.copy(packed, folder)
        type(known.torchvision, (made,), here)(folder, download=True, **known.options)
        sums = MNIST_MD5 if "://" in chosen else {}
        wrong = (name for name, md5 in sums.items() if not _has_sum(folder / name, md5))
        told = (words for name in known.files if (words := fault(folder / name)))
        why = next(told, "") or next((f"{name} is another file than the published one" for name in wrong), "")
    except Exception as error:  # of many kinds: sockets, zlib, zipfile, torchvision's own asserts
        why = reason(error, folder)
    if why:
        there = [p for p in places(known, root) if any((p / name).exists() for name in known.files)]
        broken = f"{faults(known, there[0])[0]} in {there[0]}, and a new one cannot be had: " if there else ""
        asked = "asked as DIFFUSION_MNIST_MIRROR says: " if chosen else ""
        raise DataError(f"{broken}{asked}{why}; its files, {', '.join(known.files)}, are looked for in {usual}")


def _copy(source: Path, folder: Path, sums: dict[str, str]) -> None:
    """MNIST's four files from a class's folder, unpacked or else packed, into ``folder``, each if its sum is right."""
    for name in MNIST_MD5:
        found = next((source / n for n in (name, f"{name}.gz") if (source / n).is_file()), None)
        if found is None:
            raise DataError(f"{source} has no {name} and no {name}.gz")
        if not _verified(found, sums[found.name]):
            raise DataError(f"{found} is another file than the published one")
        shutil.copy(found, folder)


def reason(error: Exception, folder: Path) -> str:
    """Why a download failed, in words."""
    packed = [*folder.glob("*.gz"), *folder.glob("*.zip")]
    if any(path.read_bytes()[:512].lstrip()[:1] == b"<" for path in packed):
        return "a web page came instead of the file: the network may ask you to sign in first"
    text = f"{type(error).__name__}: {error}"
    for pattern, words in REASONS.items():
        if re.search(pattern, text):
            return words
    lines = [line for line in str(error).splitlines() if not line.startswith(("Error downloading", "Tried"))]
    return (lines or [type(error).__name__])[0].strip().rstrip(":.")


REASONS = {
    r"\b407\b": "the proxy asks for a name and a password (407)",
    r"\b403\b": "the server or a proxy refused it (403, forbidden)",
    r"CERTIFICATE_VERIFY_FAILED": "the server's certificate is not trusted: a proxy may stand between, "
    "whose certificate SSL_CERT_FILE has to name",
    r"\b429\b": "the server says that too many ask at once (429): wait a few minutes, or name a folder in "
    "DIFFUSION_MNIST_MIRROR",
    r"\b404\b": "the server no longer has it (404)",
    r"No space left": "the disk is full",
    r"corrupted|EOFError|BadGzipFile": "the download was cut short or changed on its way",
    r"timed out": "the server did not answer in time",
    r"urlopen error|Remote end closed|ConnectionReset": "there is no network, or it does not lead to the server",
}


def _writable(place: Path) -> bool:
    return os.access(next(p for p in [place, *place.parents] if p.exists()), os.W_OK)


@contextlib.contextmanager
def _timeout(seconds: float) -> Iterator[None]:
    """Sockets opened inside give up after ``seconds`` of silence."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
