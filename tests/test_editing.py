"""Edits against closed forms: what a sampler does to Gaussian data is linear, so mean and spread come out exactly."""

import math
from itertools import pairwise

import pytest
import torch
from conftest import images

from diffusion_lib import editing
from diffusion_lib.diffusion import ddim_step, q_sample
from diffusion_lib.editing import inpaint_step, invert_ddim, renoise, sample_inpainting, slerp, windowed
from diffusion_lib.guidance import conditioned
from diffusion_lib.oracles import correlated_oracle, gaussian_oracle, point_oracle
from diffusion_lib.samplers import ddim_timesteps, last, sample_ddim
from diffusion_lib.schedules import NoiseSchedule, linear_betas

HALF = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0], dtype=torch.float64).view(1, 1, 1, 5)  # two columns of five are known
RHO, KNOWN = 0.9, 1.5  # two pixels of variance 1, correlated; the first one's value
LONG = NoiseSchedule.from_betas(linear_betas(1000))


def test_known_pixels_come_back_with_the_noise_of_the_level_that_was_reached(schedule):
    t_prev = torch.tensor([-1, 0, len(schedule) // 2, len(schedule) - 2])
    x, known, noise = (images(4, 2, 3, 5, seed=seed) for seed in (0, 1, 2))
    put = inpaint_step(schedule, x, known, HALF, t_prev, noise)
    expected = q_sample(schedule, known, t_prev.clamp(min=0), noise)
    expected[0] = known[0]  # -1 is the clean image
    torch.testing.assert_close(put[..., :2], expected[..., :2])
    assert torch.equal(put[..., 2:], x[..., 2:])
    unsaid = known.where(HALF > 0, torch.nan)
    assert torch.equal(inpaint_step(schedule, x, unsaid, HALF, t_prev, noise), put)


def test_the_way_back_up_is_the_forward_process(schedule):
    """q(x_t | x_prev) after q(x_prev | x_0) is q(x_t | x_0): the signal's amplitude and the noise's variance agree."""
    for i_prev, i in ((-1, 0), (0, 1), (3, 30), (-1, len(schedule) - 1)):
        t_prev, t = torch.tensor([i_prev]), torch.tensor([i])
        zero, one = torch.zeros(1, 1, 1, 1, dtype=torch.float64), torch.ones(1, 1, 1, 1, dtype=torch.float64)
        kept = renoise(schedule, one, t_prev, t, zero).item()
        added = renoise(schedule, zero, t_prev, t, one).item()
        before = 1.0 if i_prev < 0 else schedule.alphas_cumprod[i_prev].item()
        assert kept * before**0.5 == pytest.approx(schedule.sqrt_alphas_cumprod[i].item())
        assert kept**2 * (1 - before) + added**2 == pytest.approx(1 - schedule.alphas_cumprod[i].item())


class Spy:
    """An exact predictor that keeps the levels it is asked about, and whether gradients were on."""

    def __init__(self, eps_model):
        self.eps_model, self.levels, self.grad = eps_model, [], []

    def __call__(self, x, t):
        self.levels.append(t.unique().tolist())
        self.grad.append(torch.is_grad_enabled())
        return self.eps_model(x, t)


@pytest.mark.parametrize("resample", [1, 3])
def test_each_jump_is_made_as_often_as_asked_and_the_last_once(schedule, resample):
    point = images(2, 3, 5).clamp(-1, 1)
    spy = Spy(point_oracle(schedule, point))
    known, x_T = images(4, 2, 3, 5, seed=1), images(4, 2, 3, 5, seed=2)
    steps = list(sample_inpainting(spy, schedule, x_T, known, HALF, 6, resample=resample))
    times = ddim_timesteps(len(schedule), 6)
    asked = [t for t in times[:-1] for _ in range(resample)] + [0]
    assert spy.levels == [[t] for t in asked]
    assert [step.t for step in steps] == asked
    assert not any(spy.grad)
    assert torch.equal(steps[-1].x[..., :2], known[..., :2])
    torch.testing.assert_close(steps[-1].x[..., 2:], point.expand(4, -1, -1, -1)[..., 2:], atol=1e-6, rtol=0)


def drawn_pixel(monkeypatch, num_steps, resample):
    """Mean and standard deviation of the pixel that is drawn beside the known one, exactly.

    The sampler is linear in x_T and in every noise that it draws. So one image of a batch has zeros for all of them,
    and each of the others a single 1: that shows the weight of each.
    """
    covariance = torch.tensor([[1, RHO], [RHO, 1]], dtype=torch.float64)
    model = correlated_oracle(LONG, torch.zeros(2, dtype=torch.float64), covariance)
    draws = 2 + (num_steps - 1) * (3 * resample - 1)  # two for each jump, and one for each way back up
    x_T = torch.zeros(1 + 2 * (1 + draws), 1, 1, 2, dtype=torch.float64)
    ones = iter(range(1, len(x_T)))

    def one_hot(like, generator=None):
        like = torch.zeros_like(like)
        for pixel in (0, 1):
            like[next(ones), 0, 0, pixel] = 1
        return like

    monkeypatch.setattr(editing, "draw_noise", one_hot)
    known = torch.full_like(x_T, KNOWN)
    mask = torch.tensor([1.0, 0.0]).view(1, 1, 1, 2)
    steps = sample_inpainting(model, LONG, one_hot(x_T), known, mask, num_steps, resample=resample)
    mean, *others = last(steps)[:, 0, 0, 1].tolist()
    assert next(ones, None) is None  # as many draws as the docstring says
    return mean, math.sqrt(sum((value - mean) ** 2 for value in others))


def test_putting_back_alone_is_what_a_recursion_by_hand_says_and_it_is_biased(monkeypatch):
    """One pixel's mean and variance, level by level, with a known pixel whose noise is new at each level."""
    mean, variance, known_mean, known_variance = 0.0, 1.0, 0.0, 1.0  # x_T
    for i in reversed(range(1000)):
        a, beta = LONG.alphas_cumprod[i].item(), LONG.betas[i].item()
        before = LONG.alphas_cumprod_prev[i].item()
        # E[ε_u | x_t] = √(1 − ᾱ) · (Σ_t⁻¹ x_t)_u, with Σ_t = [[1, ᾱρ], [ᾱρ, 1]]
        own, other = ((1 - a) ** 0.5 * w / (1 - (a * RHO) ** 2) for w in (1, -a * RHO))
        kept = (1 - beta / (1 - a) ** 0.5 * own) / (1 - beta) ** 0.5
        pull = -beta / (1 - a) ** 0.5 * other / (1 - beta) ** 0.5
        mean = kept * mean + pull * known_mean
        variance = kept**2 * variance + pull**2 * known_variance + (1 - before) / (1 - a) * beta
        known_mean, known_variance = before**0.5 * KNOWN, 1 - before
    found = drawn_pixel(monkeypatch, 1000, 1)
    assert found == pytest.approx((mean, variance**0.5), rel=1e-6)
    assert mean < 0.75 * RHO * KNOWN
    assert variance > 1.5 * (1 - RHO**2)


def test_resampling_comes_nearer_to_the_true_conditional(monkeypatch):
    found = [drawn_pixel(monkeypatch, 200, resample) for resample in (1, 2, 5)]
    off = [abs(mean - RHO * KNOWN) for mean, _ in found]
    assert off[1] < 0.6 * off[0]
    assert off[2] < 0.6 * off[1]
    assert found[2] == pytest.approx((RHO * KNOWN, (1 - RHO**2) ** 0.5), rel=0.08)


def test_every_noise_of_an_inpainting_is_drawn_anew_from_the_generator_that_is_handed_over(schedule, monkeypatch):
    draw, drawn, generator = editing.draw_noise, [], torch.Generator()

    def recorded(like, handed=None):
        assert handed is generator
        drawn.append(draw(like, handed))
        return drawn[-1]

    monkeypatch.setattr(editing, "draw_noise", recorded)
    x = images(2, 1, 3, 5)
    list(sample_inpainting(lambda x, t: 0 * x, schedule, x, x, HALF, 4, resample=2, generator=generator))
    assert len(drawn) == 3 * 5 + 2
    assert len(torch.cat(drawn).unique(dim=0)) == 2 * len(drawn)


def test_the_noise_of_gaussian_data_is_where_its_flow_begins():
    """Without fresh noise N(0, std²) is only stretched: x_T = x_0 · √(ᾱ_T std² + 1 − ᾱ_T) / std."""
    x, std = images(3, 1, 2, 4), 0.5
    model = gaussian_oracle(LONG, 0.0, std)
    alpha_bar = LONG.alphas_cumprod[-1]
    exact = x * (alpha_bar * std**2 + 1 - alpha_bar).sqrt() / std
    far = []
    for steps in (10, 100, 1000):
        found = last(invert_ddim(model, LONG, x, steps))
        far.append(((found - exact).norm() / exact.norm()).item())
    assert far[1] < 0.3 * far[0]
    assert far[2] < 0.3 * far[1]
    assert far[2] < 0.01


def test_there_and_back_returns_the_image_the_better_the_shorter_the_jumps():
    point = images(4, 1, 2, 4).clamp(-1, 1)
    covariance = torch.eye(8, dtype=torch.float64) * 0.3 + 0.5
    model = correlated_oracle(LONG, torch.zeros(8, dtype=torch.float64), covariance)
    off = []
    for steps in (10, 100, 1000):
        x_T = last(invert_ddim(model, LONG, point, steps))
        off.append((last(sample_ddim(model, LONG, x_T, steps)) - point).norm().item())
    assert off[1] < 0.3 * off[0]
    assert off[2] < 0.3 * off[1]
    assert off[2] < 0.01 * point.norm()


def test_the_way_up_starts_at_the_clean_image_and_names_each_level(schedule):
    x = images(2, 1, 3, 4)
    spy = Spy(lambda x, t: 0.1 * x)
    steps = list(invert_ddim(spy, schedule, x, 5))
    times = ddim_timesteps(len(schedule), 5)[::-1]
    assert [step.t for step in steps] == times
    assert spy.levels == [[t] for t in [0, *times[:-1]]]
    assert not any(spy.grad)
    assert torch.equal(steps[0].x_start, x)
    torch.testing.assert_close(steps[0].x, q_sample(schedule, x, torch.tensor([0, 0]), 0.1 * x))
    for before, after in pairwise(steps):  # down again with the same guess of the noise: where it came from
        t, t_prev = (torch.tensor([level] * 2) for level in (after.t, before.t))
        eps = 0.1 * before.x
        torch.testing.assert_close(ddim_step(schedule, after.x, t, t_prev, eps, 0 * x), before.x)


def test_an_arc_keeps_the_length_and_turns_evenly():
    """Two noises of length 3, an angle of 60 degrees apart; and another pair in the same batch, at a right angle."""
    start = torch.zeros(2, 1, 2, 2, dtype=torch.float64)
    start[:, 0, 0, 0] = 3
    end = torch.zeros_like(start)
    end[0, 0, 0, 0], end[0, 0, 0, 1], end[1, 0, 1, 1] = 1.5, 3 * 0.75**0.5, 3
    for share in (0.0, 0.25, 0.5, 1.0):
        point = slerp(start, end, share)
        torch.testing.assert_close(point.flatten(1).norm(dim=1), torch.full((2,), 3.0, dtype=torch.float64))
        turned = (point.flatten(1)[:, 0] / 3).clamp(-1, 1).arccos()
        torch.testing.assert_close(
            turned, share * torch.tensor([math.pi / 3, math.pi / 2]).double(), rtol=1e-6, atol=1e-6
        )
    torch.testing.assert_close(slerp(start, 2 * start, 0.5), 1.5 * start, atol=1e-5, rtol=0)
    torch.testing.assert_close(slerp(start, end, 0.3), slerp(end, start, 0.7))


def labelled(x, t, label=None):
    return x.sin() + label.view(-1, 1, 1, 1) + t.view(-1, 1, 1, 1) / 10


def test_windows_are_asked_with_their_labels_and_averaged_where_they_overlap():
    """Windows of 5 columns at 0, 3 and 6: columns 3, 4 and 6, 7 lie in two of them."""
    label, x, t = torch.tensor([1, 5, 3]), images(2, 1, 4, 11), torch.tensor([7, 2])
    answer = windowed(labelled, label, stride=3, width=5)(x, t)
    told = torch.tensor([1, 1, 1, 3, 3, 5, 4, 4, 3, 3, 3], dtype=torch.float64)  # the mean of the labels of a column
    expected = x.sin() + told + t.view(-1, 1, 1, 1) / 10
    torch.testing.assert_close(answer, expected)
    alone = windowed(labelled, label[:1], stride=3, width=11)
    torch.testing.assert_close(alone(x, t), conditioned(labelled, label[:1].repeat(2))(x, t))


def test_the_mean_of_the_windows_steps_is_the_step_with_the_mean_of_their_noises(schedule):
    label, x = torch.tensor([2, 0]), images(1, 1, 3, 8)
    t, t_prev = torch.tensor([20]), torch.tensor([11])
    step = ddim_step(schedule, x, t, t_prev, windowed(labelled, label, 4, width=4)(x, t), 0 * x)
    parts = [
        ddim_step(schedule, part, t, t_prev, labelled(part, t, label[i : i + 1]), 0 * part)
        for i, part in enumerate(x.split(4, dim=3))
    ]
    torch.testing.assert_close(step, torch.cat(parts, dim=3))
    shared, noise = x[..., 2:6], 0 * x[..., 2:6]
    apart = [labelled(shared, t, one) for one in label.split(1)]
    both = windowed(labelled, label, 2, width=6)(x, t)[..., 2:6]
    steps = [ddim_step(schedule, shared, t, t_prev, eps, noise) for eps in (*apart, both)]
    torch.testing.assert_close(steps[2], (steps[0] + steps[1]) / 2)


def test_correlated_data_is_guessed_as_bayes_rule_says(schedule):
    """E[x_0 | x_t] of jointly Gaussian x_0 and x_t, by solving for the weights; without correlation, pixel by pixel."""
    mean, factor = images(6, seed=3), images(6, 6, seed=4)
    covariance = factor @ factor.T / 6 + 0.1 * torch.eye(6, dtype=torch.float64)
    x = images(4, 1, 2, 3)
    t = torch.tensor([0, 1, len(schedule) // 2, len(schedule) - 1])
    eps = correlated_oracle(schedule, mean, covariance)(x, t)
    for i, level in enumerate(t.tolist()):
        a = schedule.alphas_cumprod[level]
        cross, own = a.sqrt() * covariance, a * covariance + (1 - a) * torch.eye(6, dtype=torch.float64)
        x_start = mean + cross @ torch.linalg.solve(own, x[i].flatten() - a.sqrt() * mean)
        expected = (x[i].flatten() - a.sqrt() * x_start) / (1 - a).sqrt()
        torch.testing.assert_close(eps[i].flatten(), expected, rtol=1e-6, atol=1e-6)
    apart = correlated_oracle(schedule, mean, covariance.diag().diag())
    pixelwise = gaussian_oracle(schedule, mean.view(1, 2, 3), covariance.diag().sqrt().view(1, 2, 3))
    torch.testing.assert_close(apart(x, t), pixelwise(x, t))
