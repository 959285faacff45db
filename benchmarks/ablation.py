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
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from diffusion_lib.checkpoints import load_classifier
from diffusion_lib.data import load_digits
from diffusion_lib.diffusion import q_sample
from diffusion_lib.metrics import label_agreement, wilson_interval, within_class_spread
from diffusion_lib.profiles import PROFILES, Profile
from diffusion_lib.recipe import draw_levels, drop_labels, ema_update, held_out_loss, learning_rate
from diffusion_lib.runs import device_name, versions
from diffusion_lib.samplers import generate
from diffusion_lib.schedules import make_schedule
from diffusion_lib.training import Trainer
from diffusion_lib.unet import UNet

HERE = Path(__file__).parent
SPEEDS, RESULTS, TABLE = HERE / "ablation_speeds.json", HERE / "ablation.jsonl", HERE / "ablation.md"
SECONDS, SCALES = 300, (1.0, 1.3, 1.5)
LAPTOP = PROFILES["laptop"]
BASE = replace(LAPTOP, train=replace(LAPTOP.train, levels="uniform"))


class LabelInTime(UNet):
    """The label as a second time vector: it reaches every residual block (Dhariwal and Nichol 2021, section 4)."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.label_bias = nn.Embedding(config.num_classes + 1, config.time_dim)
        self.now: Tensor | None = None
        self.time.register_forward_hook(lambda module, args, out: out + self.now)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
        label = torch.full_like(t, self.label.null_label) if label is None else label
        self.now = self.label_bias(label)
        return super().forward(x, t, label)


@dataclass(frozen=True)
class Row:
    """One change against ``laptop`` with all levels drawn alike."""

    what: str
    unet: dict[str, Any] = field(default_factory=dict)
    train: dict[str, Any] = field(default_factory=dict)
    schedule: dict[str, Any] = field(default_factory=dict)
    network: type[UNet] = UNet
    draw_t: Callable[[int, int], Tensor] | None = None  # (batch, T) -> t
    weight: Callable[[Tensor], Tensor] | None = None  # signal-to-noise ratio -> weight in the loss

    def profile(self) -> Profile:
        return replace(
            BASE,
            unet=replace(BASE.unet, **self.unet),
            train=replace(BASE.train, **self.train),
            schedule=replace(BASE.schedule, **self.schedule),
        )


def high_noise(batch: int, T: int) -> Tensor:
    """Levels from a line that gives the noisiest three times the share of the cleanest."""
    return ((torch.sqrt(1 + 8 * torch.rand(batch)) - 1) / 2 * T).long().clamp(max=T - 1)


def min_snr(batch: int, T: int) -> Tensor:
    """Levels in proportion to min(SNR, 5) / SNR: on average the loss of the row "min-SNR 5"."""
    alpha_bar = make_schedule(BASE.schedule).alphas_cumprod
    snr = alpha_bar / (1 - alpha_bar)
    return draw_levels(T, batch, snr.clamp(max=5) / snr, torch.device("cpu"))


EVEN = {"levels": "amplitude"}
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
                   unet={"patch_size": 1, "multipliers": (1, 2, 2), "transformer_levels": (2,)}),
    "patch 4": Row("4x4 pixels folded, width 64, one level of 7x7",
                   unet={"patch_size": 4, "width": 64, "multipliers": (1,), "transformer_levels": (0,)}),
    "attention 14": Row("a transformer at 14x14 too", unet={"transformer_levels": (0, 1)}),
    "no dropping": Row("no label dropping, so no guidance", train={"label_dropout": 0.0}),
    "EMA 0.99": Row("EMA decay 0.99, not 0.999", train={"ema_decay": 0.99}),
    "constant rate": Row("constant learning rate", train={"decay": "constant"}),
    "cosine": Row("cosine noise schedule", schedule={"kind": "cosine"}),
    "min-SNR levels": Row("levels drawn by min-SNR, gamma 5", draw_t=min_snr),
    "high noise": Row("t drawn more often where noise is high", draw_t=high_noise),
    "min-SNR 5": Row("min-SNR weights on the loss (Hang et al. 2023)", weight=lambda snr: snr.clamp(max=5) / snr),
    "v loss": Row("the loss weight of v prediction, 1 + 1/SNR", weight=lambda snr: (1 + 1 / snr).clamp(max=50)),
}  # fmt: skip


class Run(Trainer):
    """A trainer whose network, levels and weights a row may exchange."""

    def __init__(self, row: Row, seed: int, train: Any, test: Any) -> None:
        self.row = row
        profile = row.profile()
        super().__init__(replace(profile, train=replace(profile.train, seed=seed)), train, test, torch.device("cpu"))
        if row.network is not UNet:
            torch.manual_seed(seed)
            self.model = row.network(profile.unet).to(memory_format=torch.channels_last)
            self.average = AveragedModel(self.model, multi_avg_fn=ema_update(self.config.ema_decay)).eval()
            if isinstance(self.average.module, LabelInTime):  # a copied hook still points at the original
                self.average.module.time._forward_hooks.clear()
                average = self.average.module
                average.time.register_forward_hook(lambda module, args, out: out + average.now)
            self.optimizer = torch.optim.AdamW(self.model.parameters(), self.config.learning_rate, fused=True)
            self.forward = self.model
        self.snr = self.schedule.alphas_cumprod / (1 - self.schedule.alphas_cumprod)

    def step(self, index: Tensor) -> Tensor:
        if self.row.draw_t is None and self.row.weight is None:
            return super().step(index)
        x_start, label = self.train_digits[index]
        label = drop_labels(label, self.model.label.null_label, self.config.label_dropout)
        draw = self.row.draw_t or (lambda batch, T: torch.randint(0, T, (batch,)))
        t, noise = draw(len(index), len(self.schedule)), torch.randn_like(x_start)
        error = (self.forward(q_sample(self.schedule, x_start, t, noise), t, label) - noise).square().mean((1, 2, 3))
        loss = (error * (self.row.weight(self.snr[t]) if self.row.weight else 1)).mean()
        return self.update(loss)

    def train_for(self, steps: int) -> None:
        order = torch.empty(0, dtype=torch.long)
        batch = self.config.batch_size
        for i in range(steps):
            if len(order) < batch:
                order = torch.randperm(len(self.train_digits))
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(self.config, i, steps)
            self.step(order[:batch])
            order = order[batch:]


def calibrate(names: list[str], rounds: int = 4, batches: int = 25) -> None:
    """Images a second of each row: the best of ``rounds`` interleaved rounds, as neighbours disturb."""
    train, test = load_digits("train"), load_digits("test")
    runs = {name: Run(ROWS[name], 0, train, test) for name in names}
    best = dict.fromkeys(names, 0.0)
    for run in runs.values():
        run.train_for(3)
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run.train_for(batches)
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
            if any((d["row"], d["seed"], d["seconds"]) == (name, seed, seconds) for d in done):
                continue
            run = Run(ROWS[name], seed, train, test)
            steps = seconds * speeds[name] // run.config.batch_size
            run.train_for(steps)
            model = run.ema.eval().requires_grad_(False)
            record = {
                "row": name, "seed": seed, "seconds": seconds, "steps": steps,
                "parameters": sum(p.numel() for p in model.parameters()),
                "held_out_loss": held_out_loss(model, run.schedule, run.test_digits),
            }  # fmt: skip
            for scale in SCALES if run.config.label_dropout else (1.0,):
                images = generate(model, run.schedule, label, 50, scale=scale, seed=seed)
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
        groups = {name: [r for r in records if (r["row"], r["seconds"]) == (name, seconds)] for name in ROWS}
        for name, group in groups.items():
            if group:
                lines.append(_line(name, group, speeds[name]))
    info = versions()
    head = (
        "# Ablation of the `laptop` profile\n\nEqual budgets on two CPU cores: images = seconds x the speed in the "
        "table, so a slower machine takes longer for the same result. One change in each row. 500 samples a seed, "
        "50 DDIM steps, eta = 1; agreement with its 95 % interval over all seeds, and each seed's value; spread as a "
        "share of real digits'.\n\n"
        f"Machine: {device_name(torch.device('cpu'))}, torch {info['torch']}.  \n"
        "Commands: `python benchmarks/ablation.py calibrate`, then `run --seeds 0 1`, then `table`.\n"
    )
    return head + "\n".join(lines) + "\n"


def _line(name: str, group: list[dict[str, Any]], speed: int) -> str:
    def mean(key: str) -> float:
        return sum(r[key] for r in group) / len(group)

    cells = [name, ROWS[name].what, f"{speed:,}", str(len(group)), f"{mean('held_out_loss'):.4f}"]
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
