import gzip
import hashlib
import os
import shutil
import socket
import ssl
import struct
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.error import URLError

import pytest
import torch
from torchvision.datasets import MNIST

from diffusion_lib import data, datasets
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


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "diffusion_lib"


def small_files():
    """A small MNIST, packed and unpacked: {name: bytes}."""
    for split, count in COUNTS.items():
        pixels = torch.arange(count * 784).remainder(256).to(torch.uint8).view(count, 28, 28)
        yield f"{split}-images-idx3-ubyte", idx(pixels)
        yield f"{split}-labels-idx1-ubyte", idx(torch.arange(count, dtype=torch.uint8))


@pytest.fixture
def files(monkeypatch):
    """The small MNIST's files, whose sums stand for the published ones."""
    found = dict(small_files())
    packed = {name: gzip.compress(raw, mtime=0) for name, raw in found.items()}
    monkeypatch.setattr(MNIST, "resources", [(f"{n}.gz", hashlib.md5(p).hexdigest()) for n, p in packed.items()])
    monkeypatch.setattr(datasets, "MNIST_MD5", {name: hashlib.md5(raw).hexdigest() for name, raw in found.items()})
    return found


@pytest.fixture
def serve(monkeypatch):
    """Let MNIST's mirrors be this machine, where ``answer(handler)`` answers each request."""
    servers = []

    def start(*answers):
        for answer in answers:
            methods = {"do_GET": answer, "do_HEAD": answer, "log_message": lambda *_: None}
            handler = type("Handler", (BaseHTTPRequestHandler,), methods)
            servers.append(ThreadingHTTPServer(("127.0.0.1", 0), handler))
            threading.Thread(target=servers[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        monkeypatch.setattr(MNIST, "mirrors", [f"http://127.0.0.1:{server.server_port}/" for server in servers])

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def gives(content, status=200):
    """An answer with ``content(name of the file)`` in it."""

    def answer(handler):
        body = content(handler.path.strip("/").removesuffix(".gz"))
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(body)

    return answer


@pytest.fixture
def mirror(files, serve):
    """Two mirrors: the first gives halves of files, the second is good."""

    def packed(name):
        return gzip.compress(files[name], mtime=0)

    serve(gives(lambda name: packed(name)[: len(packed(name)) // 2]), gives(packed))


def put(folder, files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def check_small(digits: Digits, count: int) -> None:
    assert digits.source == "MNIST"
    assert digits.labels.tolist() == list(range(count))
    assert digits.images.flatten()[:300].tolist() == [i % 256 for i in range(300)]


def test_a_half_download_is_noticed_and_the_second_mirror_asked(mirror, tmp_path):
    check_small(load_digits("train", root=tmp_path / "cache"), 6)


BREAK = {
    "nothing": lambda raw: b"",
    "half": lambda raw: raw[: len(raw) // 2],
    "zeros": lambda raw: bytes(len(raw)),
    "zeros in its second half": lambda raw: raw[: len(raw) // 2] + bytes(len(raw) - len(raw) // 2),
    "another data set's": lambda raw: raw[:-3] + bytes(255 - value for value in raw[-3:]),
}


@pytest.mark.parametrize("how", BREAK)
@pytest.mark.parametrize("name", ["t10k-images-idx3-ubyte", "train-labels-idx1-ubyte"])
def test_a_broken_file_is_repaired(mirror, tmp_path, files, name, how):
    root = tmp_path / "cache"
    broken = put(root / "MNIST" / "raw", files) / name
    broken.write_bytes(BREAK[how](files[name]))
    check_small(load_digits("test", root=root), 4)
    check_small(load_digits("train", root=root), 6)
    assert broken.read_bytes() == files[name]


@pytest.mark.parametrize("how", BREAK)
def test_a_broken_file_that_cannot_be_repaired_is_named_and_left_alone(tmp_path, files, how):
    root = tmp_path / "mine"
    broken = put(root / "MNIST" / "raw", files) / "train-labels-idx1-ubyte"
    broken.write_bytes(BREAK[how](files[broken.name]))
    with pytest.warns(StandInWarning, match=rf"\({broken.name} is .+ in {broken.parent}, .*there is no network"):
        assert load_digits("train", root=root).source == STAND_IN
    assert broken.read_bytes() == BREAK[how](files[broken.name])
    assert {p.name for p in root.rglob("*")} == {"MNIST", "raw", *files}


def test_sums_are_taken_once_and_again_when_a_file_has_changed(tmp_path, files, cache, monkeypatch):
    root, taken = tmp_path / "mine", []
    raw, real = put(root / "MNIST" / "raw", files), hashlib.file_digest
    monkeypatch.setattr(hashlib, "file_digest", lambda file, name: taken.append(file.name) or real(file, name))
    for _ in range(3):
        check_small(load_digits("test", root=root), 4)
    assert sorted(taken) == sorted(str(raw / name) for name in files)
    os.utime(raw / "t10k-labels-idx1-ubyte", ns=(0, 0))
    check_small(load_digits("test", root=root), 4)
    assert taken[4:] == [str(raw / "t10k-labels-idx1-ubyte")]
    assert {p.name for p in root.rglob("*")} == {"MNIST", "raw", *files}  # nothing is written beside the data
    shutil.rmtree(cache.parent)
    cache.parent.write_text("no folder")  # where the cache cannot be written, sums are taken each time
    check_small(load_digits("test", root=root), 4)
    assert len(taken) == 9


@pytest.mark.parametrize("inside", ["", "MNIST", "MNIST/raw"])
def test_the_folder_may_be_named_at_any_depth(tmp_path, files, monkeypatch, inside):
    put(tmp_path / "mine" / "MNIST" / "raw", files)
    monkeypatch.setenv("DIFFUSION_DATA", str(tmp_path / "mine" / inside))
    check_small(load_digits("train"), 6)
    monkeypatch.setenv("DIFFUSION_DATA", str(put(tmp_path / "flat", files)))
    check_small(load_digits("train"), 6)


def test_a_download_goes_where_the_folder_would_be_looked_for(mirror, tmp_path, files, monkeypatch):
    for i, inside in enumerate(("", "MNIST", "MNIST/raw")):
        monkeypatch.setenv("DIFFUSION_DATA", str(tmp_path / str(i) / inside))
        check_small(load_digits("train"), 6)
        assert {p.name for p in (tmp_path / str(i)).rglob("*")} == {"MNIST", "raw", *files}


def test_packed_files_that_are_there_need_no_network(tmp_path, files):
    packed = {f"{name}.gz": gzip.compress(raw, mtime=0) for name, raw in files.items()}
    put(tmp_path / "mine" / "MNIST" / "raw", packed)
    check_small(load_digits("train", root=tmp_path / "mine"), 6)


@pytest.fixture
def public(serve):
    """The public mirrors as a server that is asked for nothing: (requests, a function that serves a class's mirror)."""
    asked = []

    def serve_class(answer):
        serve(lambda handler: asked.append(handler.path), answer)
        return MNIST.mirrors.pop()

    return asked, serve_class


@pytest.mark.parametrize("kind", ["unpacked", "packed", "both, the packed ones broken", "an address", "an address/"])
def test_a_class_takes_mnist_from_the_folder_or_the_address_that_its_teacher_names(
    public, tmp_path, files, monkeypatch, kind
):
    asked, serve_class = public
    packed = {f"{name}.gz": gzip.compress(raw, mtime=0) for name, raw in files.items()}
    address = serve_class(gives(lambda name: packed[f"{name}.gz"]))
    held = {
        "unpacked": files,
        "packed": packed,
        "both, the packed ones broken": {**dict.fromkeys(packed, b"-"), **files},
    }
    named = str(put(tmp_path / "share", held[kind])) if kind in held else address.rstrip("/") + kind[10:]
    monkeypatch.setenv("DIFFUSION_MNIST_MIRROR", named)
    check_small(load_digits("train", root=tmp_path / "cache"), 6)
    assert {p.name for p in (tmp_path / "cache").rglob("*")} == {"MNIST", "raw", *files}
    monkeypatch.setenv("DIFFUSION_MNIST_MIRROR", str(tmp_path / "gone"))
    check_small(load_digits("test", root=tmp_path / "cache"), 4)  # what is there is not fetched again
    assert asked == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda held: held.pop("train-labels-idx1-ubyte"), r"share has no train-labels-idx1-ubyte and no train-.+\.gz"),
        (lambda held: held.update({"t10k-images-idx3-ubyte": b"other"}), "t10k-images-idx3-ubyte is another file than"),
        (lambda held: held.clear() or held.update({"train-images-idx3-ubyte.gz": b"x"}), r"ubyte\.gz is another file"),
    ],
)
def test_a_class_folder_with_a_missing_or_another_file_is_told_and_no_other_place_is_asked(
    public, tmp_path, files, monkeypatch, change, words
):
    asked, serve_class = public
    serve_class(gives(lambda name: b""))
    held = dict(files)
    change(held)
    monkeypatch.setenv("DIFFUSION_MNIST_MIRROR", str(put(tmp_path / "share", held)))
    with pytest.warns(StandInWarning, match=rf"\(asked as DIFFUSION_MNIST_MIRROR says: .*{words}"):
        load_digits("train", root=tmp_path / "cache")
    assert asked == []
    assert not (tmp_path / "cache").exists()


def test_a_class_mirror_that_refuses_is_told_and_no_other_place_is_asked(public, tmp_path, files, monkeypatch):
    asked, serve_class = public
    monkeypatch.setenv("DIFFUSION_MNIST_MIRROR", serve_class(gives(lambda name: b"", 429)))
    with pytest.warns(StandInWarning, match=r"DIFFUSION_MNIST_MIRROR says: .*too many ask at once \(429\)"):
        load_digits("train", root=tmp_path / "cache")
    assert asked == []


PAGE = b"\n<!DOCTYPE html><html>Please sign in</html>"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (gives(lambda name: b"", 403), r"refused it \(403, forbidden\)"),
        (gives(lambda name: b"", 407), r"the proxy asks for a name and a password \(407\)"),
        (gives(lambda name: b"", 429), r"too many ask at once \(429\)"),
        (gives(lambda name: b"", 404), r"no longer has it \(404\)"),
        (gives(lambda name: PAGE), "a web page came instead of the file: the network may ask you to sign in"),
        (gives(lambda name: gzip.compress(b"half")[:9]), "cut short or changed on its way"),
    ],
)
def test_a_download_that_fails_says_why_and_where_files_belong(files, serve, tmp_path, answer, words):
    serve(answer)
    root = tmp_path / "mine"
    with pytest.warns(StandInWarning, match=words + ".*train-labels-idx1-ubyte.*looked for in .*/mine/MNIST/raw"):
        load_digits("train", root=root)
    assert not root.exists()


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (URLError(ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] self-signed")), "not trusted"),
        (URLError(OSError("Tunnel connection failed: 407 Proxy Authentication Required")), "the proxy asks"),
        (URLError(socket.gaierror(-2, "Name or service not known")), "there is no network"),
        (TimeoutError("The read operation timed out"), "did not answer in time"),
        (OSError(28, "No space left on device"), "the disk is full"),
        (RuntimeError("Error downloading a.gz:\nTried http://a/, got:\nsomething new"), "something new"),
    ],
)
def test_what_went_wrong_is_told_in_words(error, words, tmp_path):
    assert words in datasets.reason(error, tmp_path)


def test_several_at_once_download_one_after_another(mirror, tmp_path):
    with warnings.catch_warnings(), ThreadPoolExecutor(8) as pool:
        warnings.simplefilter("error", StandInWarning)
        for both in pool.map(lambda _: [load_digits(s, root=tmp_path / "cache") for s in ("train", "test")], range(8)):
            check_small(both[0], 6)
            check_small(both[1], 4)


@pytest.mark.parametrize(
    "change", [lambda raw: raw[:-1], lambda raw: raw + b"0", lambda raw: raw[:10], lambda raw: b""]
)
def test_a_file_of_the_wrong_length_is_noticed_without_a_sum(tmp_path, change):
    for name, raw in small_files():
        path = tmp_path / name
        path.write_bytes(raw)
        assert datasets.fault(path) == ""
        path.write_bytes(change(raw))
        assert datasets.fault(path) == f"{name} is cut short, or no idx file"
