"""Files of weights: whole, broken, foreign, in parts, and the shipped ones."""

import os

import pytest
import torch
from safetensors.torch import save_file

from diffusion_lib.training import checkpoints
from diffusion_lib.training.checkpoints import CheckpointError, load_model, load_tensors, save_tensors


def test_truncated_foreign_and_missing_files_are_told_apart(tmp_path):
    path = tmp_path / "a.safetensors"
    with pytest.raises(CheckpointError, match="there is no file"):
        load_tensors(path)
    save_tensors(path, {"x": torch.arange(1000.0)}, {"note": "hello"})
    tensors, info = load_tensors(path)
    assert info == {"note": "hello"}
    assert torch.equal(tensors["x"], torch.arange(1000.0))
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(CheckpointError, match=r"\(500 bytes\) is cut short.*Delete it"):
        load_tensors(path)
    path.write_bytes(b"")
    with pytest.raises(CheckpointError, match="cut short"):
        load_tensors(path)
    save_file({"x": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match="another program"):
        load_tensors(path)
    save_tensors(path, {"x": torch.zeros(3)}, {})
    with pytest.raises(CheckpointError, match="holds no UNet"):
        load_model(path)


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_tensors(path, {"x": torch.zeros(3)}, {"epoch": 1})

    def full(tensors, part, metadata):
        part.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(OSError, match=r"could not write a.safetensors.*MiB are free.*No space left.*intact"):
        save_tensors(path, {"x": torch.ones(3)}, {"epoch": 2})
    assert load_tensors(path)[1] == {"epoch": 1}
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_shipped_weights_load_with_no_argument():
    trained = checkpoints.load_pretrained()
    assert not trained.model.training
    assert len(trained.schedule) == 1000
    assert trained.card["data"] == "MNIST"
    with pytest.raises(ValueError, match=r"no shipped weights 'huge'; choose one of .*laptop"):
        checkpoints.load_pretrained("huge")


def test_weights_too_large_for_a_small_file_come_in_half_precision(tmp_path):
    trained = checkpoints.load_pretrained()
    weights, path = trained.model.state_dict(), tmp_path / "big.safetensors"
    whole = sum(weight.nbytes for weight in weights.values())
    for limit, kept in [(whole, lambda w: w), (whole - 1, lambda w: w.half().float())]:
        checkpoints.save_small(path, trained.model, trained.profile, {"note": 7}, limit)
        again = load_model(path)
        assert again.card["note"] == 7
        assert all(torch.equal(again.model.state_dict()[name], kept(weight)) for name, weight in weights.items())
