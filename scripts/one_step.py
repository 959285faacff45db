"""Teach the shipped ``laptop`` network to draw in one or two looks, judge it, and ship it: python scripts/one_step.py

Starts from ``laptop``'s weights, needs MNIST, and takes about ten minutes on two CPU cores.
"""

import copy
from dataclasses import replace
from pathlib import Path

from diffusion_lib.consistency import consistency_loss, even_angles
from diffusion_lib.data import load_data
from diffusion_lib.profiles import Profile, TrainConfig
from diffusion_lib.training.checkpoints import load_pretrained
from diffusion_lib.training.loop import default_device, fit

SCALE = 1.5  # guidance of the teacher, folded into its student
STAGES = ((4, 12_800), (8, 25_600))  # pieces of the path, images


def stage(profile: Profile, images: int) -> Profile:
    recipe = TrainConfig(
        epochs=1, learning_rate=1e-3, warmup_steps=50, decay="cosine", ema_decay=0.99, max_images=images
    )
    return replace(profile, name="one-step", train=recipe, sample_steps=2, guidance_scale=1.0)


def main() -> None:
    device = default_device()
    teacher = load_pretrained("laptop", device)
    train, test = load_data("mnist", device)
    model = copy.deepcopy(teacher.model)
    for pieces, images in STAGES:
        model = fit(
            stage(teacher.profile, images), train, test,
            model=model.requires_grad_(True), loss=consistency_loss(teacher.model, pieces, SCALE), draw_t=even_angles,
            run_dir=Path("runs") / f"one-step-{pieces}", device=device,
        ).model  # fmt: skip


if __name__ == "__main__":
    main()
