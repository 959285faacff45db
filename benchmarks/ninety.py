"""From random weights to digits that obey their label in ninety seconds of two CPU cores: what helps?

    python benchmarks/ninety.py costs                  # processor time of an image in each row, laptop's = 1
    python benchmarks/ninety.py run --seeds 0 1        # train and judge what is not yet in ninety.jsonl
    python benchmarks/ninety.py table                  # write ninety.md

The budget is time: ninety seconds at the 769 images a second that two cores gave ``laptop`` in ablation.md, which is
69,210 of its images. A row whose step costs more, by ``costs``, sees fewer. So a run that was disturbed, or that used
one thread, still counts. Judged on 500 digits a seed, 50 DDIM steps, eta = 1.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from ablation import LabelInTime, v_weight, weighing
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn.functional import interpolate

from diffusion_lib.data import Digits, load_digits
from diffusion_lib.diffusion import LabelledModel, ddpm_loss, q_sample
from diffusion_lib.metrics import label_agreement, within_class_spread
from diffusion_lib.predictions import amplitudes, predicting, prediction_loss
from diffusion_lib.profiles import PROFILES, Profile
from diffusion_lib.samplers import generate
from diffusion_lib.schedules import NoiseSchedule
from diffusion_lib.training.checkpoints import load_classifier
from diffusion_lib.training.loop import Trainer
from diffusion_lib.training.recipe import Loss, held_out_loss, learning_rate
from diffusion_lib.training.runs import device_name, versions
from diffusion_lib.unet import UNet

HERE = Path(__file__).parent
RESULTS, COSTS, TABLE = HERE / "ninety.jsonl", HERE / "ninety_costs.json", HERE / "ninety.md"
SPEED, SECONDS, SCALES = 769, 90, (1.0, 1.5)
LAPTOP = PROFILES["laptop"]


# What a row may change: the loss, called as ``ddpm_loss`` is ------------------------------------------------------


def contrastive(strength: float) -> Loss:
    """Contrastive flow matching (Stoica et al. 2025): away from the target of another image of the batch.

    In terms of v the other target is v' = a ε' − s x_0'. At this x_t it is the noise s x_t + a v'.
    """

    def loss(model: Any, schedule: NoiseSchedule, x_start: Tensor, label: Any, *, t: Tensor, noise: Tensor) -> Tensor:
        a, s = amplitudes(schedule, t, x_start)
        x_t = q_sample(schedule, x_start, t, noise)
        other = s * x_t + a * (a * noise.roll(1, 0) - s * x_start.roll(1, 0))
        eps = model(x_t, t, label)
        return (eps - noise).square().mean() - strength * (eps - other).square().mean()

    return loss


def guidance_within(scale: float) -> Loss:
    """Guidance trained in (Chen et al. 2025, "Visual Generation Without Guidance").

    Not ε_c but (1/w) ε_c + (1 − 1/w) ε_∅ is taught to be the noise. So ε_c becomes what guidance w would make of it.
    """

    def loss(model: Any, schedule: NoiseSchedule, x_start: Tensor, label: Any, *, t: Tensor, noise: Tensor) -> Tensor:
        x_t = q_sample(schedule, x_start, t, noise)
        with torch.no_grad():
            unlabelled = model(x_t, t, None)
        mixed = model(x_t, t, label) / scale + (1 - 1 / scale) * unlabelled
        return (mixed - noise).square().mean()

    return loss


def immiscible(
    model: Any, schedule: NoiseSchedule, x_start: Tensor, label: Tensor, *, t: Tensor, noise: Tensor
) -> Tensor:
    """Each image takes the noise near to it, among those drawn for its label (Li et al. 2024)."""
    far = torch.cdist(x_start.flatten(1), noise.flatten(1)) + 1e6 * (label[:, None] != label)
    return ddpm_loss(model, schedule, x_start, label, t=t, noise=noise[linear_sum_assignment(far)[1]])


# ... and the optimiser --------------------------------------------------------------------------------------------


class FlatMuon(torch.optim.Muon):
    """torch's Muon (Jordan et al. 2024) for convolutions too: a kernel is a matrix, (out, in x height x width)."""

    def __init__(self, weights: list[nn.Parameter], **settings: Any) -> None:
        self.weights = weights
        super().__init__([self.flat(weight.detach()) for weight in weights], **settings)

    @staticmethod
    def flat(weight: Tensor) -> Tensor:
        """A view of the same numbers, as channels_last stores them."""
        return weight if weight.ndim == 2 else weight.permute(0, 2, 3, 1).flatten(1)

    def step(self, closure: None = None) -> None:
        for flat, weight in zip(self.param_groups[0]["params"], self.weights, strict=True):
            flat.grad = self.flat(weight.grad)
        super().step()


