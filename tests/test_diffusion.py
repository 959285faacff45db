"""Every equation against diffusers' schedulers and against the other form of itself, in float64."""

import pytest
import torch
from conftest import images, probe_times
from diffusers import DDIMScheduler, DDPMScheduler

from diffusion_lib.diffusion import ddim_step, ddpm_loss, p_sample, predict_x_start, q_posterior, q_sample

SHAPE = (6, 2, 4, 5)  # B, C, H and W all differ: no broadcast can agree by chance


def theirs(kind, schedule, **options):
    scheduler = kind(
        trained_betas=schedule.betas.numpy(), num_train_timesteps=len(schedule), clip_sample=False, **options
    )
    scheduler.alphas_cumprod = schedule.alphas_cumprod  # float64, where they keep float32
    scheduler.betas, scheduler.alphas, scheduler.one = schedule.betas, schedule.alphas, torch.tensor(1.0).double()
    return scheduler


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_q_sample_equals_diffusers(schedule, dtype):
    x, noise, t = images(*SHAPE, dtype=dtype), images(*SHAPE, seed=1, dtype=dtype), probe_times(len(schedule))
    expected = theirs(DDPMScheduler, schedule).add_noise(x.double(), noise.double(), t)
    ours = q_sample(schedule, x, t, noise)
    assert ours.dtype == dtype
    torch.testing.assert_close(ours.double(), expected, atol=1e-6 if dtype == torch.float32 else 1e-12, rtol=0)


def test_predict_x_start_inverts_q_sample(schedule):
    x, noise, t = images(*SHAPE), images(*SHAPE, seed=1), probe_times(len(schedule))
    t = t[schedule.alphas_cumprod[t] > 1e-8]
    x, noise = x[: len(t)], noise[: len(t)]
    torch.testing.assert_close(predict_x_start(schedule, q_sample(schedule, x, t, noise), t, noise), x)


