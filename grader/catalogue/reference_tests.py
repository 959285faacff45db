"""Tests as a student might hand them in, as tests_by_me.py: they catch the whole catalogue and refuse no honest style.

Right code may differ: in the dtype of its answer, in the variance of p_sample (β_t or β̃_t), in whether it clips x̂_0.
Stays with the teacher.
"""

import torch
from torch import nn

from diffusion_lib.schedules import NoiseSchedule, linear_betas

T = 40
SCHEDULE = NoiseSchedule.from_betas(linear_betas(T, 0.002, 0.3))  # short and steep: neighbouring levels differ
LEVELS = torch.tensor([0, 1, 10, 20, 39])
SHAPE = (5, 2, 3, 4)  # all sides differ: no broadcast can agree by chance
SIGNAL = SCHEDULE.alphas_cumprod.sqrt()
SIGMA = (1 - SCHEDULE.alphas_cumprod).sqrt()


def images():
    """Clean images inside [-1, 1], and noise."""
    return 1.8 * torch.rand(SHAPE, dtype=torch.float64) - 0.9, torch.randn(SHAPE, dtype=torch.float64)


def column(table, t=LEVELS):
    return table[t].reshape(-1, 1, 1, 1)


def assert_close(got, wanted):
    torch.testing.assert_close(got.double(), wanted.double(), rtol=1e-4, atol=1e-4)


# q_sample
def test_every_level_is_signal_and_noise_in_the_right_parts(q_sample):
    x, noise = images()
    assert_close(q_sample(SCHEDULE, x, LEVELS, noise), column(SIGNAL) * x + column(SIGMA) * noise)


def test_noise_far_from_0_comes_in_whole(q_sample):
    x, noise = images()
    assert_close(q_sample(SCHEDULE, 0 * x, LEVELS, 6 * noise.sign()), column(SIGMA) * 6 * noise.sign())


def test_a_single_image_is_noised_like_one_of_a_batch(q_sample):
    x, noise = images()
    whole = q_sample(SCHEDULE, x, LEVELS, noise)
    assert_close(q_sample(SCHEDULE, x[3:4], LEVELS[3:4], noise[3:4]), whole[3:4])


# ddpm_loss
class Model(nn.Module):
    """Answers weight * x_t + level * t, and keeps what it was asked."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
        self.asked = []

    def forward(self, x, t, label=None):
        self.asked.append((x, t, label, self.training))
        return (self.weight * x).to(x.dtype)


def asked(ddpm_loss, x, label=None, **given):
    """The loss, and the only question that the model was asked."""
    model = Model().train()
    loss = ddpm_loss(model, SCHEDULE, x, label, **given)
    assert len(model.asked) == 1
    assert model.training
    return loss, model, model.asked[0]


def test_the_loss_of_given_t_and_noise(ddpm_loss):
    x, noise = images()
    loss, model, (x_t, t, label, training) = asked(ddpm_loss, x, LEVELS % 10, t=LEVELS, noise=noise)
    assert_close(x_t, column(SIGNAL) * x + column(SIGMA) * noise)
    assert torch.equal(t, LEVELS)
    assert torch.equal(label, LEVELS % 10)
    assert training
    assert loss.shape == ()
    assert_close(loss, (0.5 * x_t - noise).square().mean())
    loss.backward()
    assert_close(model.weight.grad, (2 * (0.5 * x_t - noise) * x_t).mean())


def test_without_labels_the_model_gets_none(ddpm_loss):
    x, noise = images()
    _, _, (_, t, label, _) = asked(ddpm_loss, x, t=LEVELS, noise=noise)
    assert torch.equal(t, LEVELS)
    assert label is None


def test_what_is_drawn(ddpm_loss):
    x = torch.zeros(4000, 1, 2, 3, dtype=torch.float64)  # of an empty image x_t is all noise
    loss, _, (x_t, t, _, _) = asked(ddpm_loss, x)
    noise = x_t.double() / column(SIGMA, t)
    assert_close(loss, (0.5 * x_t - noise).square().mean())
    counts = torch.bincount(t, minlength=T)
    assert len(counts) == T
    assert counts.min() > 40  # 100 of each are expected
    assert counts.max() < 180
    assert abs(noise.mean()) < 0.1
    assert abs(noise.std() - 1) < 0.1
    assert noise.abs().max() > 3  # 65 of 24,000 are expected
    assert noise.std(dim=0).min() > 0.5  # between images
    assert noise.std(dim=(1, 2, 3)).median() > 0.5  # inside an image


def test_only_what_is_not_given_is_drawn(ddpm_loss):
    x, noise = images()
    _, _, (x_t, t, _, _) = asked(ddpm_loss, x, noise=noise)
    assert_close(x_t, column(SIGNAL, t) * x + column(SIGMA, t) * noise)
    _, _, (_, t, _, _) = asked(ddpm_loss, x, t=LEVELS)
    assert torch.equal(t, LEVELS)


# p_sample: x_t is made of an image inside [-1, 1] and the guess is its noise, so that clipping x̂_0 changes nothing
def step(p_sample, fresh, t=LEVELS):
    """The answer for fresh noise that is the same number everywhere, the clean image, and the guess."""
    x, eps = images()
    x_t = column(SIGNAL, t) * x + column(SIGMA, t) * eps
    return p_sample(SCHEDULE, x_t, t, eps, torch.full_like(x, fresh)), x, eps


def test_the_mean_lies_between_the_clean_image_and_x_t(p_sample):
    got, x, eps = step(p_sample, 0.0)
    bar, beta = column(SCHEDULE.alphas_cumprod), column(SCHEDULE.betas)
    previous = bar / (1 - beta)
    x_t = bar.sqrt() * x + (1 - bar).sqrt() * eps
    mean = (previous.sqrt() * beta * x + (1 - beta).sqrt() * (1 - previous) * x_t) / (1 - bar)  # DDPM eq. 7
    assert_close(got, mean)


def spreads(p_sample, t):
    """By how much the answer moves, image by image, where the fresh noise goes from 0 to 1; the same at every pixel."""
    torch.manual_seed(1)
    still, _, _ = step(p_sample, 0.0, t)
    torch.manual_seed(1)
    moved = (step(p_sample, 1.0, t)[0] - still).flatten(1)
    assert_close(moved, moved[:, :1].expand_as(moved))
    return moved[:, 0].double()


def test_fresh_noise_has_one_of_two_spreads_and_none_at_the_last_step(p_sample):
    for t in (LEVELS, LEVELS.flip(0), LEVELS.clamp(min=1)):
        spread = spreads(p_sample, t)
        assert_close(spread[t == 0], torch.zeros(int((t == 0).sum())))
        larger, smaller = SCHEDULE.betas[t].sqrt(), SCHEDULE.posterior_variance[t].sqrt()
        near = torch.minimum((spread - larger).abs(), (spread - smaller).abs())
        assert near[t > 0].max() < 1e-4


def test_fresh_noise_far_from_0_comes_in_whole(p_sample):
    torch.manual_seed(1)
    still, _, _ = step(p_sample, 0.0)
    torch.manual_seed(1)
    assert_close(step(p_sample, 6.0)[0] - still, 6 * spreads(p_sample, LEVELS).reshape(-1, 1, 1, 1).expand(SHAPE))


def test_the_same_arguments_give_the_same_answer(p_sample):
    x, eps = images()
    noise = torch.randn(SHAPE, dtype=torch.float64)
    assert_close(p_sample(SCHEDULE, x, LEVELS, eps, noise), p_sample(SCHEDULE, x, LEVELS, eps, noise))
