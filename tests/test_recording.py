"""What the grader keeps between two runs is what it would make: other code, other file."""

import pytest
import torch
from torch.testing import assert_close

from grader import recording

NAME = "timestep_embedding"


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """The folder of kept records, empty, and what was made anew."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    made, make = [], recording.make_record
    monkeypatch.setattr(recording, "make_record", lambda names, key: made.append((*names, key)) or make(names, key))
    return tmp_path / "diffusion_lib" / "records", made


def kept(key=0):
    return recording.kept_record([NAME], key)[NAME]


def test_a_record_is_made_once_and_is_the_same(cached):
    first, again = kept(), kept()
    assert cached[1] == [(NAME, 0)]
    for name in ("accepted", "singles", "pairs"):
        assert_close(getattr(again, name), getattr(first, name), equal_nan=True)
    for name in ("cases", "shapes", "mistakes", "single_names", "pair_names"):
        assert getattr(again, name) == getattr(first, name)


def test_another_key_is_another_record(cached):
    assert not torch.equal(kept(0).accepted, kept(1).accepted)
    assert torch.equal(kept(0).accepted, kept(0).accepted)
    assert cached[1] == [(NAME, 0), (NAME, 1)]


def test_changed_code_makes_it_anew_and_the_old_one_goes(cached, monkeypatch):
    kept()
    monkeypatch.setattr(recording, "_code", lambda: "changed")
    kept()
    assert cached[1] == [(NAME, 0)] * 2
    assert [path.name for path in cached[0].iterdir()] == [f"{NAME}-0-changed.safetensors"]


def test_the_hash_is_of_library_grader_and_torch(tmp_path, monkeypatch):
    """Every file of code counts, its name as well, and nothing else does."""
    library, package = tmp_path / "diffusion_lib", tmp_path / "grader"
    for name in ("diffusion_lib/unet.py", "grader/recording.py", "grader/catalogue/mistakes.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("1")
    monkeypatch.setattr(recording, "tree", lambda: tmp_path)
    monkeypatch.setattr(recording, "__file__", str(package / "recording.py"))
    seen = {recording._code.__wrapped__()}
    for change in (
        lambda: (library / "unet.py").write_text("2"),
        lambda: (package / "catalogue" / "mistakes.py").write_text("2"),
        lambda: (package / "catalogue" / "mistakes.py").rename(package / "catalogue" / "others.py"),
        lambda: monkeypatch.setattr(torch, "__version__", "0"),
    ):
        change()
        assert recording._code.__wrapped__() not in seen
        seen.add(recording._code.__wrapped__())
    (library / "notes.txt").write_text("no code")
    assert recording._code.__wrapped__() in seen


@pytest.mark.parametrize("spoil", [lambda path: path.write_bytes(b"torn"), lambda path: path.write_bytes(b"")])
def test_a_torn_file_is_made_anew(cached, spoil):
    kept()
    [path] = cached[0].iterdir()
    spoil(path)
    assert kept().cases
    assert cached[1] == [(NAME, 0)] * 2


def test_where_nothing_can_be_kept_it_is_made_every_time(cached, tmp_path):
    (tmp_path / "diffusion_lib").write_text("a file where the folder should be")
    assert kept().cases == kept().cases
    assert cached[1] == [(NAME, 0)] * 2
