"""What a network is taught to say: the noise, the clean image, v, or a velocity. One says all the others.

Everything else in the library speaks of predicted noise. So a network that was taught another target is wrapped, once,
and then samples, is guided and is judged like any other. Throughout, a = √ᾱ_t and s = √(1 − ᾱ_t).
"""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import mse_loss

from diffusion_lib.diffusion import LabelledModel, q_sample
from diffusion_lib.schedules import NoiseSchedule, gather
from diffusion_lib.shapes import Images, Labels, Timesteps


class Prediction(NamedTuple):
    """One kind of target, as two formulas in a = √ᾱ_t and s = √(1 − ᾱ_t)."""

    target: Callable[[Tensor, Tensor, Images, Images], Images]  # (a, s, x_0, ε): what the network is taught
    eps: Callable[[Tensor, Tensor, Images, Images], Images]  # (a, s, x_t, answer): the noise that the answer implies


PREDICTIONS = {
    "eps": Prediction(lambda a, s, x_start, noise: noise, lambda a, s, x_t, eps: eps),
    # DDPM eq. 15, solved for ε
    "x_start": Prediction(lambda a, s, x_start, noise: x_start, lambda a, s, x_t, x_start: (x_t - a * x_start) / s),
    # Salimans and Ho 2022, "Progressive Distillation", section 4 and appendix D
    "v": Prediction(lambda a, s, x_start, noise: a * noise - s * x_start, lambda a, s, x_t, v: s * x_t + a * v),
    # Lipman et al. 2023, Liu et al. 2023: the straight path (1 − τ) x_0 + τ ε, at τ = s / (a + s), is at x_t / (a + s)
    "velocity": Prediction(lambda a, s, x_start, noise: noise - x_start, lambda a, s, x_t, u: (x_t + a * u) / (a + s)),
}


def _formulas(kind: str) -> Prediction:
    if kind not in PREDICTIONS:
        raise ValueError(f"unknown prediction {kind!r}; choose one of {', '.join(PREDICTIONS)}.")
    return PREDICTIONS[kind]


def amplitudes(schedule: NoiseSchedule, t: Timesteps, like: Images) -> tuple[Tensor, Tensor]:
    """a = √ᾱ_t and s = √(1 − ᾱ_t), the amplitudes of signal and noise in x_t, each (B, 1, 1, 1)."""
    return gather(schedule.sqrt_alphas_cumprod, t, like), gather(schedule.sqrt_one_minus_alphas_cumprod, t, like)


def predicting(kind: str, model: LabelledModel, schedule: NoiseSchedule) -> LabelledModel:
    """A model that was taught ``kind`` ("eps", "x_start", "v" or "velocity"), as a predictor of noise."""
    implied = _formulas(kind).eps

    def eps_model(x: Images, t: Timesteps, label: Labels | None = None) -> Images:
        a, s = amplitudes(schedule, t, x)
        return implied(a, s, x, model(x, t, label))

    return eps_model


def prediction_loss(kind: str) -> Callable[..., Tensor]:
    """A loss for the trainer, called as ``ddpm_loss`` is: the mean squared error of the model's own target.

    In place of L_simple's ‖ε − ε_θ‖² it weighs the noise levels anew: ‖x_0 − x̂_0‖² is (1 − ᾱ_t) / ᾱ_t times as large.
    """
    target = _formulas(kind).target

    def loss(
        model: LabelledModel,
        schedule: NoiseSchedule,
        x_start: Images,
        label: Labels | None,
        *,
        t: Timesteps,
        noise: Images,
    ) -> Tensor:
        a, s = amplitudes(schedule, t, x_start)
        answer = model(q_sample(schedule, x_start, t, noise), t, label)
        return mse_loss(answer, target(a, s, x_start, noise))

    return loss
