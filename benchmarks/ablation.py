"""What helps the small network in five minutes on two CPU cores? Equal budgets, one change in each row.

    python benchmarks/ablation.py calibrate            # images a second of each row, interleaved; on a quiet machine
    python benchmarks/ablation.py run --seeds 0 1      # train and judge what is not yet in ablation.jsonl
    python benchmarks/ablation.py table                # write ablation.md

A row's budget is a number of images: five minutes times the speed that ``calibrate`` measured. So a run that was
disturbed or paused is still comparable. Each row is judged on 500 samples, 50 DDIM steps, eta = 1.
"""

import argparse
import json
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lib.data import Digits, load_digits
from diffusion_lib.diffusion import ddpm_loss
from diffusion_lib.embeddings import TimeEmbedding
from diffusion_lib.metrics import label_agreement, wilson_interval, within_class_spread
from diffusion_lib.profiles import PROFILES, Profile, UNetConfig
from diffusion_lib.samplers import generate
from diffusion_lib.schedules import NoiseSchedule
from diffusion_lib.training.checkpoints import load_classifier
from diffusion_lib.training.loop import Trainer
from diffusion_lib.training.optimizers import set_rate
from diffusion_lib.training.recipe import DrawT, Loss, held_out_loss, learning_rate, weighing, weighted
from diffusion_lib.training.runs import device_name, versions
from diffusion_lib.unet import UNet

HERE = Path(__file__).parent
SPEEDS, RESULTS, TABLE = HERE / "ablation_speeds.json", HERE / "ablation.jsonl", HERE / "ablation.md"
SECONDS, SCALES = 300, (1.0, 1.3, 1.5)
ONE_STREAM = "one stream"  # how a record's samples were drawn; records without it repeat x_T as the first z
LAPTOP = PROFILES["laptop"]
BASE = replace(LAPTOP, train=replace(LAPTOP.train, timestep_sampling="uniform"))


class TimeAndLabel(TimeEmbedding):
    """The time vector, with a vector of the label added (Dhariwal and Nichol 2021, section 4)."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config.width, config.time_dim)
        self.label = nn.Embedding(config.num_classes + 1, config.time_dim)
        self.now: Tensor | None = None

    def forward(self, t: Tensor) -> Tensor:
        return super().forward(t) + self.label(self.now)


class LabelInTime(UNet):
    """The label as a second time vector: it reaches every residual block."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__(config)
        self.time = TimeAndLabel(config)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        self.time.now = torch.full_like(t, self.label.null_label) if label is None else label
        return super().forward(x, t, label)


@dataclass(frozen=True)
class Row:
    """One change against ``laptop`` with all levels drawn alike."""

    what: str
    unet: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    network: type[UNet] = UNet
    draw_t: DrawT | None = None
    loss: Loss = ddpm_loss

    def profile(self) -> Profile:
        return replace(
            BASE,
            unet=replace(BASE.unet, **self.unet),
            train=replace(BASE.train, **self.train),
            schedule=replace(BASE.schedule, **self.schedule),
        )


def snr(schedule: NoiseSchedule) -> Tensor:
    """The signal-to-noise ratio of each timestep, ᾱ_t / (1 − ᾱ_t)."""
    return schedule.alphas_cumprod / (1 - schedule.alphas_cumprod)


def min_snr(schedule: NoiseSchedule) -> Tensor:
    """min(SNR, 5) / SNR, the weight of Hang et al. 2023 for predicted noise."""
    return snr(schedule).clamp(max=5) / snr(schedule)


def v_weight(schedule: NoiseSchedule) -> Tensor:
    """1 + 1 / SNR, the weight that a loss on v gives to predicted noise."""
    return (1 + 1 / snr(schedule)).clamp(max=50)


def high_noise(schedule: NoiseSchedule) -> Tensor:
    """A line that gives the noisiest timestep three times the share of the cleanest."""
    return torch.linspace(0.5, 1.5, len(schedule))


