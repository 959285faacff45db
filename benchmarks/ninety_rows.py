"""What benchmarks/ninety.py compares: the ``laptop`` recipe, one change in each row, and the reason for it."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from ablation import LabelInTime, v_weight
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional as F

from diffusion_lib.diffusion import ddpm_loss, q_sample
from diffusion_lib.predictions import amplitudes, prediction_loss
from diffusion_lib.profiles import PROFILES, Profile, UNetConfig
from diffusion_lib.schedules import NoiseSchedule, amplitude_weights, gather
from diffusion_lib.training.recipe import TIMESTEP_SAMPLING, DrawT, Loss, half_v, weighing, weighted
from diffusion_lib.unet import Stage, UNet

LAPTOP = PROFILES["laptop"]


# What a row may change: the loss, called as ``ddpm_loss`` is ------------------------------------------------------


Weights = Callable[[NoiseSchedule], Tensor]


def even(schedule: NoiseSchedule) -> Tensor:
    """All levels alike."""
    return torch.ones_like(schedule.alphas_cumprod)


def contrastive(strength: float, weights: Weights = even) -> Loss:
    """Contrastive flow matching (Stoica et al. 2025): away from the target of another image of the batch.

    In terms of v the other target is v' = a ε' − s x_0'. At this x_t it is the noise s x_t + a v'. Its mean
    m = s (x_t − a μ) knows no label. So the best answer is ε_c + strength / (1 − strength) (ε_c − m).
    """

    def loss(model: Any, schedule: NoiseSchedule, x_start: Tensor, label: Any, *, t: Tensor, noise: Tensor) -> Tensor:
        a, s = amplitudes(schedule, t, x_start)
        x_t = q_sample(schedule, x_start, t, noise)
        other = s * x_t + a * (a * noise.roll(1, 0) - s * x_start.roll(1, 0))
        eps, weight = model(x_t, t, label), gather(weights(schedule), t, noise)
        return (weight * ((eps - noise).square() - strength * (eps - other).square())).mean()

    return loss


def guidance_within(scale: float, weights: Weights = even) -> Loss:
    """Guidance trained in (Chen et al. 2025, "Visual Generation Without Guidance").

    Not ε_c but (1/w) ε_c + (1 − 1/w) ε_∅ is taught to be the noise. So ε_c becomes what guidance w would make of it.
    """

    def loss(model: Any, schedule: NoiseSchedule, x_start: Tensor, label: Any, *, t: Tensor, noise: Tensor) -> Tensor:
        x_t = q_sample(schedule, x_start, t, noise)
        with torch.no_grad():
            unlabelled = model(x_t, t, None)
        mixed = model(x_t, t, label) / scale + (1 - 1 / scale) * unlabelled
        return (gather(weights(schedule), t, noise) * (mixed - noise).square()).mean()

    return loss


def quarter_v(schedule: NoiseSchedule) -> Tensor:
    """Half-way again."""
    return half_v(schedule).sqrt()


def towards_noise(power: float) -> DrawT:
    """Draw t more often, instead of weighing it more: the same expected loss as v's weight to that power."""
    return weighted(lambda schedule: amplitude_weights(schedule) * v_weight(schedule) ** power)


def in_turn(u: Tensor) -> Tensor:
    """One draw for the whole batch, shifted by 1 / B from image to image (Kingma et al. 2021, "Variational")."""
    return (u[0] + torch.arange(len(u)) / len(u)) % 1


def immiscible(inner: Loss) -> Loss:
    """Each image takes the noise near to it, among those drawn for its label (Li et al. 2024)."""

    def loss(model: Any, schedule: NoiseSchedule, x_start: Tensor, label: Any, *, t: Tensor, noise: Tensor) -> Tensor:
        far = torch.cdist(x_start.flatten(1), noise.flatten(1)) + 1e6 * (label[:, None] != label)
        return inner(model, schedule, x_start, label, t=t, noise=noise[linear_sum_assignment(far)[1]])

    return loss


# ... and the network ----------------------------------------------------------------------------------------------


