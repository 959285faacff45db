"""The end of a path: exact where the data is known, held at the clean image, taught with no gradient in the target."""

import math
from itertools import pairwise

import pytest
import torch
from conftest import SCHEDULES, images

from diffusion_lib.consistency import (
    GAIN,
    MOST_NOISE,
    SHARPNESS,
    angles,
    at_angle,
    consistency_loss,
    distance,
    earlier,
    even_angles,
    path_end,
    sample_ends,
    upper_ends,
    walk_down,
)
from diffusion_lib.diffusion import ddim_step, predict_x_start, q_sample
from diffusion_lib.oracles import gaussian_oracle, point_oracle
from diffusion_lib.samplers import last
from diffusion_lib.schedules import NoiseSchedule


def amplitudes(schedule, t):
    alpha_bar = schedule.alphas_cumprod[t].view(-1, 1, 1, 1)
    return alpha_bar**0.5, (1 - alpha_bar) ** 0.5


def answering(schedule, end):
    """A network whose path_end is ``end(x, a, s)``, by solving the docstring's equation for ε_θ."""

    def model(x, t, label=None):
        a, s = amplitudes(schedule, t)
        return (x - torch.maximum(a, s / 3) * end(x, a, s)) / s

    return model


def labelled(eps_model):
    return lambda x, t, label=None: eps_model(x, t)


def spread_out(schedule, count=8):
    return torch.linspace(0, len(schedule) - 1, count).round().long()


def test_the_end_is_the_guess_of_the_clean_image_until_the_gain_is_reached(schedule):
    t = torch.arange(len(schedule))
    x_t, eps = images(len(t), 1, 2, 3), images(len(t), 1, 2, 3, seed=1)
    end = path_end(lambda x, t, label: eps, schedule, x_t, t)
    a, s = amplitudes(schedule, t)
    low = (s <= GAIN * a).flatten()
    torch.testing.assert_close(end[low], predict_x_start(schedule, x_t, t, eps)[low])
    torch.testing.assert_close(end[~low], (GAIN * (x_t - s * eps) / s)[~low])
    assert low[0]
    assert not low[-1]


def test_the_clean_image_is_its_own_end_whatever_the_network_says(schedule):
    x, label, seen = images(3, 1, 2, 2), torch.tensor([1, 2, 3]), []

    def model(x, t, label):
        seen.append((t.tolist(), label.tolist()))
        return 7 * x

    end = path_end(model, schedule, x, torch.tensor([-1, 5, -1]), label)
    assert torch.equal(end[[0, 2]], x[[0, 2]])
    assert not torch.equal(end[1], x[1])
    assert seen == [([0, 5, 0], [1, 2, 3])]


@pytest.mark.parametrize("pieces", [1, 4, 16])
def test_one_image_as_all_data_its_exact_ends_have_no_loss(schedule, pieces):
    point = images(1, 2, 2).clamp(-1, 1)
    t, teacher = spread_out(schedule), labelled(point_oracle(schedule, point))
    exact = answering(schedule, lambda x, a, s: point.expand_as(x))
    wrong = answering(schedule, lambda x, a, s: point.expand_as(x) + 0.5 * s)
    x_start, noise = point.expand(len(t), -1, -1, -1), images(len(t), 1, 2, 2, seed=1)
    given = {"t": t, "noise": noise}
    losses = [consistency_loss(teacher, pieces, 1.0)(m, schedule, x_start, None, **given) for m in (exact, wrong)]
    assert losses[0] < 1e-9
    assert losses[1] > 0.01


