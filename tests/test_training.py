import json
import os
import signal
from dataclasses import replace

import pytest
import torch
from conftest import ROOT
from safetensors.torch import load_file
from warm import python

from diffusion_lib.data import load_stand_in
from diffusion_lib.predictions import prediction_loss
from diffusion_lib.profiles import PROFILES, Profile
from diffusion_lib.schedules import amplitude_weights
from diffusion_lib.training.checkpoints import CheckpointError, load_tensors
from diffusion_lib.training.history import History
from diffusion_lib.training.loop import Trainer, fit
from diffusion_lib.training.recipe import held_out_loss
from diffusion_lib.training.resuming import difference

TINY = PROFILES["tiny"]
PROFILE = replace(TINY, train=replace(TINY.train, epochs=3, max_images=128, label_dropout=0.2, snapshot_epochs=(1, 3)))
CPU = torch.device("cpu")
RUN = """
import json, os, signal, sys, torch
from diffusion_lib.training.loop import fit
from diffusion_lib.profiles import Profile
folder, profile, digits, *dies_after = sys.argv[1:]
train, test = torch.load(digits, weights_only=False)  # to load them anew imports much
def told(trainer):
    print("epoch", trainer.epoch, flush=True)
    if dies_after == [str(trainer.epoch)]:
        os.kill(os.getpid(), signal.SIGKILL)
profile = Profile.from_dict(json.loads(profile))
fit(profile, train, test, run_dir=folder, on_epoch=told, progress=False)
"""
DIES = """
import os, signal
from diffusion_lib.training.loop import Trainer
update, count = Trainer.update, 0
def dies_in_its_6th_step(self, loss):
    global count
    count += 1
    if count == 6:
        os.kill(os.getpid(), signal.SIGKILL)
    return update(self, loss)
Trainer.update = dies_in_its_6th_step
"""


@pytest.fixture(scope="module")
def few(stand_in):
    """Held-out images for runs whose held-out loss is not asked: more of them take longer than the training."""
    return stand_in.take(50)


def with_levels(levels):
    return replace(PROFILE, train=replace(PROFILE.train, timestep_sampling=levels))


@pytest.mark.parametrize("muon_rate", [None, 1e-2])
def test_a_killed_run_continues_bit_for_bit(stand_in, tmp_path, muon_rate):
    profile = replace(PROFILE, train=replace(PROFILE.train, max_images=256, muon_rate=muon_rate))  # 4 steps an epoch
    test = load_stand_in("test").take(50)
    torch.save((stand_in, test), tmp_path / "digits")

    def start(folder, script=RUN):
        arguments = (folder, json.dumps(profile.to_dict()), tmp_path / "digits")
        return python("-c", script, *arguments, cwd=ROOT, env=os.environ)

    fit(profile, stand_in, test, run_dir=tmp_path / "whole", device="cpu", progress=False)

    broken = start(tmp_path / "broken", DIES + RUN)
    assert broken.stdout == "epoch 1\n"
    assert broken.returncode == -signal.SIGKILL
    with (tmp_path / "broken" / "history.jsonl").open("a") as file:
        file.write('{"kind": "steps", "epoch": 2, "st')  # a line that the kill cut short
    resumed = start(tmp_path / "broken").stdout
    assert resumed.endswith("epoch 3\n")
    assert "epoch 1" not in resumed

    for name in ("checkpoint", "epoch_1", "epoch_3"):
        a, b = (load_file(tmp_path / run / f"{name}.safetensors") for run in ("whole", "broken"))
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), name
    histories = [History.read(tmp_path / run / "history.jsonl") for run in ("whole", "broken")]
    losses = [[(e["epoch"], e["train_loss"], e["held_out_loss"]) for e in h.epochs] for h in histories]
    assert losses[0] == losses[1]
    assert [e[0] for e in losses[0]] == [1, 2, 3]


