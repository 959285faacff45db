"""A short run and single steps against pencil and paper: what the network is shown, and what a step does to it.

Seen from outside, by hooks that torch offers: on every network, and on every optimiser.
"""

import math
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from torch.optim.optimizer import register_optimizer_step_pre_hook

from diffusion_lib.data import Digits
from diffusion_lib.profiles import Profile, ScheduleConfig, TrainConfig, UNetConfig
from diffusion_lib.training.checkpoints import load_model
from diffusion_lib.training.loop import Trainer, fit
from diffusion_lib.training.recipe import held_out_loss
from diffusion_lib.unet import UNet

COUNT, BATCH = 128, 32
# A label for each image, so that the label that is shown tells which image it was.
NETWORK = UNetConfig(
    patch_size=4, width=8, multipliers=(1,), transformer_stages=(), time_dim=8, context_dim=8, num_classes=COUNT
)
STEPS = COUNT // BATCH  # in an epoch


def profile(**changes):
    train = replace(TrainConfig(epochs=3, batch_size=BATCH), **changes)
    return Profile("short", NETWORK, ScheduleConfig("cosine", 100), train)


@pytest.fixture
def digits():
    draw = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (COUNT, 1, 28, 28), generator=draw, dtype=torch.uint8)
    return Digits(pictures, torch.arange(COUNT), "numbered")


@contextmanager
def watched():
    """The labels that a network was shown while it trained, and each step's (rate, gradients), filled as it runs."""
    labels, steps = [], []

    def shown(module, given):
        if isinstance(module, UNet) and module.training:
            labels.append(given[2])

    def stepped(optimizer, args, kwargs):
        [group] = optimizer.param_groups
        steps.append((group["lr"], [p.grad.clone() for p in group["params"]]))

    handles = [register_module_forward_pre_hook(shown), register_optimizer_step_pre_hook(stepped)]
    try:
        yield labels, steps
    finally:
        for handle in handles:
            handle.remove()


def run(digits, **changes):
    """Train on ``digits``; returns what :func:`watched` saw."""
    with watched() as seen:
        fit(profile(**changes), digits, digits, device="cpu", progress=False)
    return seen


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own(digits):
    labels, steps = run(digits)
    assert [len(label) for label in labels] == [BATCH] * 3 * STEPS
    assert len(steps) == 3 * STEPS
    first, second, third = torch.cat(labels).view(3, COUNT)
    for order in (first, second, third):
        assert order.sort().values.tolist() == list(range(COUNT))
        assert order.tolist() != list(range(COUNT))
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    again = torch.cat(run(digits, epochs=1)[0])
    assert torch.equal(again, first)
    assert not torch.equal(torch.cat(run(digits, epochs=1, seed=1)[0]), first)


def test_as_many_labels_are_dropped_as_the_profile_says(digits):
    shown = torch.cat(run(digits, epochs=16, label_dropout=0.25)[0]).view(16, COUNT)
    dropped = shown == COUNT  # the null label
    assert abs(dropped.float().mean() - 0.25) < 0.06  # more than six standard errors of 2048 draws
    assert len(dropped.unique(dim=0)) == 16
    kept = [row[row < COUNT] for row in shown]
    assert all(len(row.unique()) == len(row) for row in kept)


def test_each_step_has_the_rate_of_the_formula(digits):
    _, steps = run(digits, learning_rate=0.01, warmup_steps=5, decay="cosine")
    total = 3 * STEPS
    expected = [0.01 * min(1, (k + 1) / 5) * math.cos(math.pi * k / (2 * total)) ** 2 for k in range(total)]
    assert [float(rate) for rate, _ in steps] == pytest.approx(expected, rel=1e-9)


def pull(trainer):
    """One update by half the sum of all squared weights: its gradient is the weights themselves."""
    return trainer.update(sum(p.square().sum() for p in trainer.model.parameters()) / 2)


def weights(model):
    return [p.detach().clone() for p in model.parameters()]


def close(found, expected, **tolerance):
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, **tolerance)


def test_equal_losses_have_equal_gradients(digits):
    """A rate of next to nothing leaves the weights alone, so a second gradient is the first one, not its double."""
    trainer = Trainer(profile(learning_rate=1e-30, grad_clip=1e9), digits, digits, torch.device("cpu"))
    before = weights(trainer.model)
    with watched() as (_, steps):
        losses = [pull(trainer).item() for _ in range(3)]
    for _, gradients in steps:
        close(gradients, before, rtol=1e-6, atol=0)
    assert losses == pytest.approx([sum((w**2).sum().item() for w in before) / 2] * 3, rel=1e-5)


