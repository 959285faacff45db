"""The recipe against its formulas."""

import math
from dataclasses import replace

import pytest
import torch

from diffusion_lib.data import Digits
from diffusion_lib.diffusion import ddpm_loss, q_sample
from diffusion_lib.profiles import TrainConfig
from diffusion_lib.schedules import NoiseSchedule, linear_betas
from diffusion_lib.training.recipe import (
    drop_labels,
    ema_update,
    half_v,
    held_out_loss,
    learning_rate,
    loss_of,
    uniform,
    weighing,
    weighted,
)


def test_ema_update_is_its_formula():
    averaged, current = [torch.zeros(3)], [torch.ones(3)]
    ema_update(0.9)(averaged, current, 0)
    torch.testing.assert_close(averaged[0], torch.full((3,), 1 - 1 / 10))
    averaged = [torch.zeros(3)]
    ema_update(0.9)(averaged, current, torch.tensor(10_000))
    torch.testing.assert_close(averaged[0], torch.full((3,), 0.1))


def test_learning_rate():
    config = TrainConfig(learning_rate=1.0, warmup_steps=10, decay="cosine")
    assert learning_rate(config, 0, 100) == pytest.approx(0.1)
    assert learning_rate(config, 50, 100) == pytest.approx(0.5)
    assert learning_rate(config, 100, 100) == pytest.approx(0)
    assert learning_rate(replace(config, decay="constant"), 90, 100) == 1.0


def test_drop_labels():
    label = torch.arange(10).repeat(1000)
    assert torch.equal(drop_labels(label, 10, 0.0), label)
    assert (drop_labels(label, 10, 1.0) == 10).all()
    dropped = drop_labels(label, 10, 0.2) == 10
    assert 0.17 < dropped.float().mean() < 0.23  # more than seven standard errors


def test_the_rate_warms_up_then_falls_by_half_a_cosine():
    config = TrainConfig(learning_rate=3.0, warmup_steps=4, decay="cosine")
    for k in range(20):
        expected = 3.0 * min(1, (k + 1) / 4) * math.cos(math.pi * k / 40) ** 2  # (1 + cos x) / 2 = cos²(x/2)
        assert learning_rate(config, k, 20) == pytest.approx(expected, rel=1e-12)
    assert learning_rate(replace(config, warmup_steps=0, decay="constant"), 0, 20) == 3.0


@pytest.mark.parametrize("num_averaged", [0, 1, 7, 80, 90])
def test_the_averages_decay_grows_to_its_limit(num_averaged):
    averaged, current = [torch.tensor([2.0, -1.0])], [torch.tensor([5.0, 3.0])]
    expected = averaged[0] + 9 / (10 + num_averaged) * (current[0] - averaged[0])  # 1 - (1+n) / (10+n)
    if num_averaged > 80:
        expected = averaged[0] + 0.1 * (current[0] - averaged[0])
    ema_update(0.9)(averaged, current, num_averaged)
    torch.testing.assert_close(averaged[0], expected)
    assert current[0].tolist() == [5.0, 3.0]


def test_labels_are_dropped_one_by_one():
    label = torch.arange(10).repeat(1000)
    kept = drop_labels(label, 10, 0.5)
    assert torch.equal(kept[kept != 10], label[kept != 10])
    assert label.max() == 9
    both = (kept[::2] == 10).float(), (kept[1::2] == 10).float()
    assert abs((both[0] * both[1]).mean() - 0.25) < 0.05  # neighbours are dropped independently: eight standard errors


class Shifted(torch.nn.Module):
    """Answers x plus a tenth of the label, and keeps the levels."""

    def __init__(self):
        super().__init__()
        self.levels = []

    def forward(self, x, t, label=None):
        self.levels.append(t)
        return x + label[:, None, None, None] / 10