def test_an_interrupt_says_what_is_saved(stand_in, few, tmp_path, monkeypatch, capsys):
    original = Trainer.step

    def interrupted(self, index):
        if self.epoch == 2:
            raise KeyboardInterrupt
        return original(self, index)

    monkeypatch.setattr(Trainer, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(PROFILE, stand_in, few, run_dir=tmp_path, device="cpu", progress=False)
    assert "Stopped in epoch 2. Epochs 1 to 1 are saved in" in capsys.readouterr().out
    assert load_tensors(tmp_path / "checkpoint.safetensors")[1]["epoch"] == 1


def test_another_seed_gives_other_weights(stand_in, few):
    one, two = (
        fit(
            replace(PROFILE, train=replace(PROFILE.train, seed=s, epochs=1)),
            stand_in,
            few,
            device="cpu",
            progress=False,
        )
        for s in (0, 1)
    )
    assert not torch.equal(next(one.model.parameters()), next(two.model.parameters()))


def test_fit_leaves_the_callers_random_state_alone(stand_in, few):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    fit(replace(PROFILE, train=replace(PROFILE.train, epochs=1)), stand_in, few, device="cpu", progress=False)
    assert torch.equal(torch.rand(1), expected)


def test_training_mode_survives_a_preview_and_the_average_is_returned(stand_in, few):
    seen = []

    def preview(trainer):
        trainer.model.eval()  # what a careless preview does
        seen.append(trainer)

    original, modes = Trainer.step, []

    def watched(self, index):
        modes.append((self.model.training, self.ema.training))
        return original(self, index)

    Trainer.step = watched
    try:
        trained = fit(PROFILE, stand_in, few, device="cpu", on_epoch=preview, progress=False)
    finally:
        Trainer.step = original
    assert set(modes) == {(True, False)}
    assert not trained.model.training
    assert trained.model is seen[-1].ema
    raw, averaged = next(seen[-1].model.parameters()), next(trained.model.parameters())
    assert not torch.equal(raw, averaged)


def test_training_lowers_the_held_out_loss(stand_in):
    trained = fit(
        replace(PROFILE, train=replace(TINY.train, epochs=4)), stand_in, stand_in, device="cpu", progress=False
    )
    losses = [e["held_out_loss"] for e in trained.history.epochs]
    assert losses[-1] < 0.8 * losses[0] < 0.8 * 1.2


class Spy(torch.nn.Module):
    """A model that answers 0 and keeps the levels it was asked for."""

    def __init__(self):
        super().__init__()
        self.seen, self.zero = [], torch.nn.Parameter(torch.zeros(()))

    def forward(self, x, t, label=None):
        self.seen.append(t)
        return self.zero * x

    def shares(self):
        seen = torch.cat(self.seen)
        self.seen.clear()
        return torch.bincount(seen, minlength=100) / len(seen)


@pytest.mark.parametrize("levels", ["uniform", "amplitude"])
def test_levels_are_drawn_and_held_out_as_the_profile_says(levels, stand_in):
    trainer, spy = Trainer(with_levels(levels), stand_in, stand_in, CPU), Spy()
    trainer.forward = spy
    weights = torch.ones(100) if levels == "uniform" else amplitude_weights(trainer.schedule)
    assert trainer.draw_t(trainer.schedule, torch.tensor([0.0, 1.0])).tolist() == [0, 99]
    expected = weights / weights.sum()
    trainer.step(torch.zeros(40_000, dtype=torch.int64))
    assert (spy.shares() - expected).abs().max() < 0.003  # more than five standard errors
    held_out_loss(spy, trainer.schedule, stand_in, 1000, draw_t=trainer.draw_t)
    assert (spy.shares() - expected).abs().max() <= 0.001


def test_a_checkpoint_from_before_a_setting_existed_means_its_default(stand_in):
    trainer = Trainer(with_levels("amplitude"), stand_in, stand_in, CPU)
    info = {"profile": json.loads(json.dumps(trainer.profile.to_dict())), "num_averaged": 1, "data": stand_in.source}
    assert difference(trainer.profile, stand_in, info) == ""
    del info["profile"]["train"]["timestep_sampling"]
    assert difference(trainer.profile, stand_in, info) == "train.timestep_sampling was 'uniform' and is now 'amplitude'"


def test_files_with_former_names_of_settings_are_understood(stand_in):
    values = with_levels("amplitude").to_dict()
    values["unet"]["transformer_levels"] = values["unet"].pop("transformer_stages")
    values["train"]["levels"] = values["train"].pop("timestep_sampling")
    values["sample_scale"] = values.pop("guidance_scale")
    assert Profile.from_dict(values) == with_levels("amplitude")
    info = {"profile": values, "num_averaged": 1, "data": stand_in.source}
    assert difference(with_levels("amplitude"), stand_in, info) == ""


def test_a_setting_that_no_longer_exists_does_not_keep_weights_from_being_loaded(stand_in):
    trainer = Trainer(PROFILE, stand_in, stand_in, CPU)
    values = json.loads(json.dumps(PROFILE.to_dict()))
    values["train"]["momentum"] = 0.5
    assert Profile.from_dict(values) == PROFILE
    info = {"profile": values, "num_averaged": 1, "data": stand_in.source}
    assert difference(trainer.profile, stand_in, info) == "train.momentum was 0.5 and no longer exists"


def test_a_checkpoint_of_another_run_is_refused_with_the_difference(tmp_path, stand_in, few):
    one_epoch = replace(PROFILE, train=replace(PROFILE.train, epochs=1))
    fit(one_epoch, stand_in, few, run_dir=tmp_path, device="cpu", progress=False)
    other = replace(PROFILE, train=replace(PROFILE.train, epochs=2, learning_rate=0.5))
    with pytest.raises(CheckpointError, match=r"learning_rate was 0.002 and is now 0.5.*another folder"):
        fit(other, stand_in, few, run_dir=tmp_path, device="cpu", progress=False)


def test_more_epochs_and_other_snapshots_continue_a_run(tmp_path, stand_in, few):
    """At a constant rate, 1 epoch and then 2 more are the same 3 epochs."""

    def profile(epochs, snapshots):
        return replace(PROFILE, train=replace(PROFILE.train, epochs=epochs, snapshot_epochs=snapshots))

    whole = fit(profile(3, ()), stand_in, few, device="cpu", progress=False)
    fit(profile(1, (1,)), stand_in, few, run_dir=tmp_path, device="cpu", progress=False)
    longer = fit(profile(3, (2, 3)), stand_in, few, run_dir=tmp_path, device="cpu", progress=False)
    assert [e["epoch"] for e in longer.history.epochs] == [1, 2, 3]
    for name, weight in whole.model.state_dict().items():
        assert torch.equal(weight, longer.model.state_dict()[name]), name
    assert {p.name for p in tmp_path.glob("epoch_*")} == {f"epoch_{n}.safetensors" for n in (1, 2, 3)}


def test_other_images_under_the_same_name_are_noticed(tmp_path, stand_in, few):
    one_epoch = replace(PROFILE, train=replace(PROFILE.train, epochs=1))
    fit(one_epoch, stand_in, few, run_dir=tmp_path, device="cpu", progress=False)
    changed = stand_in.images.clone()
    changed[5, 0, 3, 3] ^= 1
    with pytest.raises(CheckpointError, match=r"its images, .* by name as well, are not the same images"):
        fit(one_epoch, replace(stand_in, images=changed), few, run_dir=tmp_path, device="cpu", progress=False)


class Scaled(torch.nn.Module):
    """The smallest model: one number times x_t."""

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x, t, label=None):
        return self.scale * x


