"""Noise that is cut off is caught at every level below 6, wherever it is cut; honest ways to draw it are not."""

import math
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import ROOT
from torch.nn.functional import mse_loss

from diffusion_lib import diffusion
from diffusion_lib.homework import check

LEVELS = (0.9, 2.2, 2.7, 3.5, 3.7, 4.5, 5.8)


def q_noise(most):
    return lambda s, x, t, e: diffusion.q_sample(s, x, t, e.clamp(-most, most))


def q_answer(most):
    return lambda s, x, t, e: diffusion.q_sample(s, x, t, e).clamp(-most, most)


def p_fresh(most):
    return lambda s, x, t, eps, z: diffusion.p_sample(s, x, t, eps, z.clamp(-most, most))


def p_guess(most):
    return lambda s, x, t, eps, z: diffusion.p_sample(s, x, t, eps.clamp(-most, most), z)


def p_image(most):
    return lambda s, x, t, eps, z: diffusion.p_sample(s, x.clamp(-most, most), t, eps, z)


def ddim_fresh(most):
    return lambda s, x, t, p, eps, z, eta=0.0: diffusion.ddim_step(s, x, t, p, eps, z.clamp(-most, most), eta)


def loss(draw, given=lambda e: e, noisy=lambda x: x):
    """The loss with another way to draw, to take what is given, to show what is noised."""

    def f(model, schedule, x_start, label=None, *, t=None, noise=None):
        t = torch.randint(len(schedule), (len(x_start),)) if t is None else t
        noise = draw(x_start) if noise is None else given(noise)
        return mse_loss(model(noisy(diffusion.q_sample(schedule, x_start, t, noise)), t, label), noise)

    return f


def loss_drawn(most):
    return loss(lambda x: torch.randn_like(x).clamp(-most, most))


def loss_any(most):
    return loss(lambda x: torch.randn(x.shape, dtype=x.dtype).clip(-most, most), lambda e: e.clip(-most, most))


def loss_given(most):
    return loss(torch.randn_like, lambda e: e.clamp(-most, most))


def loss_noisy(most):
    return loss(torch.randn_like, noisy=lambda x: x.clamp(-most, most))


CUT = {
    "q_sample": (q_noise, q_answer), "p_sample": (p_fresh, p_guess, p_image), "ddim_step": (ddim_fresh,),
    "ddpm_loss": (loss_drawn, loss_any, loss_given, loss_noisy),
}  # fmt: skip


@pytest.mark.parametrize("most", LEVELS)
@pytest.mark.parametrize(("exercise", "cut"), [(name, cut) for name, cuts in CUT.items() for cut in cuts])
def test_whatever_is_cut_off_below_6_is_caught(exercise, cut, most):
    assert not check(exercise, cut(most))


@pytest.mark.parametrize("most", [most for most in LEVELS if most > 3.6])
@pytest.mark.parametrize(("exercise", "cut", "name"), [
    ("q_sample", q_noise, "the noise is clamped"), ("p_sample", p_fresh, "the fresh noise is clamped"),
    ("ddpm_loss", loss_drawn, "the noise has no tails"), ("ddpm_loss", loss_any, "the noise has no tails"),
])  # fmt: skip
def test_it_is_named_where_it_cuts_none_of_the_other_questions_numbers(exercise, cut, name, most):
    assert [mistake["name"] for mistake in check(exercise, cut(most)).mistakes] == [name]


def test_what_is_cut_far_out_is_nobodys_mistake():
    for exercise, cuts in CUT.items():
        for cut in cuts:
            assert check(exercise, cut(1000.0))


def box_muller(x):
    u, v = torch.rand((2, *x.shape), dtype=torch.float64).clamp(min=1e-300)
    return ((-2 * u.log()).sqrt() * (2 * math.pi * v).cos()).to(x.dtype)


HONEST = {
    "randn": lambda x: torch.randn(*x.shape, dtype=x.dtype, device=x.device),
    "normal_": lambda x: torch.empty_like(x).normal_(),
    "normal": lambda x: torch.normal(0.0, 1.0, x.shape, dtype=x.dtype),
    "normal of tensors": lambda x: torch.normal(torch.zeros_like(x), torch.ones_like(x)),
    "distribution": lambda x: torch.distributions.Normal(0.0, 1.0).sample(x.shape).to(x.dtype),
    "generator": lambda x: torch.randn(x.shape, dtype=x.dtype, generator=torch.default_generator),
    "mean of two": lambda x: (torch.randn_like(x) + torch.randn_like(x)) / 2**0.5,
    "inverse": lambda x: torch.special.ndtri(torch.rand(x.shape, dtype=torch.float64).clamp(1e-16, 1 - 1e-16)),
    "numpy": lambda x: torch.from_numpy(np.random.default_rng().standard_normal(x.shape)).to(x.dtype),
    "box and muller": box_muller,
}


@pytest.mark.parametrize("way", HONEST)
def test_an_honest_way_to_draw_is_let_through(way):
    assert check("ddpm_loss", loss(HONEST[way]))


def test_a_check_leaves_torchs_own_numbers_as_they_were():
    state = torch.get_rng_state()
    check("ddpm_loss")
    assert torch.equal(state, torch.get_rng_state())
    assert torch.randn(1000).unique().numel() > 900


IMPORTS = """
import sys
import torch
from diffusion_lib.diffusion import ddpm_loss
from diffusion_lib.homework.probes import observe
known = set(sys.modules)
observe("ddpm_loss", ddpm_loss)
print(len(set(sys.modules) - known))
"""


def test_the_loss_is_watched_without_a_thousand_more_modules():
    """Each hand-in would load them anew."""
    done = subprocess.run([sys.executable, "-c", IMPORTS], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 50