def test_the_held_out_loss_by_hand():
    """300 of 350 images, levels in turn, the same noise each time: a mean over images in parts of unequal size."""
    schedule = NoiseSchedule.from_betas(linear_betas(20, 0.01, 0.3))
    draw = torch.Generator().manual_seed(3)
    digits = Digits(
        torch.randint(0, 256, (350, 1, 28, 28), generator=draw, dtype=torch.uint8), torch.arange(350) // 35, "drawn"
    )
    model, x = Shifted(), digits[:300][0].double()
    found = [held_out_loss(model, schedule.to("cpu"), digits, 300) for _ in range(2)]
    levels = torch.tensor([int((i + 0.5) * 20 / 300) for i in range(300)])
    assert torch.equal(torch.cat(model.levels[:2]), levels)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).double()
    alpha_bar = schedule.alphas_cumprod[levels].view(-1, 1, 1, 1)
    answer = alpha_bar.sqrt() * x + (1 - alpha_bar).sqrt() * noise + digits.labels[:300].view(-1, 1, 1, 1) / 10
    assert found == pytest.approx([((answer - noise) ** 2).mean().item()] * 2, rel=1e-5)


def test_timesteps_are_drawn_by_weight_and_alike():
    """Both are inverse distribution functions: even steps of u come out in proportion to the weights."""
    schedule, u = NoiseSchedule.from_betas(torch.tensor([0.1, 0.2, 0.3, 0.4])), (torch.arange(4000) + 0.5) / 4000
    weights = torch.tensor([0.0, 3.0, 0.0, 1.0])
    drawn = weighted(lambda s: weights)(schedule, u)
    assert drawn.dtype == torch.int64
    assert drawn.bincount(minlength=4).tolist() == [0, 3000, 0, 1000]
    assert uniform(schedule, u).bincount().tolist() == [1000] * 4
    ends = torch.tensor([0.0, 1 - 2**-24])
    assert weighted(lambda s: weights)(schedule, ends).tolist() == [1, 3]
    assert uniform(schedule, ends).tolist() == [0, 3]


def test_the_weights_of_a_schedule_are_asked_for_once_and_of_another_again():
    asked = []

    def weights(schedule):
        asked.append(len(schedule))
        return torch.ones(len(schedule))

    draw_t = weighted(weights)
    short, long = (NoiseSchedule.from_betas(torch.full((n,), 0.1)) for n in (2, 4))
    assert [draw_t(s, torch.tensor([0.9])).item() for s in (short, short, long, long, short)] == [1, 1, 3, 3, 1]
    assert asked == [2, 4, 2]


def test_the_weight_is_the_root_of_how_much_more_an_error_counts_in_v():
    """v = a ε - s x_0 and x_0 = (x_t - s ε) / a, so an error of ε comes back in v, larger; from these alone."""
    schedule = NoiseSchedule.from_betas(linear_betas())
    a, s = schedule.alphas_cumprod.sqrt(), (1 - schedule.alphas_cumprod).sqrt()
    x_t, right, wrong = 0.3, 0.7, 0.9
    v_right, v_wrong = (a * eps - s * (x_t - s * eps) / a for eps in (right, wrong))
    more = ((v_right - v_wrong) / (right - wrong)) ** 2
    low = more < 50
    assert 300 < low.sum() < 999
    torch.testing.assert_close(half_v(schedule)[low] ** 2, more[low])
    assert half_v(schedule)[~low].unique() ** 2 == pytest.approx(50)


def test_a_weighed_loss_by_hand_and_as_a_run_asks_for_it():
    schedule = NoiseSchedule.from_betas(linear_betas(10))
    x, noise = torch.randn(2, 3, 1, 4, 4)
    t, label = torch.tensor([0, 4, 9]), torch.tensor([1, 2, 3])

    def model(x_t, t, label):
        return noise + label[:, None, None, None]

    weights = torch.arange(10.0)
    found = weighing(lambda schedule: weights)(model, schedule, x, label, t=t, noise=noise)
    assert found.item() == pytest.approx((0 * 1 + 4 * 4 + 9 * 9) / 3)
    seen = []
    weighing(lambda schedule: weights)(lambda *given: seen.append(given) or noise, schedule, x, label, t=t, noise=noise)
    torch.testing.assert_close(seen[0][0], q_sample(schedule, x, t, noise))
    assert loss_of(TrainConfig()) is ddpm_loss
    half = loss_of(TrainConfig(loss_weight="half_v"))(model, schedule, x, label, t=t, noise=noise)
    assert half.item() == pytest.approx((half_v(schedule)[t] * torch.tensor([1, 4, 9])).mean().item())
    with pytest.raises(ValueError, match="loss_weight 'half_v' is for target 'noise', but target is 'velocity'"):
        TrainConfig(loss_weight="half_v", target="velocity")
