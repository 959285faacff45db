"""From many looks to one: a network that says where the path through x_t ends (Song et al. 2023, "Consistency Models").

Without fresh noise a sampler follows a path from noise to image. All points of one path share its end, so a function
that says the end must answer alike at every point of it. A network is taught that from a teacher's steps: one step
along the path, and the answers before and after it must agree. Throughout, a = √ᾱ_t and s = √(1 − ᾱ_t).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor

from diffusion_lib.diffusion import LabelledModel, ddim_step, q_sample
from diffusion_lib.predictions import amplitudes
from diffusion_lib.samplers import SampleStep, denoiser, draw_noise
from diffusion_lib.schedules import NoiseSchedule, Table
from diffusion_lib.shapes import EpsModel, Images, Labels, Timesteps

GAIN = 3.0  # the most by which an error of the network grows
SHARPNESS = 0.03  # c of the loss: for differences above it, it is the distance itself
MOST_NOISE = 0.1  # share of the levels drawn that are the last one, where every sample starts


def path_end(
    model: LabelledModel, schedule: NoiseSchedule, x_t: Images, t: Timesteps, label: Labels | None = None
) -> Images:
    """f(x_t, t): where the path through x_t ends, in one look; all images (B, C, H, W).

    f(x_t, t) = (x_t − s · ε_θ) / max(a, s / 3),   f(x, −1) = x

    Eq. 15 of DDPM with a divisor that is held up: where a is tiny, dividing by it would multiply the network's errors,
    by 157 at the last level of the linear schedule. ``t`` int64, (B,), -1 ... T-1. At -1, the clean image, the
    network's answer is left out.
    """
    level = t.clamp(min=0)
    a, s = amplitudes(schedule, level, x_t)
    end = (x_t - s * model(x_t, level, label)) / torch.maximum(a, s / GAIN)
    return end.where(t.view(-1, 1, 1, 1) >= 0, x_t)


def angles(schedule: NoiseSchedule) -> Table:
    """φ_t with a = cos φ and s = sin φ, from almost 0 up to almost π/2, (T,)."""
    return torch.atan2(schedule.sqrt_one_minus_alphas_cumprod, schedule.sqrt_alphas_cumprod)


def at_angle(schedule: NoiseSchedule, angle: Tensor) -> Timesteps:
    """The first level whose angle reaches ``angle``, (B,), the last level at most; -1, the clean image, below all."""
    table = angles(schedule)
    level = torch.searchsorted(table, angle.to(table)).clamp(max=len(schedule) - 1)
    return level.where(angle.to(table) >= table[0] / 2, -1)


def even_angles(schedule: NoiseSchedule, u: Tensor) -> Timesteps:
    """t for ``u`` ~ U[0, 1), (B,), evenly in φ; a tenth of them are the last level. A ``draw_t`` for the trainer."""
    return at_angle(schedule, u / (1 - MOST_NOISE) * math.pi / 2).clamp(min=0)


def upper_ends(pieces: int) -> Callable[[NoiseSchedule, Tensor], Timesteps]:
    """A ``draw_t`` for the trainer: the upper end of one of ``pieces`` equal pieces of the quarter turn."""
    return lambda schedule, u: at_angle(schedule, ((u * pieces).floor() + 1) / pieces * math.pi / 2)


def earlier(schedule: NoiseSchedule, t: Timesteps, share: float) -> Timesteps:
    """The level that is ``share`` of a quarter turn nearer to the image than ``t``; -1 where that passes it."""
    return at_angle(schedule, angles(schedule)[t] - share * math.pi / 2)


def distance(ours: Images, theirs: Images) -> Tensor:
    """The Pseudo-Huber distance of two batches, a mean over images (Song and Dhariwal 2023, section 3.3).

    d(x, y) = √(‖x − y‖² + c²) − c

    It counts an image's distance and not its square, so that a few bad images do not outweigh the rest.
    """
    squared = (ours - theirs).flatten(1).square().sum(dim=1)
    return ((squared + SHARPNESS**2).sqrt() - SHARPNESS).mean()


def consistency_loss(teacher: LabelledModel, pieces: int, scale: float, steps: int = 2) -> Callable[..., Tensor]:
    """A loss for the trainer, called as ``ddpm_loss`` is: answers at both ends of a teacher's step must agree.

    L = E d( f_θ(x_t, t), f_θ⁻(x_r, r) ),   x_r = where the teacher's path from x_t is at r, by ``steps`` of DDIM

    Song et al. 2023, Algorithm 2; guidance ``scale`` is folded into the teacher's steps (Meng et al. 2023). θ⁻ is θ
    without gradient: the answer nearer to the image is the target. The quarter turn from image to noise is cut into
    ``pieces``: many follow the path more closely, and hand on more errors of the network.
    """

    def loss(
        model: LabelledModel,
        schedule: NoiseSchedule,
        x_start: Images,
        label: Labels | None,
        *,
        t: Timesteps,
        noise: Images,
    ) -> Tensor:
        x_t = q_sample(schedule, x_start, t, noise)
        levels = [t, *(earlier(schedule, t, i / steps / pieces) for i in range(1, steps + 1))]
        r = levels[-1]
        with torch.no_grad():
            x_r = walk_down(denoiser(teacher, schedule, label, scale), schedule, x_t, levels)
            target = path_end(model, schedule, x_r, r, label)
        return distance(path_end(model, schedule, x_t, t, label), target)

    return loss


def walk_down(eps_model: EpsModel, schedule: NoiseSchedule, x: Images, levels: Sequence[Timesteps]) -> Images:
    """DDIM without noise through ``levels``, which may differ from image to image and end early, at -1."""
    for t, t_next in pairwise(levels):
        level = t.clamp(min=0)
        x_next = ddim_step(schedule, x, level, t_next, eps_model(x, level), torch.zeros_like(x))
        x = x_next.where(t.view(-1, 1, 1, 1) >= 0, x)
    return x


def sample_ends(
    model: LabelledModel,
    schedule: NoiseSchedule,
    x_T: Images,
    label: Labels | None,
    levels: Sequence[int],
    *,
    generator: torch.Generator | None = None,
) -> Iterator[SampleStep]:
    """One look at each of ``levels``, T-1 first (Song et al. 2023, Algorithm 1).

    The first look jumps from ``x_T`` to an image. Each later one noises that image to its level, with fresh noise,
    and jumps again: what was wrong is buried and drawn anew. ``generator``: the one that drew x_T.
    """
    x = x_T
    for i, level in enumerate(levels):
        t = torch.full((len(x),), level, device=x.device)
        x_t = q_sample(schedule, x, t, draw_noise(x, generator)) if i else x_T
        with torch.no_grad():
            x_start = path_end(model, schedule, x_t, t, label)
        x = x_start.clamp(-1, 1)
        yield SampleStep(level, x, x_start)
