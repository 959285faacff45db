"""What the benchmarks compare with must compute the same."""

import json
import sys
from types import SimpleNamespace

import pytest
import torch
from conftest import ROOT

from diffusion_lib.profiles import PROFILES
from diffusion_lib.training import load_snapshots
from diffusion_lib.unet import UNet

sys.path.insert(0, str(ROOT / "benchmarks"))


def test_the_plain_network_is_numerically_ours():
    from plain import PlainAttention, check_equal, plain_unet

    assert check_equal(PROFILES["laptop"].unet) < 1e-4
    plain = plain_unet(PROFILES["tiny"].unet)
    assert isinstance(plain.middle1.transformer.cross_attention, PlainAttention)


def test_a_contender_steps_in_a_process_of_its_own_and_says_its_size():
    import bench

    found = bench.race("tiny", 16, 2, ["ours", "plain"])
    seconds, size = found["ours"]
    assert len(seconds) == 2
    assert min(seconds) > 0
    assert size["parameters"] == sum(p.numel() for p in UNet(PROFILES["tiny"].unet).parameters())
    assert found["plain"][1]["flops"] > size["flops"] > 1e6  # ours upsamples with fewer products
    assert bench.gpu_lines() if torch.cuda.is_available() else "none at hand" in "".join(bench.gpu_lines())
    with pytest.raises(RuntimeError, match="nobody ended before ready"):
        bench.Contender("nobody", "tiny", 16)


def test_that_comparison_can_fail(monkeypatch):
    import plain

    right = plain.PlainAttention.forward
    monkeypatch.setattr(plain.PlainAttention, "forward", lambda self, x, context=None: 1.01 * right(self, x, context))
    assert plain.check_equal(PROFILES["tiny"].unet) > 1e-4
    assert torch.is_grad_enabled()


def test_memorisation_is_told_as_measured():
    import memorisation

    numbers = json.loads(memorisation.NUMBERS.read_text(encoding="utf-8"))
    rows, table = numbers["rows"], memorisation.TABLE.read_text(encoding="utf-8")
    assert table.startswith(memorisation.head(numbers))
    assert [memorisation.line(row) in table for row in rows] == [True] * len(memorisation.SIZES)
    kept = load_snapshots("memorisation")
    assert list(kept) == [row["digits"] for row in rows] == list(memorisation.SIZES)
    assert {len(images) for images in kept.values()} == {3 * memorisation.SHOWN}


def test_two_networks_are_compared_from_the_same_noise():
    import memorisation

    ours = torch.arange(6.0).view(6, 1, 1, 1)
    assert memorisation.apart(ours, ours) == 0
    assert memorisation.apart(ours, ours + 0.5) == pytest.approx(0.5 / 0.5)  # of a neighbour: 1 - 0.5
    assert memorisation.apart(ours, ours.roll(-1, dims=0)) > 1


def test_memorisation_keeps_each_size_and_writes_when_all_are_there(tmp_path, monkeypatch):
    import memorisation

    measured = []

    def cheap(size, steps, *data):
        measured.append((size, steps))
        keys = ("loss", "held_out", "exact_loss", "exact_held_out", "nearest", "real_nearest", "copies", "real_copies")
        return {"digits": size, **dict.fromkeys((*keys, "apart", "cpu_seconds"), 0.5)}, torch.zeros(3, 1, 28, 28)

    for name in ("RUNS", "TABLE", "NUMBERS", "SAMPLES"):
        monkeypatch.setattr(memorisation, name, tmp_path / name)
    monkeypatch.setattr(memorisation, "measured", cheap)
    monkeypatch.setattr(memorisation, "load_data", lambda *_: (SimpleNamespace(source="MNIST"), None))

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["memorisation.py", *arguments])
        memorisation.main()

    run("--steps", "7", "--sizes", "100", "10")
    assert measured == [(100, 7), (10, 7)]
    assert not (tmp_path / "NUMBERS").exists()
    run("--steps", "7")
    assert measured[2:] == [(1000, 7), (10_000, 7)]
    numbers = json.loads((tmp_path / "NUMBERS").read_text())
    assert [row["digits"] for row in numbers["rows"]] == list(memorisation.SIZES)
    assert "7 steps of 32 images" in (tmp_path / "TABLE").read_text()
    assert numbers["command"].endswith("--steps 7")
    run("--steps", "8", "--sizes", "10")
    assert measured[4:] == [(10, 8)]
