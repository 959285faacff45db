"""The recipe of a training run: its learning rate, its average, its dropped labels, its levels, its yardstick."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from diffusion_lib.data import Digits
from diffusion_lib.diffusion import ddpm_loss
from diffusion_lib.profiles import TrainConfig
from diffusion_lib.schedules import NoiseSchedule
from diffusion_lib.shapes import Labels, Timesteps

Tensors = tuple[Tensor, ...] | list[Tensor]
HELD_OUT = 1000  # test images of the held-out loss


def learning_rate(config: TrainConfig, step: int, total_steps: int) -> float:
    """A linear warm-up, then constant or half a cosine down to 0."""
    rate = config.learning_rate * min(1.0, (step + 1) / max(1, config.warmup_steps))
    if config.decay == "cosine":
        rate *= 0.5 * (1 + math.cos(math.pi * step / total_steps))
    return rate


def ema_update(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """An exponential moving average whose early steps forget faster: decay_n = min(decay, (1+n) / (10+n))."""

    @torch.no_grad()
    def update(averaged: Tensors, current: Tensors, num_averaged: Tensor | int) -> None:
        n = float(num_averaged)
        torch._foreach_lerp_(averaged, current, 1 - min(decay, (1 + n) / (10 + n)))

    return update


def drop_labels(label: Labels, null_label: int, share: float) -> Labels:
    """``label`` with a random ``share`` of its entries replaced by the null label (Ho and Salimans 2022)."""
    return label.where(torch.rand(label.shape, device=label.device) >= share, null_label)


@torch.no_grad()
def held_out_loss(
    model: nn.Module, schedule: NoiseSchedule, digits: Digits, count: int = HELD_OUT, weights: Tensor | None = None
) -> float:
    """The loss on the first ``count`` digits with every t in turn and the same noise each time.

    Fixed t and noise make two numbers comparable; a training loss jumps with the t that were drawn. With
    ``weights``, (T,), level t takes its turn in proportion to them.
    """
    x, label = digits[:count]
    share = (torch.ones(len(schedule)) if weights is None else weights.cpu()).double().cumsum(0)
    t = torch.searchsorted(share / share[-1], (torch.arange(len(x)) + 0.5).double() / len(x)).to(x.device)
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x.device)
    parts = zip(x.split(250), label.split(250), t.split(250), noise.split(250), strict=True)
    losses = [(ddpm_loss(model, schedule, x, y, t=t, noise=e).item(), len(x)) for x, y, t, e in parts]
    return sum(loss * n for loss, n in losses) / len(x)


def draw_levels(num_timesteps: int, count: int, weights: Tensor | None, device: torch.device) -> Timesteps:
    """``count`` levels t: all equally likely, or in proportion to ``weights``, (T,).

    To draw a level more often is to weigh its loss more; ``ddpm_loss`` stays Algorithm 1.
    """
    if weights is None:
        return torch.randint(0, num_timesteps, (count,), device=device)
    return torch.multinomial(weights, count, replacement=True)
