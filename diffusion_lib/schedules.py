"""How much noise is added at each step, as tables of length T.

Three schedules: the straight line of Ho et al. 2020 (section 4), the cosine of Nichol and Dhariwal 2021 (eq. 17),
and the one of straight paths (Liu et al. 2023). Tables are made in float64, because 1 - alpha_bar cancels in
float32, and cast once.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from diffusion_lib.profiles import ScheduleConfig
from diffusion_lib.shapes import Images, Timesteps, check_batch, check_range

Table = Float[Tensor, " T"]
PerImage = Float[Tensor, "batch 1 1 1"]


def gather(table: Table, t: Timesteps, like: Images) -> PerImage:
    """``table`` read at ``t``, one value for each image of ``like`` (B, C, H, W), in its dtype and on its device.

    ``t`` int64, (B,), 0 ... T-1. Returns (B, 1, 1, 1), which meets (B, C, H, W) image by image.
    """
    check_batch("t", t, like.shape[0])
    check_range("t", t, len(table))
    return table.to(like.dtype).to(like.device)[t.to(like.device)].view(-1, 1, 1, 1)


def linear_betas(num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02) -> Table:
    """A straight line from ``beta_start`` to ``beta_end`` (Ho et al. 2020, section 4), float64, (T,).

    The two ends belong to T = 1000. With fewer steps they leave part of the image in x_T: pass ends
    multiplied by 1000 / T, or use :func:`cosine_betas`.
    """
    _check_num_timesteps(num_timesteps)
    return torch.linspace(beta_start, beta_end, num_timesteps, dtype=torch.float64)


def cosine_betas(num_timesteps: int = 1000, s: float = 0.008, max_beta: float = 0.999) -> Table:
    """beta_t = 1 - f(t+1) / f(t), f(t) = cos²((t/T + s) / (1 + s) · π/2), at most ``max_beta``; float64, (T,).

    Nichol and Dhariwal 2021, eq. 17. It reaches pure noise for every T.
    """
    _check_num_timesteps(num_timesteps)
    steps = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    f = torch.cos((steps + s) / (1 + s) * math.pi / 2) ** 2
    return (1 - f[1:] / f[:-1]).clamp(max=max_beta)


def straight_betas(num_timesteps: int = 1000, max_beta: float = 0.999) -> Table:
    """Signal and noise mixed as on a straight path, √ᾱ_t : √(1 − ᾱ_t) = 1 − τ : τ, at τ = (t + 1) / T; float64, (T,).

    At τ = 1 nothing would be left of the image, and β would be 1. As in :func:`cosine_betas` it is at most
    ``max_beta``, so the last level lies just below: τ = 0.99997 for T = 1000.
    """
    _check_num_timesteps(num_timesteps)
    tau = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
    alpha_bar = (1 - tau) ** 2 / ((1 - tau) ** 2 + tau**2)
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=max_beta)


def make_schedule(config: ScheduleConfig) -> "NoiseSchedule":
    """The schedule that a profile names, on the CPU in float64."""
    makers: dict[str, Callable[[int], Table]] = {
        "linear": linear_betas,
        "cosine": cosine_betas,
        "straight": straight_betas,
    }
    if config.kind not in makers:
        raise ValueError(f"unknown schedule {config.kind!r}; choose one of {', '.join(makers)}.")
    return NoiseSchedule.from_betas(makers[config.kind](config.num_timesteps))


def amplitude_weights(schedule: "NoiseSchedule") -> Table:
    """How often to draw each level so that the signal's amplitude √ᾱ is spread evenly from 1 down; of length T.

    w_t = √ᾱ_{t−1} − √ᾱ_t

    Levels are rare where only faint grain is left to find, and where next to nothing is left of the image. Drawn so,
    all schedules show a network the same mixture of noise; to draw a level more often is to weigh its loss more
    (Kingma and Gao 2023, "Understanding Diffusion Objectives as the ELBO with Simple Data Augmentation").
    """
    return schedule.alphas_cumprod_prev.sqrt() - schedule.sqrt_alphas_cumprod


def _check_num_timesteps(num_timesteps: int) -> None:
    if num_timesteps < 1:
        raise ValueError(f"num_timesteps must be at least 1, but is {num_timesteps}.")


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """Every quantity that depends on t alone, as a table of length T (Ho et al. 2020, section 2).

    Index 0 is one step of noise, so ``alphas_cumprod[t]`` is the paper's ᾱ with index t + 1.
    """

    betas: Tensor  # β_t
    alphas: Tensor  # α_t = 1 − β_t
    alphas_cumprod: Tensor  # ᾱ_t = α_0 · … · α_t
    alphas_cumprod_prev: Tensor  # ᾱ_{t−1}; 1 at t = 0
    sqrt_alphas: Tensor  # √α_t
    sqrt_alphas_cumprod: Tensor  # √ᾱ_t, the amplitude of the signal in x_t
    sqrt_one_minus_alphas_cumprod: Tensor  # √(1 − ᾱ_t), the amplitude of the noise in x_t
    posterior_variance: Tensor  # β̃_t = β_t (1 − ᾱ_{t−1}) / (1 − ᾱ_t), eq. 7; 0 at t = 0
    posterior_std: Tensor  # √β̃_t
    posterior_x_start_coef: Tensor  # √ᾱ_{t−1} β_t / (1 − ᾱ_t), eq. 7
    posterior_x_t_coef: Tensor  # √α_t (1 − ᾱ_{t−1}) / (1 − ᾱ_t), eq. 7

    @classmethod
    def from_betas(cls, betas: Table) -> "NoiseSchedule":
        """All tables from β alone, in float64. Every β must lie in (0, 1)."""
        betas = torch.as_tensor(betas, dtype=torch.float64)
        if betas.ndim != 1 or betas.numel() == 0 or not bool(((betas > 0) & (betas < 1)).all()):
            raise ValueError(
                f"betas must be a vector of values inside (0, 1), but has shape {tuple(betas.shape)}"
                + (f" and runs from {betas.min():g} to {betas.max():g}." if betas.numel() else ".")
            )
        alphas = 1 - betas
        alpha_bar = alphas.cumprod(dim=0)
        alpha_bar_prev = torch.cat([alpha_bar.new_ones(1), alpha_bar[:-1]])
        posterior_variance = betas * (1 - alpha_bar_prev) / (1 - alpha_bar)
        return cls(
            betas=betas,
            alphas=alphas,
            alphas_cumprod=alpha_bar,
            alphas_cumprod_prev=alpha_bar_prev,
            sqrt_alphas=alphas.sqrt(),
            sqrt_alphas_cumprod=alpha_bar.sqrt(),
            sqrt_one_minus_alphas_cumprod=(1 - alpha_bar).sqrt(),
            posterior_variance=posterior_variance,
            posterior_std=posterior_variance.sqrt(),
            posterior_x_start_coef=alpha_bar_prev.sqrt() * betas / (1 - alpha_bar),
            posterior_x_t_coef=alphas.sqrt() * (1 - alpha_bar_prev) / (1 - alpha_bar),
        )

    def to(self, device: torch.device | str, dtype: torch.dtype = torch.float32) -> "NoiseSchedule":
        """The same schedule with every table rounded once to ``dtype``, then moved: Apple's GPUs take no float64."""
        return NoiseSchedule(**{f.name: getattr(self, f.name).to(dtype).to(device) for f in fields(self)})

    def at(self, name: str, t: Timesteps, like: Images) -> PerImage:
        """:func:`gather` for a table that is chosen by its name."""
        if name not in self.__dataclass_fields__:
            raise AttributeError(f"no table {name!r}; choose one of {', '.join(self.__dataclass_fields__)}.")
        return gather(getattr(self, name), t, like)

    def __len__(self) -> int:
        """T, the number of steps of noise."""
        return len(self.betas)