class SkipsAfter(UNet):
    """Skips that are saved after down-sampling, as the homework has them: the finest map never reaches the decoder."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        widths = [config.width * m for m in config.multipliers]
        last = len(widths) - 1
        self.up = nn.ModuleList(
            Stage(2 * widths[i], widths[i], config, i in config.transformer_stages) for i in range(last, 0, -1)
        )
        self.top = Stage(widths[0], widths[0], config, 0 in config.transformer_stages)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        self.check(x, t, label)
        time, context = self.time(t), self.label(label, batch=len(x))
        h, skips = self.conv_in(F.pixel_unshuffle(x, self.config.patch_size)), []
        for level, downsample in zip(self.down, self.downsamples, strict=False):
            h = downsample(level(h, time, context))
            skips.append(h)
        h = self.middle1(self.down[-1](h, time, context), time, context)
        h = self.middle2(h, time, context)
        for level, upsample in zip(self.up, self.upsamples, strict=True):
            h = upsample(level(torch.cat([h, skips.pop()], dim=1), time, context))
        h = self.top(h, time, context)
        return F.pixel_shuffle(self.conv_out(F.silu(self.norm_out(h))), self.config.patch_size)


# The rows ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """Changes against ``laptop``, and why."""

    why: str
    train: dict[str, Any] = field(default_factory=dict)
    unet: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    network: type[UNet] = UNet
    loss: Loss = ddpm_loss
    says: str = "eps"
    draw_t: DrawT | None = None
    batches: tuple[tuple[float, int], ...] = ()  # (share of the images, batch size), in turn
    small_first: float = 0.0  # share of the images that are first seen at 16 x 16

    def profile(self, seed: int) -> Profile:
        train = replace(LAPTOP.train, seed=seed, **({"warmup_steps": 100} | self.train))
        unet, schedule = replace(LAPTOP.unet, **self.unet), replace(LAPTOP.schedule, **self.schedule)
        return replace(LAPTOP, unet=unet, schedule=schedule, train=train)


WIDE = {"patch_size": 4, "width": 64, "multipliers": (1,), "transformer_stages": (0,)}
MUON = {"muon_rate": 1e-2}
amplitude = TIMESTEP_SAMPLING["amplitude"]
BEST = Row("its square root, since spread was lost", train=MUON, loss=weighing(half_v))
ROWS = {
    "laptop": Row("`laptop`'s recipe in one short run; a warm-up of 100 steps, here and below"),
    "rate 8e-3": Row("twice the learning rate", train={"learning_rate": 8e-3}),
    "batch 32": Row("twice the steps, of half the images", train={"batch_size": 32}),
    "EMA 0.99": Row("an average that forgets sooner", train={"ema_decay": 0.99}),
    "dropping 0.05": Row("the label is there more often", train={"label_dropout": 0.05}),
    "label in time": Row("the label reaches every residual block", network=LabelInTime),
    "v weight": Row("more weight where the label decides, at high noise", loss=weighing(v_weight)),
    "v": Row("v for noise: the same weights, and another answer", loss=prediction_loss("v"), says="v"),
    "homework": Row(
        "three choices of the homework it grew from: T = 500 with the β of 1,000, one label token, late skips",
        unet={"context_tokens": 1}, schedule={"num_timesteps": 500}, network=SkipsAfter,
    ),
    "Muon": Row("hidden layers by Muon (Jordan et al. 2024), rate 4e-3", train={"muon_rate": 4e-3}),
    "Muon 1e-2": Row("rate 1e-2", train=MUON),
    "Muon 2e-2": Row("rate 2e-2", train={"muon_rate": 2e-2}),
    "Muon, v weight": Row("with more weight at high noise", train=MUON, loss=weighing(v_weight)),
    "Muon, half v weight": BEST,
    "Muon, quarter v weight": Row("its fourth root", train=MUON, loss=weighing(quarter_v)),
    "Muon, half v weight, label in time": Row(
        "and the label reaches every block", train=MUON, loss=weighing(half_v), network=LabelInTime
    ),
    "Muon, half v drawn": Row("the same expected loss, by drawing t", train=MUON, draw_t=towards_noise(1 / 2)),
    "Muon, quarter v drawn": Row("the fourth root, drawn", train=MUON, draw_t=towards_noise(1 / 4)),
    "Muon 2e-2, half v weight": Row("and faster", train={"muon_rate": 2e-2}, loss=weighing(half_v)),
    "Muon, batch 32": Row("half the batch, 1.7 times the steps", train=MUON | {"batch_size": 32}),
    "Muon, EMA 0.99": Row("an average that forgets sooner", train=MUON | {"ema_decay": 0.99}),
    "Muon, label in time": Row("the label reaches every block", train=MUON, network=LabelInTime),
    "Muon, x_0, patch 4": Row(
        "fewer, larger tokens: more images a second, if x_0 is easier to say than noise there",
        train=MUON, unet=WIDE, loss=prediction_loss("x_start"), says="x_start",
    ),
    "and contrastive": replace(BEST, why="away from other images' targets", loss=contrastive(0.05, half_v)),
    "and immiscible": replace(BEST, why="noise near to the image, among its label's", loss=immiscible(BEST.loss)),
    "and guidance within": replace(
        BEST, why="guidance 1.3 trained in: one pass a step, not two", loss=guidance_within(1.3, half_v)
    ),
    "and small first": replace(BEST, why="a third of the images at 16 x 16, where one costs less", small_first=0.33),
    "and batch grows": replace(BEST, why="batches of 32 first, then of 128", batches=((0.4, 32), (0.6, 128))),
    "and dropping 0.05": replace(BEST, why="the label is there more often", train=MUON | {"label_dropout": 0.05}),
    "and label at 14x14": replace(BEST, why="attention at the first stage too", unet={"transformer_stages": (0, 1)}),
    "and levels in turn": replace(
        BEST, why="each batch spans all levels", draw_t=lambda schedule, u: amplitude(schedule, in_turn(u))
    ),
}  # fmt: skip
