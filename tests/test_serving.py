"""One machine of a room gives MNIST to the others, which check what they get."""

import gzip
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import pytest
from test_data import cache, check_small, files, put  # noqa: F401
from torchvision.datasets import MNIST

from diffusion_lib.data import STAND_IN, StandInWarning, load_digits
from diffusion_lib.serving import own_address, packed_files, server


@pytest.fixture
def teacher(files, tmp_path, monkeypatch):  # noqa: F811
    """Serve the teacher's folder, changed or not, and let a class take MNIST from it: (address, what was asked)."""
    started = []
    monkeypatch.setattr(MNIST, "mirrors", [])  # nobody else is asked

    def serve(change=lambda held: held):
        asked = []
        held = change(packed_files(put(tmp_path / "teacher" / "MNIST" / "raw", files).parents[1]))
        started.append(server(held, "127.0.0.1", tell=asked.append))
        threading.Thread(target=started[-1].serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        address = f"http://127.0.0.1:{started[-1].server_port}"
        monkeypatch.setenv("DIFFUSION_MNIST_MIRROR", address)
        return address, asked

    yield serve
    for each in started:
        each.shutdown()
        each.server_close()


def test_a_student_gets_mnist_from_the_teachers_machine(teacher, tmp_path, files):  # noqa: F811
    _, asked = teacher()
    check_small(load_digits("train", root=tmp_path / "student"), 6)
    check_small(load_digits("test", root=tmp_path / "student"), 4)
    for name in files:
        assert (tmp_path / "student" / "MNIST" / "raw" / name).read_bytes() == files[name]
    assert {line.split()[2] for line in asked} == {f"/{name}.gz" for name in files}


def test_the_packing_may_be_any_but_not_what_is_inside(teacher, tmp_path, files):  # noqa: F811
    teacher(lambda held: {name: gzip.compress(gzip.decompress(body), 1, mtime=9) for name, body in held.items()})
    check_small(load_digits("train", root=tmp_path / "student"), 6)


def test_another_file_of_the_right_form_is_refused_by_the_student(teacher, tmp_path, files):  # noqa: F811
    other = files["train-images-idx3-ubyte"]
    teacher(lambda held: held | {"train-images-idx3-ubyte.gz": gzip.compress(other[:-1] + bytes([other[-1] ^ 1]))})
    with pytest.warns(StandInWarning, match="train-images-idx3-ubyte is another file than the published one"):
        assert load_digits("train", root=tmp_path / "student").source == STAND_IN
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize("path", ["", "train-images-idx3-ubyte", "../teacher/MNIST/raw/x", "%2e%2e/etc/passwd", "x.gz"])
def test_nothing_else_is_served(teacher, path):
    address, _ = teacher()
    with pytest.raises(urllib.error.HTTPError) as told:
        urllib.request.urlopen(f"{address}/{path}")
    assert told.value.code == 404


def test_the_command_prints_the_line_to_set_and_answers(mnist, tmp_path):
    command = [sys.executable, "-m", "diffusion_lib", "serve-data", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving:
        try:
            lines = [serving.stdout.readline(), serving.stdout.readline()]
            address = re.fullmatch(r"DIFFUSION_MNIST_MIRROR=(http://127\.0\.0\.1:\d+)\n", lines[1])
            with urllib.request.urlopen(f"{address[1]}/t10k-labels-idx1-ubyte.gz") as answer:
                labels = gzip.decompress(answer.read())[8:]
            assert list(labels) == mnist["test"].labels.tolist()
        finally:
            serving.terminate()


def test_the_address_that_is_told_is_this_machines():
    assert re.fullmatch(r"(\d+\.){3}\d+", own_address())
