"""What the number of looks at the network changes, and what it does not: one change at a time, the shipped weights.

    python benchmarks/steps.py

Writes ``benchmarks/steps.md``. Takes about half an hour on one CPU core.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from diffusion_lib.data import Digits, load_data
from diffusion_lib.diffusion import ddim_step, predict_x_start, q_sample
from diffusion_lib.guidance import clipped, conditioned
from diffusion_lib.metrics import Judge
from diffusion_lib.samplers import ddim_timesteps, draw_noise
from diffusion_lib.schedules import NoiseSchedule
from diffusion_lib.shapes import EpsModel
from diffusion_lib.training.checkpoints import Pretrained, load_classifier, load_pretrained

OUT = Path(__file__).with_name("steps.md")
TILDE, BETA, GIVEN_BACK = "β̃", "β", "β̃ + the rest"
ROWS = [  # looks, digits, variance, η, clipped
    (25, 500, TILDE, 1, True),
    (50, 500, TILDE, 1, True),
    (50, 500, GIVEN_BACK, 1, True),
    (50, 500, TILDE, 0, True),
    (100, 500, TILDE, 1, True),
    (250, 300, TILDE, 1, True),
    (500, 300, TILDE, 1, True),
    (1000, 300, TILDE, 1, True),
    (1000, 200, BETA, 1, True),
    (1000, 200, TILDE, 1, False),
]
HEAD = """# What the number of looks changes, and what it does not

Shipped `laptop` weights on MNIST, no guidance, seed 1. Rows as in `python benchmarks/steps.py`. The range is a 95 %
interval (Wilson). Spread is a share of real digits'. Fréchet distances compare only between rows of as many digits.
*β̃ + the rest* adds the mean variance that β̃ leaves out, measured on 300 test digits (Bao et al., *Analytic-DPM*,
ICLR 2022). No variance is added on the way to the clean image.

| looks | variance | η | x̂_0 clipped | digits | read as asked | spread | Fréchet |
|---|---|---|---|---|---|---|---|
"""


def jump_variance(schedule: NoiseSchedule, t: int, s: int, unknown: Tensor) -> dict[str, float]:
    """What each choice adds on a jump from level t to s; ``unknown``, (T,), is the mean of Var[x_0 | x_t]."""
    alpha_bar = torch.cat([torch.ones(1).double(), schedule.alphas_cumprod.double()])
    at, to = alpha_bar[t + 1], alpha_bar[s + 1]
    beta = 1 - at / to
    tilde = (1 - to) / (1 - at) * beta
    rest = (to.sqrt() * beta / (1 - at)) ** 2 * unknown[t] if s >= 0 else 0.0
    return {TILDE: float(tilde), BETA: float(beta) if s >= 0 else 0.0, GIVEN_BACK: float(tilde + rest)}


@torch.no_grad()
def unknown_variance(trained: Pretrained, test: Digits) -> Tensor:
    """The mean squared error of the clipped x̂_0 on test digits, at 45 levels and by interpolation between, (T,)."""
    torch.manual_seed(5)
    schedule = trained.schedule
    x_start, label = test[1000:1300]
    levels, errors = sorted({*ddim_timesteps(len(schedule), 41), 1, 2, 4, 8, 15}), []
    for level in levels:
        t, noise = torch.full_like(label, level), torch.randn_like(x_start)
        x_t = q_sample(schedule, x_start, t, noise)
        guess = predict_x_start(schedule, x_t, t, trained.model(x_t, t, label)).clamp(-1, 1)
        errors.append((guess - x_start).square().mean().log())
    return _interpolate(torch.tensor(levels), torch.stack(errors), len(schedule)).exp()


def _interpolate(at: Tensor, values: Tensor, count: int) -> Tensor:
    where = torch.arange(count)
    right = torch.searchsorted(at, where).clamp(min=1)
    share = (where - at[right - 1]) / (at[right] - at[right - 1])
    return values[right - 1] + share * (values[right] - values[right - 1])


def walk(
    trained: Pretrained,
    model: EpsModel,
    x: Tensor,
    looks: int,
    choice: str,
    eta: float,
    unknown: Tensor,
    g: torch.Generator,
) -> Tensor:
    """From noise to images; with β̃ it is ``sample_ddim``."""
    times = ddim_timesteps(len(trained.schedule), looks)
    for t, s in zip(times, [*times[1:], -1], strict=True):
        at, to = (torch.full((len(x),), level) for level in (t, s))
        with torch.no_grad():
            eps = model(x, at)
        noise = draw_noise(x, g) if eta else torch.zeros_like(x)
        std = eta * jump_variance(trained.schedule, t, s, unknown)[choice] ** 0.5
        x = ddim_step(trained.schedule, x, at, to, eps, torch.zeros_like(x), eta) + std * noise
    return x


def rows(trained: Pretrained, judge: Judge, unknown: Tensor) -> Iterator[str]:
    for looks, count, choice, eta, clips in ROWS:
        label, generator = torch.arange(10).repeat(count // 10), torch.Generator().manual_seed(1)
        x_T, parts = torch.randn(count, 1, 28, 28, generator=generator), []
        for part, x in zip(label.split(100), x_T.split(100), strict=True):
            model = conditioned(trained.model, part)
            model = clipped(model, trained.schedule) if clips else model
            parts.append(walk(trained, model, x, looks, choice, eta, unknown, generator))
        s = judge.score(torch.cat(parts).clamp(-1, 1), label)
        read = f"{s.agreement:.1%} ({s.agreement_low:.1%} to {s.agreement_high:.1%})"
        told = [looks, choice, eta, "yes" if clips else "no", count, read, f"{s.spread:.2f}", f"{s.frechet:.0f}"]
        yield "| " + " | ".join(map(str, told)) + " |"


def main() -> None:
    trained, (train, test) = load_pretrained("laptop", "cpu"), load_data("mnist", "cpu")
    judge = Judge(load_classifier("cpu"), test=test, train=train, neighbours=1)
    lines = []
    for line in rows(trained, judge, unknown_variance(trained, test)):
        print(line, flush=True)
        lines.append(line)
    OUT.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
