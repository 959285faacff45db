"""Walk from noise to images. A sampler yields every state; the caller keeps all of them or the last."""

from collections import deque
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from diffusion_lib.diffusion import LabelledModel, ddim_step, p_sample, predict_x_start, q_sample
from diffusion_lib.guidance import clipped, conditioned, guided
from diffusion_lib.schedules import NoiseSchedule
from diffusion_lib.shapes import EpsModel, Images, Labels, Timesteps

Step = Callable[[NoiseSchedule, Images, Timesteps, Images, Images], Images]


def draw_noise(like: Images, generator: torch.Generator | None = None) -> Images:
    """z ~ N(0, I) of the shape, device and dtype of ``like``; the same numbers on every device and in every dtype.

    They are drawn where ``generator`` lives, by default on the CPU, in float32. Draw x_T and every later z from *one*
    generator: two with the same seed repeat each other, and x_T would come back as the noise of the first step.
    """
    device = generator.device if generator else "cpu"
    return torch.randn(like.shape, generator=generator, device=device).to(like)


class SampleStep(NamedTuple):
    """One step of a sampler: it left level ``t`` and arrived at ``x``."""

    t: int  # the level that was left, T-1 ... 0
    x: Images  # the images after the step; the sample itself once t = 0 has been left
    x_start: Images  # the clean images that the model saw in x_t, not clipped


def sample_ddpm(
    eps_model: EpsModel,
    schedule: NoiseSchedule,
    x_T: Images,
    *,
    generator: torch.Generator | None = None,
    step: Step = p_sample,
) -> Iterator[SampleStep]:
    """Ancestral sampling, all T steps (DDPM Algorithm 2).

    ``x_T`` ~ N(0, I), (B, C, H, W). ``generator`` draws the noise z of each step: hand over the one that drew x_T.
    """
    x = x_T
    for i in reversed(range(len(schedule))):
        t = torch.full((x.shape[0],), i, device=x.device)
        with torch.no_grad():
            eps = eps_model(x, t)
        noise = draw_noise(x, generator)
        x_start = predict_x_start(schedule, x, t, eps)
        x = step(schedule, x, t, eps, noise)
        yield SampleStep(i, x, x_start)


def sample_ddim(
    eps_model: EpsModel,
    schedule: NoiseSchedule,
    x_T: Images,
    num_steps: int = 50,
    *,
    eta: float = 0.0,
    generator: torch.Generator | None = None,
    start: int | None = None,
) -> Iterator[SampleStep]:
    """Sampling in ``num_steps`` jumps (Song et al. 2021). With ``eta`` = 0 nothing random enters after x_T, and
    nothing is drawn; otherwise ``generator`` draws z at each jump: hand over the one that drew x_T.

    ``start`` is the level of ``x_T``: T-1, which is pure noise, unless it is given.
    """
    times = ddim_timesteps(len(schedule) if start is None else start + 1, num_steps)
    x = x_T
    for i, i_prev in zip(times, [*times[1:], -1], strict=True):
        t = torch.full((x.shape[0],), i, device=x.device)
        t_prev = torch.full_like(t, i_prev)
        with torch.no_grad():
            eps = eps_model(x, t)
        noise = draw_noise(x, generator) if eta else torch.zeros_like(x)
        x_start = predict_x_start(schedule, x, t, eps)
        x = ddim_step(schedule, x, t, t_prev, eps, noise, eta)
        yield SampleStep(i, x, x_start)


def ddim_timesteps(num_timesteps: int, num_steps: int) -> list[int]:
    """``num_steps`` levels from T-1 down to 0, evenly spaced: [T-1, ..., 0]."""
    if not 1 <= num_steps <= num_timesteps:
        raise ValueError(f"num_steps must lie in 1 ... {num_timesteps}, but is {num_steps}.")
    return torch.linspace(num_timesteps - 1, 0, num_steps, dtype=torch.float64).round().long().tolist()


def last(steps: Iterator[SampleStep]) -> Images:
    """The images after the final step; everything before it is let go."""
    final = deque(steps, maxlen=1)
    if not final:
        raise ValueError("the sampler made no step: the iterator was empty or already used up.")
    return final[0].x


def denoiser(
    model: LabelledModel, schedule: NoiseSchedule, label: Labels | None, scale: float, *, clip: bool = True
) -> EpsModel:
    """The predictor of noise that a sample is drawn with: label fixed, guided unless ``scale`` is 1, x̂_0 clipped."""
    plain = conditioned(model, label) if label is None or scale == 1 else guided(model, label, scale)
    return clipped(plain, schedule) if clip else plain


def sdedit(
    model: LabelledModel,
    schedule: NoiseSchedule,
    x_start: Images,
    label: Labels | None,
    level: int,
    noise: Images,
    num_steps: int = 50,
    *,
    guidance_scale: float = 1.0,
    eta: float = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[SampleStep]:
    """Noise images to ``level``, and sample back from there (Meng et al. 2022, SDEdit, Algorithm 1).

    The higher the level, 0 ... T-1, the less of ``x_start`` is left and the more ``label`` decides. Takes
    ``num_steps`` steps, or all that there are where ``level`` is lower than that.
    """
    t = torch.full((len(x_start),), level, device=x_start.device)
    x_t = q_sample(schedule, x_start, t, noise)
    eps_model = denoiser(model, schedule, label, guidance_scale)
    steps = min(num_steps, level + 1)
    yield from sample_ddim(eps_model, schedule, x_t, steps, eta=eta, generator=generator, start=level)


def generate(
    model: LabelledModel,
    schedule: NoiseSchedule,
    label: Labels,
    num_steps: int = 50,
    *,
    guidance_scale: float = 1.0,
    eta: float = 1.0,
    seed: int = 0,
    shape: tuple[int, int, int] | None = None,
    batch_size: int = 250,
    clip: bool = True,
) -> Images:
    """One image for each entry of ``label``, (B, C, H, W) in [-1, 1], by DDIM with a clipped x̂_0.

    ``guidance_scale`` above 1 guides towards the label, for a model that was trained with label dropping. Fresh noise
    on the way (``eta`` = 1) lets later steps repair what earlier ones got wrong: notebook 04 measures it. One
    generator, seeded with ``seed``, draws x_T of all images and then every z, on the CPU, so that every device sees
    the same noise. ``shape`` (C, H, W) is by default the model's ``image_shape``; ``batch_size`` images are walked
    at a time. ``clip=False`` is for latents, which have no range.
    """
    shape = shape or getattr(model, "image_shape", None)
    if shape is None:
        raise ValueError("the model has no image_shape: hand over shape=(channels, height, width).")
    generator = torch.Generator().manual_seed(seed)
    x_T = torch.randn((len(label), *shape), generator=generator).to(label.device)
    images = []
    for part, x in zip(label.split(batch_size), x_T.split(batch_size), strict=True):
        eps_model = denoiser(model, schedule, part, guidance_scale, clip=clip)
        images.append(last(sample_ddim(eps_model, schedule, x, num_steps, eta=eta, generator=generator)))
    return torch.cat(images).clamp(-1, 1) if clip else torch.cat(images)
