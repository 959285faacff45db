"""The figures that the README shows, each drawn from the shipped weights. No data set is needed."""

from collections.abc import Callable

import torch

from diffusion_lib.checkpoints import load_pretrained, load_snapshots, shipped_history
from diffusion_lib.diffusion import q_sample
from diffusion_lib.guidance import clipped, guided
from diffusion_lib.samplers import generate, sample_ddim
from diffusion_lib.viz import Picture, image_grid, learning_curve, sample_grid


def samples() -> Picture:
    """Ten digits of each label, 50 DDIM steps."""
    trained = load_pretrained()
    label = torch.arange(10).repeat(10)
    images = generate(trained.model, trained.schedule, label, scale=trained.profile.sample_scale)
    return sample_grid(images, label)


def both_ways() -> Picture:
    """Top: the forward process. Bottom: a new digit grown from the noise that the top row ends in."""
    trained, levels = load_pretrained(), [0, 100, 200, 300, 450, 600, 800, 999]
    schedule, label, scale = trained.schedule, torch.tensor([3]), trained.profile.sample_scale
    start = generate(trained.model, schedule, label, scale=scale, seed=1)
    noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(0))
    forward = [q_sample(schedule, start, torch.tensor([t]), noise) for t in levels]

    eps_model, generator = clipped(guided(trained.model, label, scale), schedule), torch.Generator().manual_seed(0)
    back = list(sample_ddim(eps_model, schedule, forward[-1], 50, eta=1.0, generator=generator))
    nearest = [min(back, key=lambda step: abs(step.t - level)).x for level in levels[1:-1]]
    alt = "Top row: a 3 dissolves into noise as t grows. Bottom row, read from right to left: noise becomes a new 3."
    return image_grid(
        torch.cat([*forward, back[-1].x, *nearest, forward[-1]]),
        alt,
        columns=len(levels),
        titles=[f"t = {t}" for t in levels],
        row_titles=["forward →", "reverse ←"],
        limits=(-1.5, 1.5),
    )


def curve() -> Picture:
    """The learning curve of the run that made the shipped weights."""
    history = shipped_history()
    return learning_curve(history.epochs, history.steps)


def grids_over_epochs() -> Picture:
    """Two digits of each label after several epochs, the same noise in each row."""
    snapshots = load_snapshots()
    rows = torch.cat([images[:20] for images in snapshots.values()])
    epochs = ", ".join(map(str, snapshots))
    alt = f"Samples after epochs {epochs}, one row each, labels 0 to 9 twice, from the same noise."
    return image_grid(rows, alt, columns=20, row_titles=[f"epoch {n}" for n in snapshots], size=0.5)


FIGURES: dict[str, Callable[[], Picture]] = {
    "samples": samples,
    "both_ways": both_ways,
    "learning_curve": curve,
    "grids_over_epochs": grids_over_epochs,
}