@pytest.mark.parametrize("name", ["linear", "cosine"])
def test_normal_data_the_loss_of_the_exact_ends_vanishes_as_pieces_get_short(name):
    """The exact path keeps x_t / √(a² σ² + s²); two DDIM steps err by the square of their length."""
    schedule, std = NoiseSchedule.from_betas(SCHEDULES[name]), 0.05  # so small that nothing is clipped
    t = at_angle(schedule, torch.linspace(0.9, 1.5, 7))
    teacher = labelled(gaussian_oracle(schedule, 0.0, std))
    exact = answering(schedule, lambda x, a, s: std * x / (a**2 * std**2 + s**2) ** 0.5)
    x_start, noise = std * images(len(t), 1, 4, 4), images(len(t), 1, 4, 4, seed=1)
    losses = [
        consistency_loss(teacher, pieces, 1.0)(exact, schedule, x_start, None, t=t, noise=noise).item()
        for pieces in (4, 8, 16, 32)
    ]
    distances = [((loss + SHARPNESS) ** 2 - SHARPNESS**2) ** 0.5 for loss in losses]
    assert all(3 * fine < coarse for coarse, fine in pairwise(distances)), distances


def test_the_target_is_the_answer_nearer_to_the_image_and_passes_no_gradient(schedule):
    t, label = spread_out(schedule, 6), torch.arange(6)
    x_start, noise, pieces = images(6, 1, 3, 3).clamp(-1, 1), images(6, 1, 3, 3, seed=1), 5
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    teacher = labelled(point_oracle(schedule, 0.3 * torch.ones(1, 3, 3)))

    def model(x, t, label=None):
        return weight * x + 0.1 * label.view(-1, 1, 1, 1)

    x_t, r = q_sample(schedule, x_start, t, noise), earlier(schedule, t, 1 / pieces)
    a, s = (
        x.where(r.view(-1, 1, 1, 1) >= 0, end) for x, end in zip(amplitudes(schedule, r.clamp(0)), (1, 0), strict=True)
    )
    a_t, s_t = amplitudes(schedule, t)
    x_r = a * 0.3 + s * (x_t - a_t * 0.3) / s_t  # where the only path from x_t to 0.3 is at r
    with torch.no_grad():
        target = path_end(model, schedule, x_r, r, label)
    expected = distance(path_end(model, schedule, x_t, t, label), target)
    loss = consistency_loss(teacher, pieces, 1.0)(model, schedule, x_start, label, t=t, noise=noise)
    torch.testing.assert_close(loss, expected)
    ours, theirs = (torch.autograd.grad(value, weight)[0] for value in (loss, expected))
    torch.testing.assert_close(ours, theirs)


def test_guidance_is_folded_into_the_teachers_step(schedule):
    """With scale w the path leads to u + w (c − u), where c and u are what the teacher means with and without label."""
    with_label, without, scale = 0.2, -0.1, 2.0
    c, u = (point_oracle(schedule, value * torch.ones(1, 2, 2)) for value in (with_label, without))
    teacher = lambda x, t, label=None: (u if label is None else c)(x, t)  # noqa: E731
    end = without + scale * (with_label - without)
    exact = answering(schedule, lambda x, a, s: end * torch.ones_like(x))
    t, x_start = spread_out(schedule), torch.zeros(8, 1, 2, 2, dtype=torch.float64)
    loss = consistency_loss(teacher, 3, scale)
    value = loss(exact, schedule, x_start, torch.zeros(8, dtype=torch.int64), t=t, noise=images(8, 1, 2, 2))
    assert value < 1e-9


