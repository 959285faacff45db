"""The recipe of a training run: learning rate, average, dropped labels, timestep sampling, loss, held-out loss."""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from diffusion_lib.data import Digits
from diffusion_lib.diffusion import LabelledModel, ddpm_loss
from diffusion_lib.flow import as_noise, flow_loss
from diffusion_lib.profiles import TrainConfig
from diffusion_lib.schedules import NoiseSchedule, Table, amplitude_weights
from diffusion_lib.shapes import Images, Labels, Timesteps

Loss = Callable[..., Tensor]  # as ddpm_loss: (model, schedule, x_start, label, *, t, noise) -> scalar
DrawT = Callable[[NoiseSchedule, Tensor], Timesteps]  # (schedule, u in [0, 1)) -> t: an inverse distribution function
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


def drop_prompts(prompt: Labels, null_word: int, share: float) -> Labels:
    """:func:`drop_labels` for prompts, (B, L): a whole prompt becomes null words, or stays as it is."""
    first = drop_labels(prompt[:, 0], null_word, share)
    return prompt.where((first != null_word)[:, None], null_word)


def uniform(schedule: NoiseSchedule, u: Tensor) -> Timesteps:
    """t for ``u`` ~ U[0, 1), (B,): all of 0 ... T-1 equally likely (DDPM Algorithm 1, line 3)."""
    return (u * len(schedule)).long().clamp(max=len(schedule) - 1)


def weighted(weights: Callable[[NoiseSchedule], Table]) -> DrawT:
    """Draw t in proportion to ``weights(schedule)``, (T,).

    To draw a timestep more often is to weigh its loss more; the loss itself stays Algorithm 1.
    """

    @lru_cache(maxsize=1)  # once a run, and not a wait for the device at each step
    def shares(schedule: NoiseSchedule, device: torch.device) -> Tensor:
        share = weights(schedule).cpu().double().cumsum(0)  # on the CPU: Apple's GPUs take no float64
        return (share / share[-1]).float().to(device)

    def draw_t(schedule: NoiseSchedule, u: Tensor) -> Timesteps:
        t = torch.searchsorted(shares(schedule, u.device), u, right=True)
        return t.clamp(max=len(schedule) - 1)

    return draw_t


TIMESTEP_SAMPLING: dict[str, DrawT] = {"uniform": uniform, "amplitude": weighted(amplitude_weights)}


def half_v(schedule: NoiseSchedule) -> Table:
    """w_t = min(1 / ᾱ_t, 50)^½, of length T: half-way, in the logarithm, from a loss on ε to one on v.

    v = √ᾱ_t ε − √(1 − ᾱ_t) x_0 (Salimans and Ho 2022, appendix D), so ‖v − v̂‖² = ‖ε − ε̂‖² / ᾱ_t: a loss on v weighs
    more where noise is high. There the label decides, and ε is easy to guess. Beyond ᾱ_t = 1/50 the weight stays the
    same, lest a few levels have it all.
    """
    return (1 / schedule.alphas_cumprod).clamp(max=50).sqrt()


def weighing(weights: Callable[[NoiseSchedule], Table]) -> Loss:
    """:func:`ddpm_loss` with a weight for each level, ``weights(schedule)``, (T,): E w_t ‖ε − ε_θ(x_t, t)‖².

    A mean over pixels and images, as there; the weights are taken as they are, and need not be 1 on average.
    """

    def loss(
        model: LabelledModel, schedule: NoiseSchedule, x_start: Images, label: Labels, *, t: Timesteps, noise: Images
    ) -> Tensor:
        def louder(x_t: Images, t: Timesteps, label: Labels | None = None) -> Images:
            """The model's guess, with √w_t times its error."""
            guess = model(x_t, t, label)
            return torch.lerp(noise, guess, weights(schedule)[t].sqrt().to(guess).view(-1, 1, 1, 1))

        return ddpm_loss(louder, schedule, x_start, label, t=t, noise=noise)

    return loss


class Taught(NamedTuple):
    """What a network is taught to say."""

    loss: Loss
    eps_model: Callable[[LabelledModel, NoiseSchedule], LabelledModel]  # the same network as a predictor of noise


LOSS_WEIGHTS = {"half_v": weighing(half_v)}
TARGETS = {"noise": Taught(ddpm_loss, lambda model, schedule: model), "velocity": Taught(flow_loss, as_noise)}


def loss_of(config: TrainConfig) -> Loss:
    """What a run minimises: the loss of its target, for noise with the weights that it asks for."""
    return TARGETS[config.target].loss if config.loss_weight == "simple" else LOSS_WEIGHTS[config.loss_weight]


@torch.no_grad()
def held_out_loss(
    model: nn.Module,
    schedule: NoiseSchedule,
    digits: Digits,
    count: int = HELD_OUT,
    *,
    draw_t: DrawT = uniform,
    loss: Loss = ddpm_loss,
) -> float:
    """The loss on the first ``count`` images with every t in turn and the same noise each time.

    Fixed t and noise make two numbers comparable; a training loss jumps with the t that were drawn. ``draw_t`` gives
    each t as many turns as training gives it.
    """
    x, label = digits[:count]
    t = draw_t(schedule, (torch.arange(len(x), device=x.device) + 0.5) / len(x))
    noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(0)).to(x.device)
    parts = zip(x.split(250), label.split(250), t.split(250), noise.split(250), strict=True)
    losses = [(loss(model, schedule, x, y, t=t, noise=e).item(), len(x)) for x, y, t, e in parts]
    return sum(value * n for value, n in losses) / len(x)
