"""Exact noise predictors for data we know completely. No training: the answer is a formula.

They are what a network is trained towards, and they test a sampler without a network.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from diffusion_lib.diffusion import predict_eps
from diffusion_lib.schedules import NoiseSchedule, gather
from diffusion_lib.shapes import EpsModel, Images, Timesteps

Vector = Float[Tensor, " values"]
Matrix = Float[Tensor, "values values"]


def point_oracle(schedule: NoiseSchedule, point: Float[Tensor, "channel height width"]) -> EpsModel:
    """All data is one image: E[x_0 | x_t] = that image. ``point`` (C, H, W)."""

    def eps_model(x: Images, t: Timesteps) -> Images:
        return predict_eps(schedule, x, t, point.to(x).expand_as(x))

    return eps_model


def gaussian_oracle(schedule: NoiseSchedule, mean: float | Tensor, std: float | Tensor) -> EpsModel:
    """Data is N(mean, std²), pixel by pixel; ``mean`` and ``std`` broadcast against (B, C, H, W).

    E[ε | x_t] = √(1 − ᾱ_t) · (x_t − √ᾱ_t · mean) / (ᾱ_t · std² + 1 − ᾱ_t)
    """

    def eps_model(x: Images, t: Timesteps) -> Images:
        signal = gather(schedule.sqrt_alphas_cumprod, t, x)
        sigma = gather(schedule.sqrt_one_minus_alphas_cumprod, t, x)
        return sigma * (x - signal * mean) / (signal**2 * std**2 + sigma**2)

    return eps_model


def correlated_oracle(schedule: NoiseSchedule, mean: Vector, covariance: Matrix) -> EpsModel:
    """Data is N(mean, Σ) over all D values of an image at once; ``mean`` (D,), ``covariance`` (D, D), float64 or 32.

    E[ε | x_t] = √(1 − ᾱ_t) · (ᾱ_t Σ + (1 − ᾱ_t) I)⁻¹ (x_t − √ᾱ_t · mean)
    """
    variances, axes = torch.linalg.eigh(covariance)

    def eps_model(x: Images, t: Timesteps) -> Images:
        signal = gather(schedule.sqrt_alphas_cumprod, t, x).flatten(1)
        sigma = gather(schedule.sqrt_one_minus_alphas_cumprod, t, x).flatten(1)
        along = (x.flatten(1) - signal * mean) @ axes  # on these axes the values are independent
        return (sigma * along / (signal**2 * variances + sigma**2) @ axes.T).view_as(x)

    return eps_model


def finite_set_oracle(schedule: NoiseSchedule, images: Images) -> EpsModel:
    """Data is a finite set of images, (N, C, H, W), each equally likely.

    w_i ∝ exp(−‖x_t − √ᾱ_t · x^(i)‖² / (2 (1 − ᾱ_t))),   E[x_0 | x_t] = Σ_i w_i x^(i)

    Its samples are the training images themselves: it remembers, and invents nothing.
    """

    def eps_model(x: Images, t: Timesteps) -> Images:
        data = images.to(x)
        signal = gather(schedule.sqrt_alphas_cumprod, t, x)
        sigma = gather(schedule.sqrt_one_minus_alphas_cumprod, t, x)
        # The matrix-product form of cdist loses the small distances that decide at low noise.
        mode = "donot_use_mm_for_euclid_dist"
        distance = torch.cdist((x / signal).flatten(1), data.flatten(1), compute_mode=mode)
        weights = (-((distance * (signal / sigma).flatten(1)) ** 2) / 2).softmax(dim=1)
        x_start = (weights @ data.flatten(1)).view_as(x)
        return predict_eps(schedule, x, t, x_start)

    return eps_model
