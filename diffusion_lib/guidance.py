"""Wrappers that turn a labelled model into an ``EpsModel``, and one ``EpsModel`` into another."""

import torch

from diffusion_lib.diffusion import LabelledModel, predict_eps, predict_x_start
from diffusion_lib.schedules import NoiseSchedule
from diffusion_lib.shapes import EpsModel, Images, Labels, Timesteps


def conditioned(model: LabelledModel, label: Labels | None) -> EpsModel:
    """The model with its label fixed: ε_θ(x_t, t, label). ``label`` (B,), or None for no label."""

    def eps_model(x: Images, t: Timesteps) -> Images:
        return model(x, t, label)

    return eps_model


def guided(model: LabelledModel, label: Labels, scale: float) -> EpsModel:
    """Classifier-free guidance (Ho and Salimans 2022, eq. 6, with scale = 1 + w).

    ε = ε_u + scale · (ε_c − ε_u)

    ``scale`` 0 ignores the label, 1 is the conditional model, above 1 exaggerates the label.
    """

    def eps_model(x: Images, t: Timesteps) -> Images:
        eps_u = model(x, t, None)
        eps_c = model(x, t, label)
        return torch.lerp(eps_u, eps_c, scale)

    return eps_model


def clipped(eps_model: EpsModel, schedule: NoiseSchedule) -> EpsModel:
    """The model with its implied clean image held inside [-1, 1].

    ε → x̂_0 by eq. 15 → clip to [-1, 1] → ε again
    """

    def clipped_model(x: Images, t: Timesteps) -> Images:
        x_start = predict_x_start(schedule, x, t, eps_model(x, t)).clamp(-1, 1)
        return predict_eps(schedule, x, t, x_start)

    return clipped_model
