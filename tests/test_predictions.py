"""What a network is taught: each kind says all the others, by the definition of x_t alone."""

import pytest
import torch
from conftest import images

from diffusion_lib.diffusion import ddpm_loss, q_sample
from diffusion_lib.predictions import PREDICTIONS, predicting, prediction_loss


def facts(schedule):
    x_start, noise = images(4, 2, 3, 5).clamp(-1, 1), images(4, 2, 3, 5, seed=1)
    T = len(schedule)
    t = torch.tensor([0, T // 3, T // 2, T - 1])
    return x_start, noise, t, q_sample(schedule, x_start, t, noise)


def by_hand(schedule, x_start, noise, t):
    """Every target, entry by entry, from its paper's definition."""
    alpha_bar = schedule.alphas_cumprod[t].double().view(-1, 1, 1, 1)
    return {
        "eps": noise,
        "x_start": x_start,
        "v": alpha_bar**0.5 * noise - (1 - alpha_bar) ** 0.5 * x_start,
        "velocity": noise - x_start,
    }


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_a_perfect_answer_of_any_kind_implies_the_noise(schedule, kind):
    x_start, noise, t, x_t = facts(schedule)
    answer = by_hand(schedule, x_start, noise, t)[kind]
    seen = []

    def model(x, t, label=None):
        seen.append(label)
        return answer

    eps = predicting(kind, model, schedule)(x_t, t, torch.tensor([1, 2, 3, 4]))
    torch.testing.assert_close(eps, noise, atol=1e-5, rtol=1e-5)
    assert seen[0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("kind", PREDICTIONS)
def test_the_loss_is_the_squared_error_of_its_own_target(schedule, kind):
    x_start, noise, t, x_t = facts(schedule)
    answer = images(4, 2, 3, 5, seed=2)

    def model(x, times, label=None):
        torch.testing.assert_close(x, x_t)
        assert torch.equal(times, t)
        return answer

    expected = (answer - by_hand(schedule, x_start, noise, t)[kind]).square().mean()
    loss = prediction_loss(kind)(model, schedule, x_start, None, t=t, noise=noise)
    torch.testing.assert_close(loss, expected, atol=1e-6, rtol=1e-5)
    if kind == "eps":
        torch.testing.assert_close(loss, ddpm_loss(model, schedule, x_start, None, t=t, noise=noise))


def test_an_unknown_kind_is_told_the_known_ones(schedule):
    with pytest.raises(ValueError, match="unknown prediction 'score'; choose one of eps, x_start, v, velocity"):
        prediction_loss("score")
