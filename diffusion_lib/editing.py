"""Change or extend an image with a network that was trained to draw whole ones; nothing is trained again.

Part of an image is kept and the rest drawn (inpainting), an image is walked back to the noise that it would come from
(DDIM inversion), noises are mixed, and an image wider than the network is drawn by looking through windows. Noise an
image and bring it back as something else: that is ``sdedit``, among the samplers.
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from diffusion_lib.diffusion import LabelledModel, ddim_step, predict_x_start, q_sample
from diffusion_lib.samplers import SampleStep, ddim_timesteps, draw_noise
from diffusion_lib.schedules import NoiseSchedule, gather
from diffusion_lib.shapes import EpsModel, Images, Labels, Timesteps

Mask = Float[Tensor, "#batch #channel #height #width"]  # 1 where a pixel is known, 0 where it is to be drawn


def inpaint_step(
    schedule: NoiseSchedule, x_prev: Images, known: Images, mask: Mask, t_prev: Timesteps, noise: Images
) -> Images:
    """Put the known pixels back, noised as all the others are (Lugmayr et al. 2022, eq. 8).

    x_prev ← m · (√ᾱ_prev · x_0 + √(1 − ᾱ_prev) · ε) + (1 − m) · x_prev

    ``x_prev`` has arrived at level ``t_prev``, (B,), -1 ... T-2; -1 is the clean image, where ᾱ = 1 and the known
    pixels themselves come back. ``known``, x_0, may hold anything where ``mask`` is 0.
    """
    alpha_bar_prev = gather(schedule.alphas_cumprod_prev, t_prev + 1, x_prev)
    noised = alpha_bar_prev.sqrt() * known + (1 - alpha_bar_prev).sqrt() * noise
    return noised.where(mask > 0, x_prev)


def renoise(schedule: NoiseSchedule, x_prev: Images, t_prev: Timesteps, t: Timesteps, noise: Images) -> Images:
    """Go back up from level ``t_prev`` to the noisier ``t`` by the forward process (DDPM eq. 2, for a jump).

    x_t = √(ᾱ_t / ᾱ_prev) · x_prev + √(1 − ᾱ_t / ᾱ_prev) · z
    """
    kept = gather(schedule.alphas_cumprod, t, x_prev) / gather(schedule.alphas_cumprod_prev, t_prev + 1, x_prev)
    return kept.sqrt() * x_prev + (1 - kept).sqrt() * noise


def sample_inpainting(
    eps_model: EpsModel,
    schedule: NoiseSchedule,
    x_T: Images,
    known: Images,
    mask: Mask,
    num_steps: int = 50,
    *,
    resample: int = 1,
    eta: float = 1.0,
    generator: torch.Generator | None = None,
) -> Iterator[SampleStep]:
    """Draw the pixels where ``mask`` is 0, beside those of ``known`` (Lugmayr et al. 2022, "RePaint", Algorithm 1).

    ``resample`` = 1 puts the known pixels back after each jump, and no more. With n, each jump but the last is made n
    times: after each time but the n-th, new noise leads back up, and the drawn pixels are drawn again beside the known
    ones. ``generator`` draws the noise of each jump, then that of the known pixels, then that of the way back up: hand
    over the one that drew x_T.
    """
    times = ddim_timesteps(len(schedule), num_steps)
    x = x_T
    for i, i_prev in pairwise([*times, -1]):
        t, t_prev = (torch.full((len(x),), level, device=x.device) for level in (i, i_prev))
        for again in reversed(range(resample if i_prev >= 0 else 1)):
            with torch.no_grad():
                eps = eps_model(x, t)
            x_start = predict_x_start(schedule, x, t, eps)
            x = ddim_step(schedule, x, t, t_prev, eps, draw_noise(x, generator), eta)
            x = inpaint_step(schedule, x, known, mask, t_prev, draw_noise(x, generator))
            yield SampleStep(i, x, x_start)
            if again:
                x = renoise(schedule, x, t_prev, t, draw_noise(x, generator))


def invert_ddim(
    eps_model: EpsModel, schedule: NoiseSchedule, x_start: Images, num_steps: int = 50
) -> Iterator[SampleStep]:
    """Walk from images to the noise that DDIM without noise would draw them from (Song et al. 2021, section 4.3).

    x_next = √ᾱ_next · x̂_0 + √(1 − ᾱ_next) · ε_θ(x, t)

    DDIM's jump, upwards. It asks for the noise at the lower end of a jump, sampling at the upper end; so there and back
    is exact only for short jumps. The first jump leaves the clean image, which is no level: it asks at level 0, and
    takes x̂_0 to be the image. Each step tells the level at which it arrived; the last is T-1.
    """
    levels = [-1, *reversed(ddim_timesteps(len(schedule), num_steps))]
    x = x_start
    for i, i_next in pairwise(levels):
        t, t_next = (torch.full((len(x),), max(level, 0), device=x.device) for level in (i, i_next))
        with torch.no_grad():
            eps = eps_model(x, t)
        seen = predict_x_start(schedule, x, t, eps) if i >= 0 else x
        x = q_sample(schedule, seen, t_next, eps)
        yield SampleStep(i_next, x, seen)


def slerp(start: Images, end: Images, share: float) -> Images:
    """The point ``share``, 0 ... 1, of the way along the arc from one noise to another (Shoemake 1985).

    sin((1 − s) ω) / sin ω · start + sin(s ω) / sin ω · end,   with ω the angle between the two, image by image

    A straight line would cut the corner: half-way between two independent noises its points have a standard deviation
    of √½, which is the noise of no level. Between a noise and its negative there is no one arc.
    """
    a, b = start.flatten(1), end.flatten(1)
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=1).clamp(-1, 1)
    omega = cosine.arccos().clamp(1e-3, math.pi - 1e-3).view(-1, 1, 1, 1)  # parallel noises: a straight line
    return (((1 - share) * omega).sin() * start + (share * omega).sin() * end) / omega.sin()


def windowed(model: LabelledModel, label: Labels, stride: int, width: int = 28) -> EpsModel:
    """A predictor of noise for wide images, which looks through windows (Bar-Tal et al. 2023, "MultiDiffusion").

    ε(x)_p = mean of ε_θ over the windows that hold the pixel p, each with its own label

    Window i begins at column i · ``stride`` and is ``width`` columns wide; ``label``, (n,), has one entry for each. The
    images, (B, C, H, W), are as wide as the n windows together: W = ``width`` + (n − 1) · ``stride``.
    """
    starts = [i * stride for i in range(len(label))]

    def eps_model(x: Images, t: Timesteps) -> Images:
        parts = torch.cat([x[..., start : start + width] for start in starts])
        eps = model(parts, t.repeat(len(label)), label.repeat_interleave(len(x)))
        total, count = torch.zeros_like(x), torch.zeros_like(x)
        for start, part in zip(starts, eps.split(len(x)), strict=True):
            total[..., start : start + width] += part
            count[..., start : start + width] += 1
        return total / count

    return eps_model
