"""Four ways from the shipped ``laptop`` weights to a network that draws in one look, at about equal cost each.

    python benchmarks/one_step.py [NAME ...]

Writes ``benchmarks/one_step.md``; with names, only those rows are measured again. Each way takes about a minute and a
half on one CPU core. All read the network by ``path_end``, use the same distance and recipe, and are judged alike.
"""

import copy
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from torch import Tensor, nn

from diffusion_lib.consistency import (
    consistency_loss,
    distance,
    earlier,
    even_angles,
    path_end,
    upper_ends,
    walk_down,
)
from diffusion_lib.data import Digits, load_data
from diffusion_lib.diffusion import predict_eps, q_sample
from diffusion_lib.metrics import Judge
from diffusion_lib.samplers import denoiser, last, sample_ddim
from diffusion_lib.schedules import NoiseSchedule, gather
from diffusion_lib.training.checkpoints import Pretrained, load_classifier, load_pretrained
from diffusion_lib.training.recipe import Loss

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from one_step import LEVELS, TEACHER_SCALE, draw, profile_of, tuned

OUT = Path(__file__).with_suffix(".md")
FOUND = Path(__file__).with_suffix(".jsonl")
Data = tuple[Digits, Digits]
Teacher = Callable[[Tensor, Tensor, Tensor], Tensor]  # x_t, t, label -> noise


def tuning_loss(pieces: int) -> Loss:
    """Without a teacher: both points have the image and the noise in common (Geng et al. 2025, ECT)."""

    def loss(model, schedule, x_start, label, *, t, noise):  # type: ignore[no-untyped-def]
        r = earlier(schedule, t, 1 / pieces)
        x_r = q_sample(schedule, x_start, r.clamp(min=0), noise).where(r.view(-1, 1, 1, 1) >= 0, x_start)
        with torch.no_grad():
            target = path_end(model, schedule, x_r, r, label)
        return distance(path_end(model, schedule, q_sample(schedule, x_start, t, noise), t, label), target)

    return loss


def halving_loss(teacher: Teacher, pieces: int) -> Loss:
    """One step of the student lands where two of the teacher's do (Salimans and Ho 2022, Algorithm 2)."""

    def loss(model, schedule, x_start, label, *, t, noise):  # type: ignore[no-untyped-def]
        x_t = q_sample(schedule, x_start, t, noise)
        half, r = (earlier(schedule, t, share / pieces) for share in (0.5, 1.0))
        with torch.no_grad():
            x_r = walk_down(lambda x, t: teacher(x, t, label), schedule, x_t, (t, half, r))
        at, to = gather(schedule.alphas_cumprod, t, x_t), gather(schedule.alphas_cumprod_prev, r + 1, x_t)
        ratio = ((1 - to) / (1 - at)).sqrt()
        target = (x_r - ratio * x_t) / (
            to.sqrt() - ratio * at.sqrt()
        )  # the image whose DDIM step from x_t lands on x_r
        return distance(path_end(model, schedule, x_t, t, label), target)

    return loss


def pairs_loss(teacher: nn.Module, steps: int = 16, levels: int = 4) -> Loss:
    """Straight lines from a noise to where the teacher's walk from it ends (Liu et al. 2023, reflow), 4 points each."""

    def loss(model, schedule, x_start, label, *, t, noise):  # type: ignore[no-untyped-def]
        end = last(sample_ddim(denoiser(teacher, schedule, label, TEACHER_SCALE), schedule, noise, steps))
        t = torch.cat([t, *(even_angles(schedule, torch.rand(len(t), device=t.device)) for _ in range(levels - 1))])
        end, noise, label = end.repeat(levels, 1, 1, 1), noise.repeat(levels, 1, 1, 1), label.repeat(levels)
        return distance(path_end(model, schedule, q_sample(schedule, end, t, noise), t, label), end)

    return loss


