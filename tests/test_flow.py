"""Straight paths against data whose velocity is known exactly, and the identity with a predictor of noise."""

from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from conftest import images
from torch.nn.functional import mse_loss

from diffusion_lib.diffusion import predict_eps, predict_x_start, q_sample
from diffusion_lib.flow import (
    as_noise,
    as_velocity,
    euler_step,
    even_levels,
    flow_loss,
    path_time,
    path_times,
    sample_flow,
    straight_path,
)
from diffusion_lib.guidance import conditioned, guided
from diffusion_lib.oracles import finite_set_oracle, gaussian_oracle, point_oracle
from diffusion_lib.profiles import PROFILES
from diffusion_lib.samplers import generate, last, sample_ddim
from diffusion_lib.schedules import NoiseSchedule, linear_betas, straight_betas
from diffusion_lib.training.checkpoints import Pretrained, load_pretrained
from diffusion_lib.training.loop import Trainer
from diffusion_lib.training.recipe import TARGETS

LABEL = torch.tensor([4, 0, 9, 4])


@pytest.fixture(params=["straight", "linear"])
def any_schedule(request):
    """In float64: the schedule of straight paths, and one that is anything but even in τ."""
    return NoiseSchedule.from_betas(straight_betas(200) if request.param == "straight" else linear_betas(1000))


def shares(schedule, t):
    """τ from the definition of ᾱ alone, (B, 1, 1, 1)."""
    ratio = (1 / schedule.alphas_cumprod[t] - 1).sqrt()  # noise to signal
    return (ratio / (1 + ratio)).view(-1, 1, 1, 1)


def unlabelled(eps_model):
    return lambda x, t, label=None: eps_model(x, t)


def waves(x, t, label=None):
    """Any network: its answer depends on point, level and label."""
    seen = 0.0 if label is None else label.view(-1, 1, 1, 1)
    return (3 * x + seen).sin() + (t / 50).cos().view(-1, 1, 1, 1)


def test_the_straight_schedule_is_even_in_tau():
    times = path_times(NoiseSchedule.from_betas(straight_betas(200)))
    assert times[:-1] == pytest.approx([n / 200 for n in range(200)], abs=1e-12)
    assert 0.999 < times[-1] < 1


def test_a_level_lies_on_the_path_where_its_amplitudes_say(any_schedule):
    x_start, noise, t = images(4, 2, 3, 5), images(4, 2, 3, 5, seed=1), torch.tensor([0, 60, 110, 199])
    a, s = any_schedule.sqrt_alphas_cumprod[t], any_schedule.sqrt_one_minus_alphas_cumprod[t]
    tau = path_time(any_schedule, t, x_start)
    torch.testing.assert_close(tau, shares(any_schedule, t), atol=1e-12, rtol=1e-9)
    x_tau = q_sample(any_schedule, x_start, t, noise) / (a + s).view(-1, 1, 1, 1)
    torch.testing.assert_close(straight_path(x_start, noise, tau), x_tau)
    assert [path_times(any_schedule)[i + 1] for i in t] == pytest.approx(tau.flatten().tolist())


def test_the_loss_is_the_error_of_the_velocity_at_the_point_of_the_path(any_schedule):
    x_start, noise, t = images(4, 2, 3, 5), images(4, 2, 3, 5, seed=1), torch.tensor([0, 60, 110, 199])
    answer, tau = images(4, 2, 3, 5, seed=2), shares(any_schedule, t)

    def model(x, times, label):
        torch.testing.assert_close(x, x_start + tau * (noise - x_start), atol=1e-12, rtol=1e-9)
        assert torch.equal(times, t)
        assert torch.equal(label, LABEL)
        return answer

    expected = (noise - x_start - answer).square().mean()
    torch.testing.assert_close(flow_loss(model, any_schedule, x_start, LABEL, t=t, noise=noise), expected)


def test_the_exact_velocity_is_the_mean_of_all_lines_through_a_point(any_schedule):
    data, x_tau, t = images(6, 2, 1, 1).clamp(-1, 1), images(3, 2, 1, 1, seed=1) / 2, torch.tensor([20, 90, 150])
    tau = shares(any_schedule, t)
    lines = (x_tau[:, None] - data) / tau[:, None]  # image i becomes x_τ with this velocity, and the noise i + velocity
    weights = torch.distributions.Normal(0, 1).log_prob(data + lines).sum(dim=(2, 3, 4)).softmax(dim=1)
    expected = (weights.view(3, 6, 1, 1, 1) * lines).sum(dim=1)
    exact = as_velocity(unlabelled(finite_set_oracle(any_schedule, data)), any_schedule)(x_tau, t)
    torch.testing.assert_close(exact, expected, atol=1e-7, rtol=1e-7)