def test_a_walk_takes_ddims_steps_and_stops_at_the_clean_image(schedule):
    T = len(schedule)
    eps_model, x = gaussian_oracle(schedule, 0.2, 0.7), images(3, 1, 2, 2)
    levels = [torch.tensor(level) for level in ([T - 1, T // 2, 0], [T // 2, -1, -1], [T // 4, -1, -1])]
    zero = torch.zeros_like(x[:1])
    ends = []
    for image, path in zip(x.split(1), zip(*(level.split(1) for level in levels), strict=True), strict=True):
        for t, t_next in pairwise(path):
            if t >= 0:
                image = ddim_step(schedule, image, t, t_next, eps_model(image, t), zero)
        ends.append(image)
    torch.testing.assert_close(walk_down(eps_model, schedule, x, levels), torch.cat(ends))


def test_levels_are_found_by_their_angle(schedule):
    table = angles(schedule)
    torch.testing.assert_close(table.cos() ** 2, schedule.alphas_cumprod)
    t = torch.arange(len(schedule))
    assert torch.equal(at_angle(schedule, table), t)
    assert torch.equal(at_angle(schedule, table - 1e-9), t)
    assert at_angle(schedule, torch.tensor([-1.0, 0.0, 0.4 * table[0], 2.0])).tolist() == [-1, -1, -1, len(t) - 1]
    r = earlier(schedule, t, 1 / 4)
    assert (r < t).all()
    assert (r[table < math.pi / 8] == -1).all()
    kept = r >= 0
    assert (table[r[kept]] >= table[kept] - math.pi / 8 - 1e-9).all()
    assert (table[(r[kept] - 1).clamp(0)] < table[kept] - math.pi / 8 + 1e-9).logical_or(r[kept] == 0).all()


def test_levels_are_drawn_evenly_in_angle_and_the_last_one_more_often(schedule):
    u = (torch.arange(10_000) + 0.5) / 10_000
    t, table = even_angles(schedule, u), angles(schedule)
    assert t.min() == 0
    share = (t == len(schedule) - 1).double().mean()
    beyond = 1 - table[-2] / (math.pi / 2)  # of the quarter turn; all of it goes to the last level
    assert share.item() == pytest.approx((MOST_NOISE + (1 - MOST_NOISE) * beyond).item(), abs=2e-4)
    wanted = u[: int(10_000 * (1 - MOST_NOISE))].double() / (1 - MOST_NOISE) * math.pi / 2
    gap = torch.cat([table[:1], table.diff()]).max()
    assert ((table[t[: len(wanted)]] - wanted).abs() <= gap + 1e-6).all()


def test_levels_can_be_drawn_from_the_ends_of_pieces_alone(schedule):
    t = upper_ends(4)(schedule, torch.tensor([0.0, 0.24, 0.26, 0.6, 0.99]))
    expected = at_angle(schedule, torch.tensor([1, 1, 2, 3, 4]) * math.pi / 8)
    assert torch.equal(t, expected)
    assert t[-1] == len(schedule) - 1


def test_the_distance_is_pseudo_hubers():
    x, y = torch.zeros(2, 1, 1, 2), torch.tensor([[[[3.0, 4.0]]], [[[0.0, 0.0]]]])
    expected = ((25 + SHARPNESS**2) ** 0.5 - SHARPNESS) / 2
    assert distance(x, y).item() == pytest.approx(expected, rel=1e-5)


def test_each_look_asks_one_level_and_later_ones_noise_what_came_before(schedule):
    T, asked = len(schedule), []
    levels = [T - 1, T // 2, T // 4]

    def model(x, t, label):
        asked.append((x, t.tolist(), label.tolist()))
        return torch.zeros_like(x)

    generator = torch.Generator().manual_seed(0)
    x_T = torch.randn(2, 1, 2, 2, generator=generator).double()
    label = torch.tensor([4, 7])
    steps = list(sample_ends(model, schedule, x_T, label, levels, generator=generator))
    assert [s.t for s in steps] == levels
    again = torch.Generator().manual_seed(0)
    z = [torch.randn(2, 1, 2, 2, generator=again).double() for _ in levels]
    before = [None, *(s.x for s in steps)]
    for (x, t, given), level, noise, image in zip(asked, levels, z, before, strict=False):
        a, s = amplitudes(schedule, torch.tensor([level, level]))
        torch.testing.assert_close(x, noise if image is None else a * image + s * noise)
        assert (t, given) == ([level, level], [4, 7])
    for step in steps:
        assert torch.equal(step.x, step.x_start.clamp(-1, 1))


def test_one_look_at_exact_ends_draws_the_data(schedule):
    point = images(1, 2, 2).clamp(-1, 1)
    model = answering(schedule, lambda x, a, s: point.expand_as(x))
    x = last(sample_ends(model, schedule, images(3, 1, 2, 2), None, [len(schedule) - 1]))
    torch.testing.assert_close(x, point.expand(3, -1, -1, -1))