EVEN = {"timestep_sampling": "amplitude"}
ROWS = {
    "base": Row("the `laptop` profile, but all levels drawn alike"),
    "laptop": Row("the `laptop` profile: levels drawn so that the amplitude is even", train=EVEN),
    "laptop, batch 32": Row("the same with batch 32", train=EVEN | {"batch_size": 32}),
    "label in time": Row("label also added to the time vector", network=LabelInTime),
    "one token": Row("1 label token, not 4", unet={"context_tokens": 1}),
    "rate 2e-3": Row("half the learning rate", train={"learning_rate": 2e-3}),
    "rate 8e-3": Row("twice the learning rate", train={"learning_rate": 8e-3}),
    "batch 32": Row("batch 32", train={"batch_size": 32}),
    "batch 128": Row("batch 128", train={"batch_size": 128}),
    "width 24": Row("width 24, not 32", unet={"width": 24}),
    "width 48": Row("width 48, not 32", unet={"width": 48}),
    "patch 1": Row("no pixels folded; a third level keeps attention at 7x7",
                   unet={"patch_size": 1, "multipliers": (1, 2, 2), "transformer_stages": (2,)}),
    "patch 4": Row("4x4 pixels folded, width 64, one level of 7x7",
                   unet={"patch_size": 4, "width": 64, "multipliers": (1,), "transformer_stages": (0,)}),
    "attention 14": Row("a transformer at 14x14 too", unet={"transformer_stages": (0, 1)}),
    "no dropping": Row("no label dropping, so no guidance", train={"label_dropout": 0.0}),
    "EMA 0.99": Row("EMA decay 0.99, not 0.999", train={"ema_decay": 0.99}),
    "constant rate": Row("constant learning rate", train={"decay": "constant"}),
    "cosine": Row("cosine noise schedule", schedule={"kind": "cosine"}),
    "min-SNR levels": Row("levels drawn by min-SNR, gamma 5", draw_t=weighted(min_snr)),
    "high noise": Row("t drawn more often where noise is high", draw_t=weighted(high_noise)),
    "min-SNR 5": Row("min-SNR weights on the loss (Hang et al. 2023)", loss=weighing(min_snr)),
    "v loss": Row("the loss weight of v prediction, 1 + 1/SNR", loss=weighing(v_weight)),
}  # fmt: skip


def start(row: Row, seed: int, train: Digits, test: Digits) -> Trainer:
    """A fresh run of a row."""
    profile = row.profile()
    profile = replace(profile, train=replace(profile.train, seed=seed))
    torch.manual_seed(seed)
    model = row.network(profile.unet)
    return Trainer(profile, train, test, torch.device("cpu"), model=model, loss=row.loss, draw_t=row.draw_t)


def train_for(run: Trainer, steps: int) -> None:
    """Train for a number of steps, whatever that is in epochs."""
    order, batch = torch.empty(0, dtype=torch.long), run.config.batch_size
    for i in range(steps):
        if len(order) < batch:
            order = torch.randperm(len(run.train_digits))
        set_rate(run.optimizer, learning_rate(run.config, i, steps))
        run.step(order[:batch])
        order = order[batch:]


def calibrate(names: list[str], rounds: int = 4, batches: int = 25) -> None:
    """Images a second of each row: the best of ``rounds`` interleaved rounds, as neighbours disturb."""
    train, test = load_digits("train"), load_digits("test")
    runs = {name: start(ROWS[name], 0, train, test) for name in names}
    best = dict.fromkeys(names, 0.0)
    for run in runs.values():
        train_for(run, 3)
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            train_for(run, batches)
            best[name] = max(best[name], batches * run.config.batch_size / (time.perf_counter() - start))
    known = json.loads(SPEEDS.read_text()) if SPEEDS.exists() else {}
    SPEEDS.write_text(json.dumps(known | {name: round(speed) for name, speed in best.items()}, indent=1) + "\n")
    print(SPEEDS.read_text())


