import math

import pytest
import torch
from conftest import images
from diffusers import DDPMScheduler

from diffusion_lib.profiles import ScheduleConfig
from diffusion_lib.schedules import NoiseSchedule, amplitude_weights, cosine_betas, gather, linear_betas, make_schedule


@pytest.mark.parametrize("T", [10, 1000])
def test_both_schedules_equal_diffusers(T):
    for betas, name in ((linear_betas(T), "linear"), (cosine_betas(T), "squaredcos_cap_v2")):
        theirs = DDPMScheduler(num_train_timesteps=T, beta_schedule=name, beta_start=1e-4, beta_end=0.02)
        torch.testing.assert_close(betas, theirs.betas.double(), atol=1e-7, rtol=1e-5)


def test_tables_follow_from_their_definitions(schedule):
    product = 1.0
    for t in range(len(schedule)):
        before, product = product, product * (1 - schedule.betas[t].item())
        assert math.isclose(schedule.alphas_cumprod_prev[t], before, rel_tol=1e-12)
        assert math.isclose(schedule.alphas_cumprod[t], product, rel_tol=1e-10)
        variance = schedule.betas[t].item() * (1 - before) / (1 - product)
        assert math.isclose(schedule.posterior_variance[t], variance, rel_tol=1e-6, abs_tol=1e-15)
    assert schedule.posterior_variance[0] == 0


@pytest.mark.parametrize(("T", "left"), [(50, 0.60), (100, 0.36), (200, 0.13), (500, 0.006), (1000, 4e-5)])
def test_linear_betas_do_not_scale(T, left):
    alpha_bar = NoiseSchedule.from_betas(linear_betas(T)).alphas_cumprod[-1].item()
    assert alpha_bar == pytest.approx(left, rel=0.1)


def test_float32_tables_are_rounded_once():
    betas = linear_betas(1000)
    exact = NoiseSchedule.from_betas(betas)
    once = exact.to("cpu").sqrt_one_minus_alphas_cumprod.double()
    naive = (1 - (1 - betas.float()).cumprod(0)).sqrt().double()
    truth = exact.sqrt_one_minus_alphas_cumprod
    assert ((once - truth) / truth).abs().max() < 1e-7
    assert ((naive - truth) / truth).abs().max() > 1e-6  # what the float64 tables avoid


def test_at_reads_one_entry_for_each_image():
    schedule = NoiseSchedule.from_betas(linear_betas(1000))
    t, like = torch.tensor([0, 999, 5]), images(3, 2, 4, 5, dtype=torch.float32)
    values = schedule.at("alphas_cumprod", t, like)
    assert values.shape == (3, 1, 1, 1)
    assert values.dtype == torch.float32
    torch.testing.assert_close(values.flatten(), schedule.alphas_cumprod[t].float())


@pytest.mark.parametrize(
    ("t", "error", "words"),
    [
        (torch.tensor([0, 1000]), IndexError, "t must lie in 0 ... 999, but runs from 0 to 1000"),
        (torch.tensor([-1, 3]), IndexError, "from -1 to 3"),
        (torch.tensor([[1], [2]]), ValueError, r"shape \(2,\).*has \(2, 1\)"),
        (torch.tensor([1.0, 2.0]), TypeError, "int64"),
        (torch.tensor([1, 2, 3]), ValueError, r"\(3,\)"),
    ],
)
def test_a_wrong_t_is_told_what_was_received(t, error, words):
    check = gather.__wrapped__  # the library's own check, not the type's
    with pytest.raises(error, match=words):
        check(linear_betas(1000), t, images(2, 1, 4, 4))


def test_amplitude_weights_spread_the_amplitude_evenly(schedule):
    """The share drawn up to t is the share of the way that the amplitude has gone from 1 to its last value."""
    for tables in (schedule, schedule.to("cpu")):
        share = amplitude_weights(tables).double().cumsum(0)
        torch.testing.assert_close(share, 1 - schedule.sqrt_alphas_cumprod, rtol=0, atol=1e-5)
        assert (amplitude_weights(tables) > 0).all()


def test_bad_betas_and_names_are_refused():
    for betas in (torch.tensor([0.1, 1.0]), torch.tensor([0.0, 0.1]), torch.tensor([])):
        with pytest.raises(ValueError, match="inside"):
            NoiseSchedule.from_betas(betas.double())
    with pytest.raises(ValueError, match="at least 1"):
        linear_betas(0)
    unknown = ScheduleConfig()
    object.__setattr__(unknown, "kind", "sqrt")  # past the type check that the tests switch on
    with pytest.raises(ValueError, match="choose one of linear, cosine"):
        make_schedule(unknown)
    with pytest.raises(AttributeError, match="choose one of betas"):
        NoiseSchedule.from_betas(linear_betas(10)).at("beta", torch.tensor([0]), images(1, 1, 2, 2))