def test_a_gradient_longer_than_the_limit_is_shortened_to_it(digits):
    trainer = Trainer(profile(grad_clip=0.5), digits, digits, torch.device("cpu"))
    before = weights(trainer.model)
    length = sum((w.double() ** 2).sum() for w in before).sqrt().item()
    assert length > 1
    with watched() as (_, steps):
        pull(trainer)
    close(steps[0][1], [w * 0.5 / length for w in before], rtol=1e-4, atol=1e-9)


@pytest.mark.parametrize(("asked", "multiplies", "dtype"), [
    (True, True, torch.bfloat16), (True, False, torch.float32), (False, True, torch.float32),
])  # fmt: skip
def test_bfloat16_is_used_where_asked_for_and_where_it_pays(digits, monkeypatch, asked, multiplies, dtype):
    monkeypatch.setattr("diffusion_lib.fast.likes_bfloat16", lambda device: multiplies)
    trainer, seen = Trainer(profile(bfloat16=asked), digits, digits, torch.device("cpu")), []
    trainer.model.conv_in.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    loss = trainer.step(torch.arange(8))
    assert seen == [dtype]
    assert loss.dtype == torch.float32  # and so are weights and their gradients
    assert {p.grad.dtype for p in trainer.model.parameters()} == {torch.float32}


def test_two_steps_and_their_average_by_hand(digits):
    """AdamW's first step is its rate times the gradient's sign, the average starts there and moves by 1 − 2/11."""
    trainer = Trainer(profile(learning_rate=0.01, grad_clip=1e9), digits, digits, torch.device("cpu"))
    start = weights(trainer.model)
    pull(trainer)
    first = weights(trainer.model)
    close(first, [w * (1 - 0.01 * 0.01) - 0.01 * w / (w.abs() + 1e-8) for w in start], rtol=1e-5, atol=1e-7)
    close(trainer.ema.parameters(), first)
    pull(trainer)
    second = weights(trainer.model)
    expected = [a + (1 - 2 / 11) * (b - a) for a, b in zip(first, second, strict=True)]
    close(trainer.ema.parameters(), expected, rtol=1e-5, atol=1e-7)
    assert max((a - b).abs().max() for a, b in zip(first, second, strict=True)) > 0.005


def test_the_held_out_loss_is_that_of_the_averaged_weights(digits):
    raw, test = [], replace(digits, images=digits.images.flip(0))

    def keep(trainer):
        raw.append(held_out_loss(trainer.model, trainer.schedule, test))

    trained = fit(profile(learning_rate=0.02), digits, test, device="cpu", progress=False, on_epoch=keep)
    recorded = trained.history.epochs[-1]["held_out_loss"]
    assert recorded == pytest.approx(held_out_loss(trained.model, trained.schedule, test), rel=1e-6)
    assert abs(recorded - raw[-1]) > 1e-5 * recorded
    assert abs(recorded - held_out_loss(trained.model, trained.schedule, digits)) > 1e-5 * recorded


def test_the_recorded_loss_is_the_mean_over_the_epoch(digits, monkeypatch):
    losses, step = [], Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self, index: losses.append(step(self, index)) or losses[-1])
    trained = fit(profile(), digits, digits, device="cpu", progress=False)
    means = torch.stack(losses).view(3, STEPS).mean(dim=1).tolist()
    assert [epoch["train_loss"] for epoch in trained.history.epochs] == pytest.approx(means, rel=1e-6)
    assert [(s["epoch"], s["step"]) for s in trained.history.steps] == [(1, 4), (2, 8), (3, 12)]


def test_only_the_first_images_are_used_where_the_profile_says_so(digits):
    labels, _ = run(digits, epochs=1, max_images=64)
    assert torch.cat(labels).sort().values.tolist() == list(range(64))
    with pytest.raises(ValueError, match="16 images do not fill one batch of 32"):
        run(digits, max_images=16)


def test_a_restored_trainer_steps_as_the_saved_one(digits, tmp_path):
    one, two = (Trainer(profile(learning_rate=0.01), digits, digits, torch.device("cpu")) for _ in range(2))
    pull(one), pull(one)
    one.save(tmp_path / "a.safetensors")
    two.load(tmp_path / "a.safetensors")
    for _ in range(2):
        close(two.model.parameters(), weights(one.model), rtol=0, atol=0)
        close(two.ema.parameters(), weights(one.ema), rtol=0, atol=0)
        pull(one), pull(two)


def test_a_checkpoint_is_sampled_from_its_average(digits, tmp_path):
    trainer = Trainer(profile(learning_rate=0.01), digits, digits, torch.device("cpu"))
    pull(trainer), pull(trainer)
    trainer.save(tmp_path / "a.safetensors")
    loaded = weights(load_model(tmp_path / "a.safetensors").model)
    close(loaded, weights(trainer.ema), rtol=0, atol=0)
    assert any(not torch.equal(a, b) for a, b in zip(loaded, weights(trainer.model), strict=True))
