"""Two processes over gloo against one: the same losses and weights, and a run that any number of them continues."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from test_training import PROFILE, RUN

from diffusion_lib.data import load_stand_in
from diffusion_lib.training.history import History
from diffusion_lib.training.loop import fit
from diffusion_lib.training.processes import Team

BIG = replace(PROFILE, train=replace(PROFILE.train, max_images=256, timestep_sampling="amplitude"))


def train_by_two(folder, digits, dies_after, tmp_path):
    """Train BIG by two processes; the first kills itself after an epoch."""
    torch.save(digits, tmp_path / "digits")
    script = tmp_path / "run.py"
    script.write_text(RUN)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    arguments = [str(script), str(folder), json.dumps(BIG.to_dict()), str(tmp_path / "digits"), str(dies_after)]
    return subprocess.run([*torchrun, *arguments], capture_output=True, text=True)


def losses(folder):
    return [(e["epoch"], e["train_loss"], e["held_out_loss"]) for e in History.read(folder / "history.jsonl").epochs]


def test_two_processes_follow_one_and_continue_its_run_and_one_continues_theirs(stand_in, tmp_path):
    """One process trains an epoch, two the next and are killed, one the last: the same as one that trains all."""
    test, one, two = load_stand_in("test").take(50), tmp_path / "one", tmp_path / "two"

    def keep_the_first(trainer):
        if trainer.epoch == 1:
            shutil.copytree(one, two)

    fit(BIG, stand_in, test, run_dir=one, device="cpu", progress=False, on_epoch=keep_the_first)
    broken = train_by_two(two, (stand_in, test), 2, tmp_path)
    assert broken.stdout == "epoch 2\n", broken.stderr  # only the first process tells
    assert broken.returncode != 0
    told = []
    fit(BIG, stand_in, test, run_dir=two, device="cpu", progress=False, on_epoch=lambda t: told.append(t.epoch))
    assert told == [3]

    expected, found = (torch.tensor(losses(tmp_path / name)) for name in ("one", "two"))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
    expected, found = (load_file(tmp_path / name / "epoch_3.safetensors") for name in ("one", "two"))
    assert expected.keys() == found.keys()
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-3, atol=1e-4)


def test_shares_are_the_batch_and_an_uneven_one_is_refused():
    batch = torch.arange(6)
    shares = [Team(rank, 3).share(batch) for rank in range(3)]
    assert sorted(torch.cat(shares).tolist()) == batch.tolist()
    with pytest.raises(ValueError, match="a batch of 64 cannot be shared evenly by 3 processes"):
        Team(0, 3).check(64)


def test_a_mean_is_over_the_processes(monkeypatch):
    monkeypatch.setattr("torch.distributed.all_reduce", lambda value: value.add_(7.0))  # what the two others have
    assert Team(1, 3).mean(torch.tensor(2.0)) == 3
    assert Team().mean(torch.tensor(2.0)) == 2
