"""Straight paths from image to noise (Lipman et al. 2023, "Flow Matching"; Liu et al. 2023, "Rectified Flow").

An image x_0 and a noise ε are joined by a straight line, and τ says how far along it a point is: 0 is the image, 1 the
noise. A network learns the velocity at each point, and a sample walks it from noise to image. Every noise schedule
lies on such lines: x_t / (a + s), with a = √ᾱ_t and s = √(1 − ᾱ_t), is the point at τ = s / (a + s). So a network of
straight paths and a predictor of noise are the same thing on another axis of time, and each becomes the other here.
"""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from diffusion_lib.diffusion import LabelledModel, predict_x_start
from diffusion_lib.predictions import amplitudes, predicting
from diffusion_lib.samplers import SampleStep
from diffusion_lib.schedules import NoiseSchedule, PerImage
from diffusion_lib.shapes import EpsModel, Images, Labels, Timesteps


def path_time(schedule: NoiseSchedule, t: Timesteps, like: Images) -> PerImage:
    """Where level t of a schedule lies on a straight path; in (0, 1), (B, 1, 1, 1), as ``like``.

    τ = s / (a + s)   with a = √ᾱ_t and s = √(1 − ᾱ_t)
    """
    a, s = amplitudes(schedule, t, like)
    return s / (a + s)


def straight_path(x_start: Images, noise: Images, tau: float | Tensor) -> Images:
    """The point at τ on the line from an image to a noise, both (B, C, H, W) (Liu et al. 2023, section 2.1).

    x_τ = (1 − τ) · x_0 + τ · ε
    """
    return (1 - tau) * x_start + tau * noise


def flow_loss(
    model: LabelledModel,
    schedule: NoiseSchedule,
    x_start: Images,
    label: Labels | None = None,
    *,
    t: Timesteps,
    noise: Images,
) -> Tensor:
    """How badly the model guesses the velocity of a straight path; called as ``ddpm_loss`` is (Liu et al. 2023, eq. 1).

    L = E ‖(ε − x_0) − u_θ(x_τ, t)‖²   with τ = τ_t, as a mean over pixels and images

    ``t`` int64, (B,), 0 ... T-1; ``noise`` ~ N(0, I), (B, C, H, W). Returns a scalar.
    """
    tau = path_time(schedule, t, x_start)
    x_tau = straight_path(x_start, noise, tau)
    velocity = noise - x_start
    return mse_loss(model(x_tau, t, label), velocity)


def euler_step(x_tau: Images, tau: float | Tensor, tau_next: float | Tensor, velocity: Images) -> Images:
    """Walk from τ to τ' as if the velocity stayed what it is at τ; all images (B, C, H, W).

    x_τ' = x_τ + (τ' − τ) · u
    """
    return x_tau + (tau_next - tau) * velocity


def sample_flow(
    velocity: EpsModel, schedule: NoiseSchedule, x_T: Images, num_steps: int = 50, *, heun: bool = False
) -> Iterator[SampleStep]:
    """Walk from noise to images in ``num_steps`` straight pieces, evenly spaced in τ; nothing random enters.

    ``velocity`` (x_τ, t) -> u; ``x_T`` ~ N(0, I), (B, C, H, W). Each piece is one look at the network: Euler's method.
    With ``heun`` a piece takes the mean of the velocities at both its ends. That is a second look, except for the last
    piece, which ends at τ = 0, where no level is: 2 · num_steps − 1 looks.
    """
    levels = even_levels(schedule, num_steps)
    first, taus = torch.tensor(levels[:1], device=x_T.device), path_times(schedule)
    x = x_T / sum(amplitudes(schedule, first, x_T[:1]))
    for i, j in pairwise([*levels, -1]):  # -1 is the clean image, as in ``ddim_step``
        tau, tau_next = taus[i + 1], taus[j + 1]
        u = _look(velocity, x, i)
        x_start = x - tau * u
        if heun and j >= 0:
            u = (u + _look(velocity, euler_step(x, tau, tau_next, u), j)) / 2
        x = euler_step(x, tau, tau_next, u)
        yield SampleStep(i, x, x_start)


@torch.no_grad()
def _look(velocity: EpsModel, x: Images, level: int) -> Images:
    return velocity(x, torch.full((len(x),), level, device=x.device))


def path_times(schedule: NoiseSchedule) -> list[float]:
    """τ of the clean image, which is 0, and of each level: T + 1 numbers."""
    a, s = schedule.sqrt_alphas_cumprod.double(), schedule.sqrt_one_minus_alphas_cumprod.double()
    return [0.0, *(s / (a + s)).tolist()]


def even_levels(schedule: NoiseSchedule, num_steps: int) -> list[int]:
    """The levels, T-1 first, that lie nearest to ``num_steps`` times τ spaced evenly from the last level's to 0.

    The clean image at τ = 0 is where the last piece ends; it is no level.
    """
    taus = torch.tensor(path_times(schedule)[1:], dtype=torch.float64)
    if not 1 <= num_steps <= len(taus):
        raise ValueError(f"num_steps must lie in 1 ... {len(taus)}, but is {num_steps}.")
    wanted = torch.linspace(float(taus[-1]), 0, num_steps + 1, dtype=torch.float64)[:-1]
    return (wanted[:, None] - taus).abs().argmin(dim=1).tolist()


def as_noise(model: LabelledModel, schedule: NoiseSchedule) -> LabelledModel:
    """A network of straight paths, u_θ(x_τ, t), as a predictor of noise, ε_θ(x_t, t): for ``generate`` and all else.

    x_τ = x_t / (a + s),   ε = (x_t + a · u) / (a + s)
    """

    def velocity(x: Images, t: Timesteps, label: Labels | None = None) -> Images:
        a, s = amplitudes(schedule, t, x)
        return model(x / (a + s), t, label)

    return predicting("velocity", velocity, schedule)


def as_velocity(model: LabelledModel, schedule: NoiseSchedule) -> LabelledModel:
    """A predictor of noise, ε_θ(x_t, t), as a velocity on straight paths, u(x_τ, t): :func:`as_noise` the other way.

    x_t = (a + s) · x_τ,   u = ε − x̂_0
    """

    def velocity(x: Images, t: Timesteps, label: Labels | None = None) -> Images:
        a, s = amplitudes(schedule, t, x)
        eps = model((a + s) * x, t, label)
        return eps - predict_x_start(schedule, (a + s) * x, t, eps)

    return velocity
