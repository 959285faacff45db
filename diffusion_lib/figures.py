"""The figures that the README shows, each drawn from the shipped weights. No data set is needed."""

from collections.abc import Callable

import torch

from diffusion_lib.checkpoints import load_pretrained, load_snapshots, shipped_history
from diffusion_lib.diffusion import q_sample
from diffusion_lib.guidance import clipped, conditioned
from diffusion_lib.samplers import generate, sample_ddim
from diffusion_lib.viz import Picture, image_grid, learning_curve, sample_grid


def samples() -> Picture:
    """Ten digits of each label, 50 DDIM steps."""
    trained = load_pretrained()
    label = torch.arange(10).repeat(10)
    images = generate(trained.model, trained.schedule, label, scale=trained.profile.sample_scale)
    return sample_grid(images, label)


def both_ways() -> Picture:
    """Top: the forward process. Bottom: the way back from the same noise level."""
    trained, levels = load_pretrained(), [0, 100, 200, 300, 450, 600, 800, 999]
    label = torch.arange(10).repeat(1)
    start = generate(trained.model, trained.schedule, label, scale=trained.profile.sample_scale, seed=4)[3:4]
    noise = torch.randn(start.shape, generator=torch.Generator().manual_seed(0))
    forward = [q_sample(trained.schedule, start, torch.tensor([t]), noise) for t in levels]
    back = list(
        sample_ddim(clipped(conditioned(trained.model, label[3:4]), trained.schedule), trained.schedule, noise, 50)
    )
    nearest = [min(back, key=lambda step, t=t: abs(step.t - t)).x for t in levels[1:]]  # type: ignore[misc]
    alt = "Top row: a 3 dissolves into noise as t grows. Bottom row, read from right to left: noise becomes a 3."
    rows = torch.cat([*forward, back[-1].x, *nearest])
    return image_grid(
        rows,
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