def distillation(laptop: Pretrained, data: Data) -> nn.Module:
    loss = consistency_loss(laptop.model, 4, TEACHER_SCALE)
    return tuned(copy.deepcopy(laptop.model), profile_of(laptop.profile, 6_400), data, loss, 0)


def tuning(laptop: Pretrained, data: Data) -> nn.Module:
    model = copy.deepcopy(laptop.model)
    for i, (pieces, images) in enumerate(((4, 6_400), (8, 6_400))):
        model = tuned(model, profile_of(laptop.profile, images), data, tuning_loss(pieces), i)
    return model


def as_teacher(student: nn.Module, schedule: NoiseSchedule) -> Teacher:
    """A copy of what a stage has learned, as a predictor of noise."""
    frozen = copy.deepcopy(student)
    return lambda x, t, label: predict_eps(schedule, x, t, path_end(frozen, schedule, x, t, label))


def halving(laptop: Pretrained, data: Data) -> nn.Module:
    def teacher(x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        return denoiser(laptop.model, laptop.schedule, label, TEACHER_SCALE)(x, t)

    model, walker = copy.deepcopy(laptop.model), teacher
    for i, pieces in enumerate((8, 4, 2, 1)):
        profile, loss = profile_of(laptop.profile, 2_240), halving_loss(walker, pieces)
        model = tuned(model, profile, data, loss, i, upper_ends(pieces))
        walker = as_teacher(model, laptop.schedule)
    return model


def reflow(laptop: Pretrained, data: Data) -> nn.Module:
    model = copy.deepcopy(laptop.model)
    return tuned(model, profile_of(laptop.profile, 1_440), data, pairs_loss(laptop.model), 0)


WAYS = {
    "consistency distillation, guided teacher": distillation,
    "consistency tuning, no teacher": tuning,
    "progressive distillation, guided teacher": halving,
    "reflow, pairs of the guided teacher": reflow,
}
HEAD = f"""# Four ways to one look

From the shipped `laptop` weights on MNIST, one seed each; `python benchmarks/one_step.py`. Judged on 500 digits, as
many of each label. The first look is at level {LEVELS[0]}, the second noises the first answer to level {LEVELS[1]}.
Where there is a teacher, it walks with eta = 0, clipped, guidance {TEACHER_SCALE}. CPU seconds are of one core, with
other work beside it.

| way | CPU seconds | looks | read as asked | spread | of features | Fréchet (mean + covariance) |
|---|---|---|---|---|---|---|
"""


def line(way: str, looks: int, row: dict[str, float]) -> str:
    read = f"{row['agreement']:.1%} ({row['agreement_low']:.1%} to {row['agreement_high']:.1%})"
    parts = f"{row['frechet']:.0f} ({row['frechet_mean']:.0f} + {row['frechet_covariance']:.0f})"
    told = [
        way,
        f"{row['cpu_seconds']:.0f}",
        looks,
        read,
        f"{row['spread']:.2f}",
        f"{row['feature_spread']:.2f}",
        parts,
    ]
    return "| " + " | ".join(map(str, told)) + " |"


def main(names: list[str]) -> None:
    laptop, data = load_pretrained("laptop"), load_data("mnist", "cpu")
    judge = Judge(load_classifier(), test=data[1], train=data[0], neighbours=1)
    found = [json.loads(text) for text in FOUND.read_text(encoding="utf-8").splitlines()] if FOUND.exists() else []
    for way in names or list(WAYS):
        start = time.process_time()
        model = WAYS[way](laptop, data)
        spent, label = time.process_time() - start, torch.arange(10).repeat(50)
        found = [row for row in found if row["way"] != way]
        for looks in (1, 2):
            scores = asdict(judge.score(draw(model, laptop.schedule, LEVELS[:looks], label), label))
            found.append({"way": way, "looks": looks, "cpu_seconds": spent} | scores)
            print(line(way, looks, found[-1]), flush=True)
        FOUND.write_text("".join(json.dumps(row) + "\n" for row in found), encoding="utf-8")
    lines = [line(row["way"], row["looks"], row) for row in found]
    OUT.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