class Together:
    """Several optimisers as one; ``times`` scales the rate of each."""

    def __init__(self, model: nn.Module, *parts: torch.optim.Optimizer) -> None:
        self.model, self.parts = model, parts
        self.param_groups = [group for part in parts for group in part.param_groups]

    def zero_grad(self) -> None:
        self.model.zero_grad()

    def step(self) -> None:
        for part in self.parts:
            part.step()


def muon(rate: float, decay: float = 0.0) -> Callable[[Trainer], Any]:
    """Muon for the weights of hidden layers, AdamW for first and last layer, tables, norms and biases."""

    def make(run: Trainer) -> Together:
        model = run.model
        ends = {model.conv_in.weight, model.conv_out.weight, model.label.table.weight}
        hidden = [p for p in model.parameters() if p.ndim > 1 and p not in ends]
        rest = [p for p in model.parameters() if p.ndim < 2 or p in ends]
        first = FlatMuon(hidden, lr=rate, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        first.param_groups[0]["times"] = rate / run.config.learning_rate
        return Together(model, first, torch.optim.AdamW(rest, run.config.learning_rate, fused=True))

    return make


# The rows ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Row:
    """Changes against ``laptop``, and why."""

    why: str
    train: dict[str, Any] = field(default_factory=dict)
    unet: dict[str, Any] = field(default_factory=dict)
    network: type[UNet] = UNet
    loss: Loss = ddpm_loss
    says: str = "eps"
    optimizer: Callable[[Trainer], Any] | None = None
    batches: tuple[tuple[float, int], ...] = ()  # (share of the images, batch size), in turn
    small_first: float = 0.0  # share of the images that are first seen at 16 x 16

    def profile(self, seed: int) -> Profile:
        train = replace(LAPTOP.train, seed=seed, **({"warmup_steps": 100} | self.train))
        return replace(LAPTOP, unet=replace(LAPTOP.unet, **self.unet), train=train)


WIDE = {"patch_size": 4, "width": 64, "multipliers": (1,), "transformer_stages": (0,)}
ROWS = {
    "laptop": Row("the recipe as it is; a warm-up of 100 steps, not 200, here and below"),
    "rate 8e-3": Row("twice the learning rate", train={"learning_rate": 8e-3}),
    "batch 32": Row("twice the steps, of half the images", train={"batch_size": 32}),
    "batch grows": Row("many steps first, averages later", batches=((0.4, 32), (0.6, 128))),
    "EMA 0.99": Row("an average that forgets sooner", train={"ema_decay": 0.99}),
    "dropping 0.05": Row("the label is there more often", train={"label_dropout": 0.05}),
    "label in time": Row("the label reaches every residual block", network=LabelInTime),
    "label at 14x14": Row("a transformer at the first stage too", unet={"transformer_stages": (0, 1)}),
    "v weight": Row("more weight where the label decides, at high noise", loss=weighing(v_weight)),
    "v": Row("v for noise: the same weights, and another answer", loss=prediction_loss("v"), says="v"),
    "x_0, patch 4": Row(
        "1.35 times as many images (ablation.md), if x_0 is easier to say than noise there",
        unet=WIDE, loss=prediction_loss("x_start"), says="x_start",
    ),
    "small first": Row("a third of the images at 16 x 16, where one costs less", small_first=0.33),
    "contrastive": Row("away from other labels' targets", loss=contrastive(0.05)),
    "guidance within": Row("guidance 1.5 trained in: half the looks of a sample", loss=guidance_within(1.5)),
    "immiscible": Row("noise near to the image, among its label's", loss=immiscible),
    "Muon": Row("orthogonal updates of hidden weights", optimizer=muon(4e-3)),
    "Muon 1e-2": Row("the same, faster", optimizer=muon(1e-2)),
}  # fmt: skip


def plan(row: Row, images: int) -> list[tuple[int, bool]]:
    """Batch size of each step, and whether it sees small images."""
    batches = row.batches or ((1.0, row.profile(0).train.batch_size),)
    sizes = [size for share, size in batches for _ in range(int(share * images / size))]
    seen = torch.tensor(sizes).cumsum(0)
    return [(size, n <= row.small_first * images) for size, n in zip(sizes, seen.tolist(), strict=True)]


def start(row: Row, seed: int, train: Digits, test: Digits) -> Trainer:
    """A fresh run of a row."""
    profile = row.profile(seed)
    torch.manual_seed(seed)
    run = Trainer(profile, train, test, torch.device("cpu"), model=row.network(profile.unet), loss=row.loss)
    run.optimizer = row.optimizer(run) if row.optimizer else run.optimizer
    return run


def smaller(digits: Digits) -> Digits:
    """The same images at 16 x 16."""
    images = interpolate(digits.images.float(), (16, 16), mode="bilinear", antialias=True)
    return replace(digits, images=images.round().clamp(0, 255).to(torch.uint8))


def train_along(run: Trainer, steps: list[tuple[int, bool]], sets: dict[bool, Digits]) -> None:
    """One step for each entry of a plan; images come in a new order each time all have been seen."""
    order = torch.empty(0, dtype=torch.long)
    for i, (batch, small) in enumerate(steps):
        if len(order) < batch:
            order = torch.randperm(len(sets[small]))
        for group in run.optimizer.param_groups:
            group["lr"] = group.get("times", 1.0) * learning_rate(run.config, i, len(steps))
        run.train_digits = sets[small]
        run.step(order[:batch])
        order = order[batch:]


def costs(names: list[str], rounds: int = 4, count: int = 12) -> None:
    """Processor time of an image in each row, laptop's = 1: the least of some rounds, row after row."""
    sets, test = both(), load_digits("test")
    runs = {(name, kind): start(ROWS[name], 0, sets[False], test) for name in {"laptop", *names}
            for kind in set(plan(ROWS[name], SPEED * SECONDS))}  # fmt: skip
    least = dict.fromkeys(runs, math.inf)
    for _ in range(rounds + 1):  # the first round warms up, and never is the least
        for (name, kind), run in runs.items():
            begun = time.process_time()
            train_along(run, [kind] * count, sets)
            least[name, kind] = min(least[name, kind], (time.process_time() - begun) / count)
    known = json.loads(COSTS.read_text()) if COSTS.exists() else {}
    for name in names:
        known[name] = round(seconds_of(name, least) / seconds_of("laptop", least), 3)
    COSTS.write_text(json.dumps(known, indent=1) + "\n")
    print(COSTS.read_text())


def seconds_of(name: str, least: dict[tuple[str, tuple[int, bool]], float]) -> float:
    """Processor seconds of the whole plan of a row, were it as long as laptop's in images."""
    return sum(least[name, kind] for kind in plan(ROWS[name], SPEED * SECONDS))


def both() -> dict[bool, Digits]:
    """Training images, small (True) and whole."""
    train = load_digits("train")
    return {False: train, True: smaller(train)}


def judged(model: LabelledModel, run: Trainer, seed: int, scales: tuple[float, ...]) -> Iterator[tuple[str, float]]:
    """Agreement and spread at each strength of guidance."""
    label, classifier = torch.arange(10).repeat(50), load_classifier()
    real = within_class_spread(*run.test_digits[:])
    for scale in scales:
        images = generate(model, run.schedule, label, 50, guidance_scale=scale, seed=seed, shape=(1, 28, 28))
        yield f"agreement_{scale:g}", label_agreement(classifier, images, label)
        yield f"spread_{scale:g}", within_class_spread(images, label) / real


def run_one(name: str, seed: int, seconds: int, scales: tuple[float, ...]) -> dict[str, Any]:
    """Train a row for its budget, judge it, and say what came of it."""
    row, sets = ROWS[name], both()
    run = start(row, seed, sets[False], load_digits("test"))
    images = round(seconds * SPEED / json.loads(COSTS.read_text())[name])
    begun = time.process_time()
    train_along(run, plan(row, images), sets)
    spent = round(time.process_time() - begun)
    model = predicting(row.says, run.ema.requires_grad_(False), run.schedule)
    record = {"row": name, "seed": seed, "seconds": seconds, "images": images, "processor_seconds": spent,
              "held_out_loss": held_out_loss(model, run.schedule, run.test_digits)}  # fmt: skip
    return record | dict(judged(model, run, seed, scales))


def records() -> list[dict[str, Any]]:
    """All that was measured so far."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []


def run_all(names: list[str], seeds: list[int], seconds: int, scales: tuple[float, ...]) -> None:
    """Train and judge each row and seed that the results do not hold yet."""
    for seed in seeds:
        for name in names:
            if any((r["row"], r["seed"], r["seconds"]) == (name, seed, seconds) for r in records()):
                continue
            record = run_one(name, seed, seconds, scales)
            with RESULTS.open("a") as file:
                file.write(json.dumps(record) + "\n")
            print(record, flush=True)


HEAD = """# Ninety seconds

The budget is {seconds} seconds at 769 images a second, `laptop`'s speed on the two cores of [ablation.md](ablation.md);
a row whose step costs more sees fewer images. *Cost* is processor time an image, laptop's = 1, measured in one run,
row after row. Judged on 500 digits a seed, 50 DDIM steps, eta = 1: how many are read as asked, with the 95 % interval
over all seeds and each seed's share, and their spread beside real digits'.

Machine: {device}, torch {torch}.
Commands: `python benchmarks/ninety.py costs`, then `run --seeds 0 1`, then `table`.
"""


def table() -> str:
    """All results, one line a row, as Markdown."""
    known, lines = json.loads(COSTS.read_text()), []
    for seconds in sorted({r["seconds"] for r in records()}):
        found = [r for r in records() if r["seconds"] == seconds]
        scales = sorted({float(key.split("_")[1]) for r in found for key in r if key.startswith("agreement")})
        titles = [title for s in scales for title in (f"read as asked, guidance {s:g}", "spread")]
        lines += [f"\n## {seconds} seconds\n", "| row | why | cost | images | seeds | held-out loss | "
                  + " | ".join(titles) + " |", "|---" * (6 + len(titles)) + "|"]  # fmt: skip
        for name in ROWS:
            group = [r for r in found if r["row"] == name]
            if group:
                lines.append(line(name, known[name], group, scales))
    head = HEAD.format(seconds=SECONDS, device=device_name(torch.device("cpu")), torch=versions()["torch"])
    return head + "\n".join(lines) + "\n"


def line(name: str, cost: float, group: list[dict[str, Any]], scales: list[float]) -> str:
    """One row: numbers are means over its seeds."""

    def mean(key: str) -> float:
        return sum(r[key] for r in group) / len(group)

    cells = [name, ROWS[name].why, f"{cost:.2f}", f"{group[0]['images']:,}", str(len(group)),
             f"{mean('held_out_loss'):.4f}"]  # fmt: skip
    for scale in (f"{scale:g}" for scale in scales):
        if not all(f"agreement_{scale}" in r for r in group):
            cells += ["", ""]
            continue
        share = mean(f"agreement_{scale}")
        low, high = wilson_interval(share, 500 * len(group))
        each = ", ".join(f"{r[f'agreement_{scale}']:.0%}" for r in group)
        cells += [f"{share:.1%} ({low:.1%} to {high:.1%}; {each})", f"{mean(f'spread_{scale}'):.2f}"]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["costs", "run", "table"])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--seconds", type=int, default=SECONDS)
    parser.add_argument("--scales", nargs="+", type=float, default=list(SCALES))
    options = parser.parse_args()
    if options.what == "costs":
        costs(options.rows)
    elif options.what == "run":
        run_all(options.rows, options.seeds, options.seconds, tuple(options.scales))
    else:
        TABLE.write_text(table())