def run_all(names: list[str], seeds: list[int], seconds: int) -> None:
    """Train and judge each row and seed that the results do not hold yet."""
    train, test = load_digits("train"), load_digits("test")
    classifier, speeds = load_classifier(), json.loads(SPEEDS.read_text())
    real_spread = within_class_spread(*test[:])
    label = torch.arange(10).repeat(50)
    done = [json.loads(line) for line in RESULTS.read_text().splitlines()] if RESULTS.exists() else []
    for seed in seeds:
        for name in names:
            if any(
                (d["row"], d["seed"], d["seconds"], d.get("noise")) == (name, seed, seconds, ONE_STREAM) for d in done
            ):
                continue
            run = start(ROWS[name], seed, train, test)
            steps = seconds * speeds[name] // run.config.batch_size
            train_for(run, steps)
            model = run.ema.eval().requires_grad_(False)
            record = {
                "row": name, "seed": seed, "seconds": seconds, "steps": steps, "noise": ONE_STREAM,
                "parameters": sum(p.numel() for p in model.parameters()),
                "held_out_loss": held_out_loss(model, run.schedule, run.test_digits),
            }  # fmt: skip
            for scale in SCALES if run.config.label_dropout else (1.0,):
                images = generate(model, run.schedule, label, 50, guidance_scale=scale, seed=seed)
                record[f"agreement_{scale:g}"] = label_agreement(classifier, images, label)
                record[f"spread_{scale:g}"] = within_class_spread(images, label) / real_spread
            with RESULTS.open("a") as file:
                file.write(json.dumps(record) + "\n")
            print(record, flush=True)


def table() -> str:
    """All results, one line a row, as Markdown."""
    records = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    speeds = json.loads(SPEEDS.read_text())
    lines = []
    for seconds in sorted({r["seconds"] for r in records}):
        lines += [f"\n## {seconds} seconds\n",
                  "| row | change | images/s | seeds | held-out loss | agreement, no guidance | spread |"
                  " agreement, scale 1.3 | spread | agreement, scale 1.5 | spread |", "|---" * 11 + "|"]  # fmt: skip
        for name in ROWS:
            found = [r for r in records if (r["row"], r["seconds"]) == (name, seconds)]
            group = [r for r in found if "noise" in r] or found
            if group:
                lines.append(_line(name, group, speeds[name]))
    info = versions()
    head = (
        "# Ablation of the `laptop` profile\n\nEqual budgets on two CPU cores: images = seconds x the speed in the "
        "table, so a slower machine takes longer for the same result. One change in each row. 500 samples a seed, "
        "50 DDIM steps, eta = 1; agreement with its 95 % interval over all seeds, and each seed's value; spread as a "
        "share of real digits'.\n\n"
        "† The samples of these rows were drawn when the noise of a sample's first step was its own starting noise; "
        "their weights were not kept, so they could not be sampled again, and have not been trained again. Compare "
        "within one kind. In the row that was trained again, `laptop`, it had made little difference.\n\n"
        f"Machine: {device_name(torch.device('cpu'))}, torch {info['torch']}.  \n"
        "Commands: `python benchmarks/ablation.py calibrate`, then `run --seeds 0 1`, then `table`.\n"
    )
    return head + "\n".join(lines) + "\n"


def _line(name: str, group: list[dict[str, Any]], speed: int) -> str:
    def mean(key: str) -> float:
        return sum(r[key] for r in group) / len(group)

    cells = [
        name + ("" if "noise" in group[0] else " †"),
        ROWS[name].what,
        f"{speed:,}",
        str(len(group)),
        f"{mean('held_out_loss'):.4f}",
    ]
    for scale in (f"{scale:g}" for scale in SCALES):
        if not all(f"agreement_{scale}" in record for record in group):
            cells += ["", ""]
            continue
        share = mean(f"agreement_{scale}")
        low, high = wilson_interval(share, 500 * len(group))
        each = ", ".join(f"{r[f'agreement_{scale}']:.0%}" for r in group)
        cells += [f"{share:.1%} [{low:.1%}, {high:.1%}] ({each})", f"{mean(f'spread_{scale}'):.2f}"]
    return "| " + " | ".join(cells) + " |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["calibrate", "run", "table"])
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--seconds", type=int, default=SECONDS)
    options = parser.parse_args()
    if options.what == "calibrate":
        calibrate(options.rows)
    elif options.what == "run":
        run_all(options.rows, options.seeds, options.seconds)
    else:
        TABLE.write_text(table())
        print(TABLE.read_text())
