import gzip
import hashlib
import struct
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest
import torch
from torchvision.datasets import MNIST

from diffusion_lib import data
from diffusion_lib.data import STAND_IN, Digits, StandInWarning, load_digits, to_bytes, to_float

COUNTS = {"train": 6, "t10k": 4}


def test_mnist_is_whole_and_upright(mnist):
    train, test = mnist["train"], mnist["test"]
    assert (len(train), len(test)) == (60_000, 10_000)
    assert train.images.shape == (60_000, 1, 28, 28)
    assert train.labels.bincount().tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    ones = train.images[train.labels == 1].float().mean(dim=(0, 1))
    column = (ones * torch.arange(28)).sum(dim=1) / ones.sum(dim=1)
    assert column[6] > column[20] + 2  # a 1 leans to the right: not flipped, in either direction


def test_digits_live_in_minus_one_to_one(stand_in):
    x, label = stand_in[:32]
    assert x.shape == (32, 1, 28, 28)
    assert x.dtype == torch.float32
    assert label.dtype == torch.int64
    assert x.min() == -1
    assert 0.9 < x.max() <= 1
    every_byte = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_bytes(to_float(every_byte)), every_byte)
    assert to_bytes(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_the_stand_in_has_every_digit_and_no_image_in_both_splits():
    train, test = data.load_stand_in("train"), data.load_stand_in("test")
    assert len(train) + len(test) == 1797
    assert train.labels.unique().tolist() == test.labels.unique().tolist() == list(range(10))
    assert torch.cdist(test.images.float().flatten(1), train.images.float().flatten(1)).min() > 0


def test_without_a_network_the_stand_in_is_used_and_says_so(tmp_path):
    with pytest.warns(StandInWarning, match=r"MNIST could not be read or downloaded \(.+\), so scikit-learn digits"):
        digits = load_digits("test", root=tmp_path)
    assert digits.source == STAND_IN


def test_an_unknown_split_is_refused():
    with pytest.raises(ValueError, match="'train' or 'test', but is 'validation'"):
        load_digits.__wrapped__("validation")


def idx(array: torch.Tensor) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.numpy().tobytes()


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """Two mirrors on this machine with a small MNIST: the first gives halves of files, the second is good."""
    sizes, resources = {}, []
    for folder in ("bad", "good"):
        (tmp_path / folder).mkdir()
    for split, count in COUNTS.items():
        for kind, array in (
            ("images-idx3", torch.arange(count * 784).remainder(256).to(torch.uint8).view(count, 28, 28)),
            ("labels-idx1", torch.arange(count, dtype=torch.uint8)),
        ):
            name, raw = f"{split}-{kind}-ubyte", idx(array)
            packed = gzip.compress(raw, mtime=0)
            (tmp_path / "good" / f"{name}.gz").write_bytes(packed)
            (tmp_path / "bad" / f"{name}.gz").write_bytes(packed[: len(packed) // 2])
            sizes[name] = len(raw)
            resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    handler.log_message = lambda *args: None
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(MNIST, "mirrors", [f"{base}/bad/", f"{base}/good/"])
    monkeypatch.setattr(MNIST, "resources", resources)
    monkeypatch.setattr(data, "FILE_SIZES", sizes)
    yield
    server.shutdown()
    server.server_close()


def check_small(digits: Digits, count: int) -> None:
    assert digits.source == "MNIST"
    assert digits.labels.tolist() == list(range(count))
    assert digits.images.flatten()[:300].tolist() == [i % 256 for i in range(300)]


def test_a_half_download_is_noticed_and_the_second_mirror_asked(mirror, tmp_path):
    check_small(load_digits("train", root=tmp_path / "cache"), 6)


@pytest.mark.parametrize("size", [0, 1000])
def test_a_broken_file_is_repaired(mirror, tmp_path, size):
    root = tmp_path / "cache"
    load_digits("train", root=root)
    broken = root / "MNIST" / "raw" / "t10k-images-idx3-ubyte"
    broken.write_bytes(broken.read_bytes()[:size])
    check_small(load_digits("test", root=root), 4)


def test_several_at_once_download_one_after_another(mirror, tmp_path):
    with warnings.catch_warnings(), ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("error", StandInWarning)
        for both in pool.map(lambda _: [load_digits(s, root=tmp_path / "cache") for s in ("train", "test")], range(8)):
            check_small(both[0], 6)
            check_small(both[1], 4)