def test_a_noise_predictor_is_a_velocity_predictor_both_ways(any_schedule):
    x, t = images(4, 1, 3, 5), torch.tensor([3, 60, 110, 199])
    for back_again in (
        as_noise(as_velocity(waves, any_schedule), any_schedule),
        as_velocity(as_noise(waves, any_schedule), any_schedule),
    ):
        torch.testing.assert_close(back_again(x, t, LABEL), waves(x, t, LABEL), atol=1e-10, rtol=1e-10)


def test_velocity_of_a_noise_predictor_is_its_noise_minus_its_image(any_schedule):
    x_start, noise, t = images(4, 1, 3, 5), images(4, 1, 3, 5, seed=1), torch.tensor([3, 60, 110, 199])
    x_tau = straight_path(x_start, noise, shares(any_schedule, t))
    knows = as_velocity(lambda x, t, label=None: predict_eps(any_schedule, x, t, x_start), any_schedule)
    torch.testing.assert_close(knows(x_tau, t), noise - x_start, atol=1e-8, rtol=1e-8)
    told = as_noise(lambda x, t, label=None: noise - x_start, any_schedule)
    x_t = q_sample(any_schedule, x_start, t, noise)
    torch.testing.assert_close(told(x_t, t), noise, atol=1e-10, rtol=1e-10)


