"""Muon for hidden layers: which weights are its own, and its step against a singular value decomposition."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from diffusion_lib.profiles import PROFILES, TrainConfig
from diffusion_lib.training.loop import Trainer
from diffusion_lib.training.optimizers import Muon, Together, hidden, make_optimizer
from diffusion_lib.training.recipe import LOSS_WEIGHTS, learning_rate
from diffusion_lib.unet import UNet

TINY = PROFILES["tiny"]


def channels_last(model):
    return model.to(memory_format=torch.channels_last)


@pytest.fixture
def network():
    torch.manual_seed(0)
    return channels_last(UNet(TINY.unet))


def test_every_weight_has_one_optimiser_and_the_ends_have_adamw(network):
    names = {id(p): name for name, p in network.named_parameters()}
    found = {names[id(p)] for p in hidden(network)}
    assert "down.0.block.conv1.weight" in found
    assert "time.mlp.0.weight" in found
    assert all(name.endswith("weight") for name in found)
    assert not found & {"conv_in.weight", "conv_out.weight", "label.table.weight"}
    matrices = {name for name, p in network.named_parameters() if p.ndim > 1}
    assert matrices - found == {"conv_in.weight", "conv_out.weight", "label.table.weight"}
    both = make_optimizer(network, TrainConfig(muon_rate=1e-2))
    rest = {names[id(p)] for p in both.parts[1].param_groups[0]["params"]}
    assert found | rest == set(names.values())
    assert not found & rest
    assert isinstance(make_optimizer(network, TrainConfig()), torch.optim.AdamW)


def test_a_step_is_as_long_in_each_direction_of_the_gradient():
    """The first step follows the gradient G = U S Vᵀ, so it is -rate x 0.2 √(larger side) U Vᵀ: all its singular
    values are alike. Five Newton-Schulz steps bring them to between 0.7 and 1.2 of that (Jordan et al. 2024)."""
    torch.manual_seed(0)
    layer = channels_last(nn.Conv2d(16, 24, 3))
    before, rate = layer.weight.detach().clone(), 0.01
    muon = Muon([layer.weight], rate)
    weighed = torch.randn_like(layer.weight) * torch.logspace(-2, 0, 24)[:, None, None, None]
    (layer.weight * weighed).sum().backward()
    muon.step()
    moved = (layer.weight.detach() - before).flatten(1).double()
    u, _, vt = torch.linalg.svd(weighed.flatten(1).double(), full_matrices=False)
    along = u.T @ moved @ vt.T / (-rate * 0.2 * (16 * 9) ** 0.5)
    assert 0.6 < along.diagonal().min() < along.diagonal().max() < 1.3
    assert (along - along.diagonal().diag()).abs().max() < 0.05


def test_the_steps_of_a_linear_layer_are_torchs_own():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(8, 12, bias=False), nn.Linear(8, 12, bias=False)
    theirs.load_state_dict(ours.state_dict())
    optimizers = (
        Muon([ours.weight], 0.02),
        torch.optim.Muon([theirs.weight], lr=0.02, weight_decay=0.0, adjust_lr_fn="match_rms_adamw"),
    )
    x = torch.randn(5, 8)
    for _ in range(3):
        for layer, optimizer in zip((ours, theirs), optimizers, strict=True):
            optimizer.zero_grad()
            layer(x).square().sum().backward()
            optimizer.step()
    assert torch.equal(ours.weight, theirs.weight)


def test_gradients_are_forgotten_and_weights_elsewhere_in_memory_refused():
    layer = nn.Conv2d(4, 4, 3)
    with pytest.raises(ValueError, match="channels_last"):
        Muon([layer.weight], 0.01)
    muon = Muon([channels_last(layer).weight], 0.01)
    layer.weight.sum().backward()
    muon.zero_grad()
    assert layer.weight.grad is None
    layer.weight.data = layer.weight.data.clone()
    with pytest.raises(ValueError, match="do not move the model"):
        muon.step()


def test_a_network_without_ends_is_told_and_a_shared_weight_moves_once(network):
    with pytest.raises(ValueError, match="conv_in and conv_out, but got a Linear"):
        make_optimizer(nn.Linear(3, 3), TrainConfig(muon_rate=1e-2))
    count = len(hidden(network))
    network.again = network.down[0].block.conv1
    network.down[0].block.conv2.weight = network.down[0].block.conv1.weight
    assert len(hidden(network)) == count - 1


def test_a_run_is_taught_with_the_weights_of_its_profile(stand_in):
    train = replace(TINY.train, loss_weight="half_v")
    run = Trainer(replace(TINY, train=train), stand_in, stand_in, torch.device("cpu"))
    assert run.loss is LOSS_WEIGHTS["half_v"]


def test_a_run_that_diverged_names_both_rates(stand_in):
    train = replace(TINY.train, learning_rate=1e-3, muon_rate=5e-3)
    run = Trainer(replace(TINY, train=train), stand_in, stand_in, torch.device("cpu"))
    assert run.rates == "0.001, muon_rate 0.005"
    assert Trainer(TINY, stand_in, stand_in, torch.device("cpu")).rates == "0.002"


def test_both_rates_rise_and_fall_together(stand_in):
    train = replace(TINY.train, learning_rate=1e-3, muon_rate=5e-3, warmup_steps=4, decay="cosine")
    run = Trainer(replace(TINY, train=train), stand_in, stand_in, torch.device("cpu"))
    for step in (0, 3, 9):
        run.set_learning_rate(step)
        muon, adamw = (group["lr"] for group in run.optimizer.param_groups)
        assert muon == pytest.approx(5 * adamw)
        assert adamw == pytest.approx(learning_rate(train, step, run.steps_per_epoch * train.epochs))
    assert learning_rate(train, 0, 100) < 0.3e-3


def test_the_numbers_of_states_run_through_the_parts(network):
    both = make_optimizer(network, TrainConfig(muon_rate=1e-2))
    x, t, label = torch.randn(2, 1, 28, 28), torch.tensor([1, 2]), torch.tensor([3, 4])
    network(x, t, label).square().sum().backward()
    both.step()
    saved = both.state_dict()["state"]
    assert len(saved) == len(list(network.parameters()))
    assert isinstance(both, Together)
    other = make_optimizer(network, TrainConfig(muon_rate=1e-2))
    other.load_state_dict(copy.deepcopy(both.state_dict()))
    again = other.state_dict()["state"]
    for number, state in saved.items():
        assert all(torch.equal(torch.as_tensor(state[key]), torch.as_tensor(again[number][key])) for key in state)