def test_p_sample_mean_equals_diffusers_and_its_noise_has_the_posterior_spread(schedule):
    x, eps, zero = images(*SHAPE), images(*SHAPE, seed=1), torch.zeros(SHAPE, dtype=torch.float64)
    times = probe_times(len(schedule))
    mean = p_sample(schedule, x, times, eps, zero)
    scheduler = theirs(DDPMScheduler, schedule, variance_type="fixed_small")
    for i, t in enumerate(times.tolist()):
        pred = predict_x_start(schedule, x[i : i + 1], times[i : i + 1], eps[i : i + 1])
        expected = scheduler.step(eps[i : i + 1], t, x[i : i + 1], generator=torch.Generator().manual_seed(0))
        drawn = torch.randn((1, *SHAPE[1:]), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        if t > 0:
            fresh = drawn * scheduler._get_variance(t) ** 0.5
            torch.testing.assert_close(mean[i : i + 1] + fresh, expected.prev_sample, atol=1e-7, rtol=1e-6)
        else:
            torch.testing.assert_close(mean[i : i + 1], pred, atol=1e-8, rtol=1e-8)
    added = p_sample(schedule, x, times, eps, torch.ones_like(x)) - mean
    spread = schedule.posterior_variance[times].sqrt().view(-1, 1, 1, 1).expand_as(x)
    torch.testing.assert_close(added, spread, atol=1e-12, rtol=1e-9)


def test_eq_7_and_eq_11_are_the_same_mean(schedule):
    x, eps, t = images(*SHAPE), images(*SHAPE, seed=1), probe_times(len(schedule))
    eq_7 = q_posterior(schedule, predict_x_start(schedule, x, t, eps), x, t)
    eq_11 = p_sample(schedule, x, t, eps, torch.zeros_like(x))
    torch.testing.assert_close(eq_7.mean, eq_11, atol=1e-7, rtol=1e-7)
    torch.testing.assert_close(eq_7.variance.flatten(), schedule.posterior_variance[t])


def test_q_posterior_is_bayes_rule(schedule):
    """Completing the square by hand: precisions add, means are weighted by precision."""
    x_0, x_t, t = images(*SHAPE), images(*SHAPE, seed=1), probe_times(len(schedule))[1:]
    x_0, x_t = x_0[: len(t)], x_t[: len(t)]
    beta, prev = (getattr(schedule, n)[t].view(-1, 1, 1, 1) for n in ("betas", "alphas_cumprod_prev"))
    precision = (1 - beta) / beta + 1 / (1 - prev)
    mean = ((1 - beta).sqrt() / beta * x_t + prev.sqrt() / (1 - prev) * x_0) / precision
    ours = q_posterior(schedule, x_0, x_t, t)
    torch.testing.assert_close(ours.mean, mean)
    torch.testing.assert_close(ours.variance, 1 / precision)


@pytest.mark.parametrize("steps", [5, 20])
@pytest.mark.parametrize("eta", [0.0, 0.7, 1.0])
def test_ddim_step_equals_diffusers(schedule, steps, eta):
    scheduler = theirs(DDIMScheduler, schedule, set_alpha_to_one=True)
    scheduler.final_alpha_cumprod = torch.tensor(1.0).double()
    scheduler.set_timesteps(steps)
    x, eps, noise = images(1, 2, 4, 5), images(1, 2, 4, 5, seed=1), images(1, 2, 4, 5, seed=2)
    for t in scheduler.timesteps.tolist():
        before = max(t - len(schedule) // steps, -1)
        ours = ddim_step(schedule, x, torch.tensor([t]), torch.tensor([before]), eps, noise, eta)
        expected = scheduler.step(eps, t, x, eta=eta, variance_noise=noise).prev_sample
        torch.testing.assert_close(ours, expected, atol=1e-9, rtol=1e-7)


def test_ddim_with_eta_1_and_every_step_is_ddpm(schedule):
    t = probe_times(len(schedule))
    x, eps, noise = images(*SHAPE), images(*SHAPE, seed=1), images(*SHAPE, seed=2)
    ddim = ddim_step(schedule, x, t, t - 1, eps, noise, eta=1.0)
    torch.testing.assert_close(ddim, p_sample(schedule, x, t, eps, noise), atol=1e-6, rtol=1e-6)


class Spy(torch.nn.Module):
    """Answers ``scale * x`` and writes down what it was asked."""

    def __init__(self):
        super().__init__()
        self.scale, self.calls = torch.nn.Parameter(torch.tensor(0.5, dtype=torch.float64)), []

    def forward(self, x, t, label=None):
        self.calls.append((x, t, label))
        return self.scale * x


def test_ddpm_loss_by_hand(schedule):
    x, noise, t, label = images(*SHAPE), images(*SHAPE, seed=1), probe_times(len(schedule)), torch.arange(6)
    spy = Spy()
    loss = ddpm_loss(spy, schedule, x, label, t=t, noise=noise)
    x_t = q_sample(schedule, x, t, noise)
    torch.testing.assert_close(loss.detach(), ((0.5 * x_t - noise) ** 2).mean())
    seen_x, seen_t, seen_label = spy.calls[0]
    torch.testing.assert_close(seen_x, x_t)
    assert seen_t is t
    assert seen_label is label
    loss.backward()
    assert spy.scale.grad is not None
    assert spy.scale.grad != 0


def test_ddpm_loss_draws_every_level_and_one_for_each_image():
    from diffusion_lib.schedules import NoiseSchedule, linear_betas

    schedule, spy = NoiseSchedule.from_betas(linear_betas(10)), Spy()
    for _ in range(20):
        ddpm_loss(spy, schedule, images(64, 1, 2, 2))
    drawn = torch.stack([t for _, t, _ in spy.calls])
    assert drawn.unique().tolist() == list(range(10))  # misses one with probability below 1e-57
    assert all(len(t.unique()) > 1 for t in drawn)


def test_a_model_that_answers_zero_scores_one():
    from diffusion_lib.schedules import NoiseSchedule, linear_betas

    schedule = NoiseSchedule.from_betas(linear_betas(100))
    loss = ddpm_loss(lambda x, t, label=None: torch.zeros_like(x), schedule, images(100, 1, 28, 28))
    assert abs(loss - 1) < 0.05  # ten standard errors of the mean of 78,400 squares