def test_guidance_is_the_same_line_on_either_axis(any_schedule):
    x, t = images(4, 1, 3, 5), torch.tensor([3, 60, 110, 199])
    first = guided(as_noise(waves, any_schedule), LABEL, 2.5)(x, t)
    guided_flow = guided(waves, LABEL, 2.5)
    after = as_noise(lambda x, t, label=None: guided_flow(x, t), any_schedule)(x, t)
    torch.testing.assert_close(first, after, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("heun", [False, True])
@pytest.mark.parametrize("num_steps", [1, 3])
def test_one_point_is_reached_in_any_number_of_steps(any_schedule, num_steps, heun):
    point = images(1, 3, 5).clamp(-1, 1)
    velocity = as_velocity(unlabelled(point_oracle(any_schedule, point)), any_schedule)
    states = list(sample_flow(velocity, any_schedule, images(4, 1, 3, 5, seed=1), num_steps, heun=heun))
    assert len(states) == num_steps
    torch.testing.assert_close(states[-1].x, point.expand(4, 1, 3, 5), atol=1e-7, rtol=0)
    torch.testing.assert_close(states[0].x_start, point.expand(4, 1, 3, 5), atol=1e-7, rtol=0)


def test_euler_goes_as_far_as_the_velocity_and_the_time_say():
    x, v = images(2, 1, 3, 5), images(2, 1, 3, 5, seed=1)
    torch.testing.assert_close(euler_step(x, 0.75, 0.25, v), x - v / 2)
    assert torch.equal(euler_step(x, 0.5, 0.5, v), x)


@pytest.mark.parametrize(("heun", "order"), [(False, 1), (True, 2)])
def test_the_error_falls_as_the_order_says(heun, order):
    schedule = NoiseSchedule.from_betas(straight_betas(4096, max_beta=1 - 1e-12))
    velocity = as_velocity(unlabelled(gaussian_oracle(schedule, 0.5, 0.25)), schedule)
    x_T = images(8, 1, 1, 1)
    exact = 0.5 + 0.25 * x_T  # the flow of one Gaussian to another is linear
    errors = [
        (last(sample_flow(velocity, schedule, x_T, n, heun=heun)) - exact).abs().max().item() for n in (64, 128, 256)
    ]
    for coarse, fine in pairwise(errors):
        assert coarse / fine == pytest.approx(2**order, rel=0.25)


def test_looks_are_counted_and_evenly_spaced():
    schedule, seen = NoiseSchedule.from_betas(straight_betas(200)), []

    def velocity(x, t):
        seen.append(int(t[0]))
        return x

    last(sample_flow(velocity, schedule, images(2, 1, 3, 5), 4))
    assert seen == [199, 149, 99, 49] == even_levels(schedule, 4)
    seen.clear()
    last(sample_flow(velocity, schedule, images(2, 1, 3, 5), 4, heun=True))
    assert seen == [199, 149, 149, 99, 99, 49, 49]
    with pytest.raises(ValueError, match=r"num_steps must lie in 1 ... 200, but is 0"):
        even_levels(schedule, 0)


def test_ddim_without_noise_is_euler_on_the_path():
    schedule, x_T = NoiseSchedule.from_betas(straight_betas(200)), images(4, 1, 3, 5)
    walked = last(sample_flow(conditioned(waves, LABEL), schedule, x_T, 200))  # all levels: both walk the same ones
    jumped = last(sample_ddim(conditioned(as_noise(waves, schedule), LABEL), schedule, x_T, 200))
    torch.testing.assert_close(walked, jumped, atol=1e-8, rtol=1e-8)


def test_a_target_says_loss_and_noise_and_generate_takes_it():
    schedule, x, t = NoiseSchedule.from_betas(straight_betas(50)), images(4, 1, 3, 5), torch.tensor([3, 16, 31, 49])
    noise, taught = images(4, 1, 3, 5, seed=1), TARGETS["velocity"]
    perfect = as_velocity(lambda x_t, t, label=None: predict_eps(schedule, x_t, t, x), schedule)
    assert taught.loss(perfect, schedule, x, LABEL, t=t, noise=noise).item() < 1e-18
    x_t = q_sample(schedule, x, t, noise)
    torch.testing.assert_close(taught.eps_model(perfect, schedule)(x_t, t, LABEL), noise, atol=1e-9, rtol=1e-9)
    assert TARGETS["noise"].eps_model(perfect, schedule) is perfect
    assert TARGETS["noise"].loss(lambda *_: noise, schedule, x, LABEL, t=t, noise=noise) == mse_loss(noise, noise)
    point = images(1, 3, 5, dtype=torch.float32).clamp(-1, 1)
    flow = as_velocity(unlabelled(point_oracle(schedule.to("cpu"), point)), schedule.to("cpu"))
    drawn = generate(as_noise(flow, schedule.to("cpu")), schedule.to("cpu"), LABEL, 5, shape=(1, 3, 5))
    torch.testing.assert_close(drawn, point.expand(4, 1, 3, 5), atol=1e-3, rtol=0)


def test_the_image_seen_is_where_the_line_ends():
    schedule = NoiseSchedule.from_betas(straight_betas(50))
    states = list(sample_flow(lambda x, t: waves(x, t), schedule, images(4, 1, 3, 5), 5))
    before, times = states[1].x, path_times(schedule)
    level = states[2].t
    v = waves(before, torch.full((4,), level))
    torch.testing.assert_close(states[2].x_start, before - times[level + 1] * v)
    x_t = before * sum(table[level] for table in (schedule.sqrt_alphas_cumprod, schedule.sqrt_one_minus_alphas_cumprod))
    t = torch.full((4,), level)
    seen = predict_x_start(schedule, x_t, t, as_noise(waves, schedule)(x_t, t))
    torch.testing.assert_close(states[2].x_start, seen, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize("target", TARGETS)
def test_a_profile_names_what_its_network_is_taught(stand_in, target):
    tiny, few = PROFILES["tiny"], stand_in.take(64)
    profile = replace(tiny, train=replace(tiny.train, target=target))
    trainer = Trainer(profile, few, few, torch.device("cpu"))
    assert trainer.loss is TARGETS[target].loss
    x, t = images(2, 1, 28, 28, dtype=torch.float32), torch.tensor([5, 80])
    said = TARGETS[target].eps_model(trainer.ema, trainer.schedule)(x, t, None)
    assert torch.equal(trainer.eps_model(x, t, None), said)
    assert torch.equal(Pretrained(trainer.ema, trainer.schedule, profile, {}).eps_model(x, t, None), said)


def test_the_shipped_flow_was_taught_straight_paths():
    profile, ours = load_pretrained("flow").profile, PROFILES["flow"]
    assert (profile.train.target, profile.schedule, profile.unet) == ("velocity", ours.schedule, ours.unet)
    assert profile.unet == PROFILES["laptop"].unet
