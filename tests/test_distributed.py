"""Two processes over gloo against one: the same losses and weights, and a run that any number of them continues."""

import json
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from test_training import PROFILE, RUN

from diffusion_lib.distributed import Team
from diffusion_lib.history import History

BIG = replace(PROFILE, train=replace(PROFILE.train, max_images=256, levels="amplitude"))


def start(tmp_path, name, processes, dies_after=None):
    """Train BIG in a folder of its own, by one process or by several; the first may die after an epoch."""
    script = tmp_path / "run.py"
    script.write_text(RUN)
    alone = [sys.executable]
    torchrun = [*alone, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    arguments = [str(script), str(tmp_path / name), json.dumps(BIG.to_dict()), str(dies_after)]
    command = [*(alone if processes == 1 else torchrun), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def losses(folder):
    return [(e["epoch"], e["train_loss"], e["held_out_loss"]) for e in History.read(folder / "history.jsonl").epochs]


def test_two_processes_follow_one_and_continue_a_killed_run(tmp_path):
    one, broken = start(tmp_path, "one", 1), start(tmp_path, "two", 2, dies_after=1)
    assert broken.communicate(timeout=120)[0] == "epoch 1\n"  # only the first process tells
    assert broken.returncode != 0
    assert one.communicate(timeout=120)[0].split() == ["epoch", "1", "epoch", "2", "epoch", "3"]
    out, errors = start(tmp_path, "two", 2).communicate(timeout=120)
    assert out.endswith("epoch 3\n"), errors
    assert "epoch 1" not in out

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