def test_model_loss_and_timesteps_are_arguments(stand_in, few):
    seen = []

    def loss(model, schedule, x_start, label, *, t, noise):
        seen.append(t)
        return prediction_loss("x_start")(model, schedule, x_start, label, t=t, noise=noise)

    def lowest(schedule, u):
        return torch.zeros_like(u, dtype=torch.int64)

    long = replace(PROFILE, train=replace(PROFILE.train, epochs=40, learning_rate=0.05))
    trained = fit(long, stand_in, few, model=Scaled(), loss=loss, draw_t=lowest, device="cpu", progress=False)
    assert isinstance(trained.model, Scaled)
    assert not torch.cat(seen).any()
    # At t = 0 the image is nearly bare, so the best multiple of x_t is √ᾱ E x² / (ᾱ E x² + 1 − ᾱ).
    x, alpha_bar = stand_in[:128][0].double(), trained.schedule.alphas_cumprod[0].double()
    best = alpha_bar.sqrt() * x.square().mean() / (alpha_bar * x.square().mean() + 1 - alpha_bar)
    assert trained.model.scale.item() == pytest.approx(best.item(), abs=0.01)


def test_a_loss_that_is_not_a_number_stops_the_run(stand_in, few):
    wild = replace(PROFILE, train=replace(PROFILE.train, learning_rate=1e9, grad_clip=1e9))
    with pytest.raises(FloatingPointError, match=r"the loss became (nan|inf).*Lower the learning rate"):
        fit(wild, stand_in, few, device="cpu", progress=False)


def test_a_label_beyond_the_classes_is_told_and_not_trained_as_the_null_label(stand_in):
    labels = stand_in.labels.clone()
    labels[3] = 10
    wrong = replace(stand_in, labels=labels)
    with pytest.raises(IndexError, match=r"a training label must lie in 0 ... 9, but runs from 0 to 10"):
        fit(PROFILE, wrong, stand_in, progress=False)
    with pytest.raises(IndexError, match="a test label must lie"):
        fit(PROFILE, stand_in, wrong, progress=False)
