"""Teach the shipped ``laptop`` network to draw in one or two looks, judge it, and ship it.

    python scripts/one_step.py            # from laptop's weights, needs MNIST; with judging a quarter of an hour
    python scripts/one_step.py --judge    # judge the shipped weights again

Writes ``one-step.safetensors`` (the averaged weights), ``one-step.json`` (the card) and ``one-step.quality.json``
(scores by number of looks, beside laptop's and real digits') into ``diffusion_lib/weights``.
"""

import copy
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lib.consistency import consistency_loss, even_angles, sample_ends, upper_ends
from diffusion_lib.data import Digits, load_data
from diffusion_lib.metrics import Judge
from diffusion_lib.profiles import Profile, TrainConfig
from diffusion_lib.samplers import generate, last
from diffusion_lib.schedules import NoiseSchedule
from diffusion_lib.training.checkpoints import WEIGHTS, Pretrained, load_classifier, load_pretrained, save_small
from diffusion_lib.training.loop import default_device, fit
from diffusion_lib.training.recipe import DrawT, Loss
from diffusion_lib.training.runs import commit, device_name, versions

NAME = "one-step"
PIECES = 4  # of each path
STAGES = (  # which levels are drawn, images, the teacher's steps in a piece, its guidance
    (even_angles, 12_800, 2, 1.5),
    (upper_ends(PIECES), 12_800, 2, 1.5),
    (upper_ends(PIECES), 9_600, 4, 1.3),
)
TEACHER_SCALE = STAGES[-1][-1]
LEVELS = (999, 259)  # of the first look and the second, where the upper half of the path begins
PER_LABEL = 100


def profile_of(teacher: Profile, images: int) -> Profile:
    """The teacher's network, and how one stage is trained."""
    recipe = TrainConfig(
        epochs=1, learning_rate=1e-3, warmup_steps=50, decay="cosine", ema_decay=0.99, max_images=images
    )
    return replace(teacher, name=NAME, train=recipe, sample_steps=len(LEVELS), guidance_scale=1.0)


def tuned(
    model: nn.Module, profile: Profile, data: tuple[Digits, Digits], loss: Loss, stage: int, draw_t: DrawT = even_angles
) -> nn.Module:
    """``model`` after one more stage; each stage sees other images, in an order of its own."""
    train, test = data
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(stage)).to(train.labels.device)
    train, few = train.where(order[: profile.train.max_images]), test.take(100)  # few: nothing hangs on its loss
    model, device = model.requires_grad_(True), train.labels.device
    return fit(profile, train, few, model=model, loss=loss, draw_t=draw_t, device=device).model


def draw(model: nn.Module, schedule: NoiseSchedule, levels: tuple[int, ...], label: Tensor, seed: int = 1) -> Tensor:
    """One image for each label, by one look at each of ``levels``."""
    generator = torch.Generator().manual_seed(seed)
    x_T = torch.randn(len(label), 1, 28, 28, generator=generator).to(label.device)
    parts = zip(x_T.split(250), label.split(250), strict=True)
    return torch.cat([last(sample_ends(model, schedule, x, y, levels, generator=generator)) for x, y in parts])


def rows(few: Pretrained, laptop: Pretrained, judge: Judge) -> Iterator[dict[str, Any]]:
    """Scores of ``one-step`` by looks, and of ``laptop`` with one look and as its card has it, each 1,000 digits."""
    label = torch.arange(10, device=few.schedule.betas.device).repeat(PER_LABEL)
    drawn = {
        "one-step, 1 look": draw(few.model, few.schedule, LEVELS[:1], label),
        "one-step, 2 looks": draw(few.model, few.schedule, LEVELS, label),
        "laptop, 1 look": generate(laptop.model, laptop.schedule, label, 1, eta=0.0, seed=1),
    }
    for name, images in drawn.items():
        yield {"name": name} | asdict(judge.score(images, label))
    yield {"name": "laptop, 100 looks"} | laptop.card["scores"]["samples"]


def seconds(few: Pretrained, repeats: int = 5) -> dict[str, float]:
    """The median time in which 100 digits are drawn, by looks."""
    label, times = torch.arange(10, device=few.schedule.betas.device).repeat(10), {}
    for looks in (1, 2):
        taken = []
        for _ in range(repeats):
            start = time.perf_counter()
            draw(few.model, few.schedule, LEVELS[:looks], label)
            taken.append(time.perf_counter() - start)
        times[str(looks)] = round(sorted(taken)[repeats // 2], 2)
    return times


def train(laptop: Pretrained, data: tuple[Digits, Digits]) -> None:
    """All stages, from laptop's weights; writes weights and card."""
    model, start = copy.deepcopy(laptop.model), time.process_time()
    for i, (draw_t, images, steps, scale) in enumerate(STAGES):
        profile = profile_of(laptop.profile, images)
        loss = consistency_loss(laptop.model, PIECES, scale, steps)
        model = tuned(model, profile, data, loss, i, draw_t)
    card = {
        "command": "python scripts/one_step.py",
        "commit": commit(),
        "data": data[0].source,
        "device": device_name(laptop.schedule.betas.device),
        "start": "laptop",
        "teacher_scale": TEACHER_SCALE,
        "pieces": PIECES,
        "images": [images for _, images, *_ in STAGES],
        "teacher_steps": [steps for *_, steps, _ in STAGES],
        "teacher_scales": [scale for *_, scale in STAGES],
        "levels": LEVELS,
        "cpu_seconds": round(time.process_time() - start),
        "versions": versions(),
        "profile": profile.to_dict(),
    }
    save_small(WEIGHTS / f"{NAME}.safetensors", model, profile, card)
    (WEIGHTS / f"{NAME}.json").write_text(json.dumps(card, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def main(only_judge: bool = False) -> None:
    device = default_device()
    laptop, data = load_pretrained("laptop", device), load_data("mnist", device)
    if not only_judge:
        train(laptop, data)
    few, judge = load_pretrained(NAME, device), Judge(load_classifier(device), train=data[0], test=data[1])
    quality = {
        "command": "python scripts/one_step.py --judge",
        "device": device_name(device),
        "versions": versions(),
        "data": data[1].source,
        "floor": asdict(judge.floor(10 * PER_LABEL)),
        "rows": list(rows(few, laptop, judge)),
        "seconds_for_100_digits": seconds(few),
    }
    print(json.dumps(quality, indent=1))
    (WEIGHTS / f"{NAME}.quality.json").write_text(json.dumps(quality, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main("--judge" in sys.argv[1:])
