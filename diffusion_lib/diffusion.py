"""The mathematics of Ho, Jain and Abbeel 2020, "Denoising Diffusion Probabilistic Models" (DDPM).

One function for each equation. None of them knows a network, and none of them draws hidden noise:
whatever is random comes in as an argument.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from diffusion_lib.schedules import NoiseSchedule, gather
from diffusion_lib.shapes import Images, Labels, Timesteps


class Gaussian(NamedTuple):
    """A normal distribution with independent pixels."""

    mean: Tensor  # (B, C, H, W)
    variance: Tensor  # (B, 1, 1, 1)


@runtime_checkable
class LabelledModel(Protocol):
    """Anything that predicts the noise in x_t, given t and perhaps a label. A UNet is one."""

    def __call__(self, x: Images, t: Timesteps, label: Labels | None = None, /) -> Images: ...


def q_sample(schedule: NoiseSchedule, x_start: Images, t: Timesteps, noise: Images) -> Images:
    """Noise a clean image to level t in one step (DDPM eq. 4).

    x_t = √ᾱ_t · x_0 + √(1 − ᾱ_t) · ε

    ``x_start`` in [-1, 1] and ``noise`` ~ N(0, I), both (B, C, H, W); ``t`` int64, (B,), 0 ... T-1.
    Returns x_t, (B, C, H, W).
    """
    signal = gather(schedule.sqrt_alphas_cumprod, t, x_start)
    sigma = gather(schedule.sqrt_one_minus_alphas_cumprod, t, x_start)
    return signal * x_start + sigma * noise


def predict_x_start(schedule: NoiseSchedule, x_t: Images, t: Timesteps, eps: Images) -> Images:
    """The clean image that x_t would come from if ``eps`` were its noise (DDPM eq. 15).

    x̂_0 = (x_t − √(1 − ᾱ_t) · ε) / √ᾱ_t

    All images (B, C, H, W). The result may leave [-1, 1] where ``eps`` is wrong.
    """
    signal = gather(schedule.sqrt_alphas_cumprod, t, x_t)
    sigma = gather(schedule.sqrt_one_minus_alphas_cumprod, t, x_t)
    return (x_t - sigma * eps) / signal


def predict_eps(schedule: NoiseSchedule, x_t: Images, t: Timesteps, x_start: Images) -> Images:
    """The noise that is in x_t if ``x_start`` is the clean image: :func:`predict_x_start` the other way round.

    ε = (x_t − √ᾱ_t · x_0) / √(1 − ᾱ_t)

    All images (B, C, H, W).
    """
    signal = gather(schedule.sqrt_alphas_cumprod, t, x_t)
    sigma = gather(schedule.sqrt_one_minus_alphas_cumprod, t, x_t)
    return (x_t - signal * x_start) / sigma


def q_posterior(schedule: NoiseSchedule, x_start: Images, x_t: Images, t: Timesteps) -> Gaussian:
    """Where x_{t−1} lies when both x_0 and x_t are known (DDPM eq. 6 and 7).

    μ̃_t = √ᾱ_{t−1} β_t / (1 − ᾱ_t) · x_0 + √α_t (1 − ᾱ_{t−1}) / (1 − ᾱ_t) · x_t
    β̃_t = (1 − ᾱ_{t−1}) / (1 − ᾱ_t) · β_t

    At t = 0 the mean is x_0 and the variance is 0.
    """
    x_start_coef = gather(schedule.posterior_x_start_coef, t, x_t)
    x_t_coef = gather(schedule.posterior_x_t_coef, t, x_t)
    variance = gather(schedule.posterior_variance, t, x_t)
    return Gaussian(x_start_coef * x_start + x_t_coef * x_t, variance)


def p_sample(schedule: NoiseSchedule, x_t: Images, t: Timesteps, eps: Images, noise: Images) -> Images:
    """Undo one step of noise (DDPM Algorithm 2, line 4).

    x_{t−1} = 1/√α_t · (x_t − β_t / √(1 − ᾱ_t) · ε_θ) + √β̃_t · z

    ``eps`` is the predicted noise, ``noise`` the fresh draw z ~ N(0, I). β̃ is 0 at t = 0, so the last
    step adds none and needs no special case.
    """
    sqrt_alpha_t = gather(schedule.sqrt_alphas, t, x_t)
    beta_t = gather(schedule.betas, t, x_t)
    sigma = gather(schedule.sqrt_one_minus_alphas_cumprod, t, x_t)
    mean = (x_t - beta_t / sigma * eps) / sqrt_alpha_t
    return mean + gather(schedule.posterior_std, t, x_t) * noise


def ddim_step(
    schedule: NoiseSchedule,
    x_t: Images,
    t: Timesteps,
    t_prev: Timesteps,
    eps: Images,
    noise: Images,
    eta: float = 0.0,
) -> Images:
    """Jump from level t to an earlier level ``t_prev`` (Song et al. 2021, DDIM eq. 12 and 16).

    σ = η · √((1 − ᾱ_prev) / (1 − ᾱ_t) · (1 − ᾱ_t / ᾱ_prev))
    x_prev = √ᾱ_prev · x̂_0 + √(1 − ᾱ_prev − σ²) · ε_θ + σ · z

    ``t_prev`` = -1 is the clean image (ᾱ = 1). ``eta`` = 0 adds no noise; 1 with t_prev = t - 1 is DDPM.
    """
    alpha_bar_t = gather(schedule.alphas_cumprod, t, x_t)
    alpha_bar_prev = gather(schedule.alphas_cumprod_prev, t_prev + 1, x_t)
    std = eta * ((1 - alpha_bar_prev) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_prev)).sqrt()
    x_start = predict_x_start(schedule, x_t, t, eps)
    direction = (1 - alpha_bar_prev - std**2).clamp(min=0).sqrt() * eps
    return alpha_bar_prev.sqrt() * x_start + direction + std * noise


def ddpm_loss(
    model: LabelledModel,
    schedule: NoiseSchedule,
    x_start: Images,
    label: Labels | None = None,
    *,
    t: Timesteps | None = None,
    noise: Images | None = None,
) -> Tensor:
    """How badly the model guesses the noise that was added (DDPM Algorithm 1 and eq. 14).

    L_simple = E ‖ε − ε_θ(√ᾱ_t · x_0 + √(1 − ᾱ_t) · ε, t)‖², as a mean over pixels and images

    ``t`` (one for each image, all of 0 ... T-1 equally likely) and ``noise`` ~ N(0, I) are drawn here
    unless they are given. Returns a scalar; a model that always answers 0 scores 1 on average.
    """
    if t is None:
        t = torch.randint(0, len(schedule), (x_start.shape[0],), device=x_start.device)
    if noise is None:
        noise = torch.randn_like(x_start)
    x_t = q_sample(schedule, x_start, t, noise)
    return mse_loss(model(x_t, t, label), noise)
