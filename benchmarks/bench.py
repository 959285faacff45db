"""Ours beside what people would use instead, in one run on this machine: make bench.

Steps take turns, so that a disturbance hits all alike; medians and the middle half are printed.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from plain import PlainTrainer, check_equal
from torch.utils.flop_counter import FlopCounterMode

from diffusion_lib.checkpoints import load_pretrained
from diffusion_lib.data import Digits, load_digits
from diffusion_lib.diffusion import p_sample
from diffusion_lib.guidance import clipped, conditioned
from diffusion_lib.profiles import PROFILES, Profile, UNetConfig
from diffusion_lib.runs import versions
from diffusion_lib.samplers import generate, last, sample_ddpm
from diffusion_lib.training import Trainer
from diffusion_lib.unet import UNet

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")


def diffusers_trainer(config: UNetConfig, digits: Digits, batch_size: int) -> Callable[[], Any]:
    """diffusers' conditional UNet of the nearest size, its own scheduler for the noise, AdamW and EMA in plain use."""
    from diffusers import DDPMScheduler, UNet2DConditionModel
    from diffusers.training_utils import EMAModel

    widths = tuple(config.width * m for m in config.multipliers)
    down = tuple(
        "CrossAttnDownBlock2D" if i in config.transformer_levels else "DownBlock2D" for i in range(len(widths))
    )
    up = tuple(name.replace("Down", "Up") for name in reversed(down))
    model = UNet2DConditionModel(
        sample_size=28, in_channels=config.patch_size**2, out_channels=config.patch_size**2, block_out_channels=widths,
        layers_per_block=1, down_block_types=down, up_block_types=up,
        cross_attention_dim=config.context_dim, attention_head_dim=max(1, widths[-1] // 32),
        norm_num_groups=min(32, widths[0] // 4),
    )  # fmt: skip
    tokens = torch.nn.Embedding(11, 4 * config.context_dim)
    average, scheduler = EMAModel(model.parameters(), 0.999), DDPMScheduler(1000)
    optimizer = torch.optim.AdamW([*model.parameters(), *tokens.parameters()], 2e-4)

    def step() -> None:
        x, label = digits[torch.randint(0, len(digits), (batch_size,))]
        x = torch.nn.functional.pixel_unshuffle(x, config.patch_size)
        t, noise = torch.randint(0, 1000, (batch_size,)), torch.randn_like(x)
        context = tokens(label).view(batch_size, 4, -1)
        loss = (model(scheduler.add_noise(x, noise, t), t, context).sample - noise).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.step(model.parameters())

    x, t = torch.zeros(1, config.patch_size**2, 28 // config.patch_size, 28 // config.patch_size), torch.zeros(1).long()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(x, t, torch.zeros(1, 4, config.context_dim))
    step.size = f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M, {counter.get_total_flops() / 1e9:.2f} GFLOP"  # type: ignore[attr-defined]
    return step


def size(config: UNetConfig) -> str:
    """Parameters and forward GFLOPs for one image."""
    model = UNet(config)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.zeros(1, 1, 28, 28), torch.zeros(1, dtype=torch.long))
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} M, {counter.get_total_flops() / 1e9:.2f} GFLOP"


def interleaved(steps: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each step, taking turns; the first round is not counted."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for i in range(rounds + 1):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if i:
                times[name].append(time.perf_counter() - start)
    return times


def train_rows(profile: Profile, digits: Digits, rounds: int, batch: int = 64) -> list[str]:
    """Table rows for one network shape."""
    profile = replace(profile, train=replace(profile.train, batch_size=batch, label_dropout=0.0))
    ours = Trainer(profile, digits, digits, CPU)
    plain = PlainTrainer(profile.unet, *digits[:], batch)
    theirs = diffusers_trainer(profile.unet, digits, batch)
    steps = {
        "ours": lambda: ours.step(torch.randint(0, len(digits), (batch,))),
        "plain": plain.step,
        "diffusers": theirs,
    }
    sizes = {"ours": size(profile.unet), "plain": "the same", "diffusers": theirs.size}  # type: ignore[attr-defined]
    found = interleaved(steps, rounds)
    base = statistics.median(found["ours"])
    rows = []
    for name, seconds in found.items():
        low, mid, high = statistics.quantiles(seconds, n=4)
        speeds = f"{batch / mid:.0f} ({batch / high:.0f} to {batch / low:.0f})"
        rows.append(f"| {profile.name}, batch {batch} | {name} | {sizes[name]} | {speeds} | {mid / base:.2f} |")
    return rows


def ceiling() -> str:
    """What this machine does at best: a large matrix product, and a convolution of the network's own shape."""
    a, x = torch.randn(2048, 2048), torch.randn(64, 64, 28, 28).to(memory_format=torch.channels_last)
    conv = torch.nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    with torch.no_grad():
        times = interleaved({"matrix": lambda: a @ a, "conv": lambda: conv(x)}, 10)
    flops = {"matrix": 2 * 2048**3, "conv": 2 * 64 * 28 * 28 * 64 * 64 * 9}
    best = {name: flops[name] / min(seconds) / 1e9 for name, seconds in times.items()}
    product, convolution = f"{best['matrix']:.0f} GFLOP/s", f"{best['conv']:.0f} GFLOP/s"
    return f"Ceiling in the same run: matrix product {product}, convolution of 64 channels at 28 x 28 {convolution}."


def sampling_rows() -> list[str]:
    """100 labelled digits by 50 DDIM steps, and the time that all 1000 steps would take, from 20 of them."""
    trained, label = load_pretrained(), torch.arange(10).repeat(10)
    start = time.perf_counter()
    generate(trained.model, trained.schedule, label, scale=trained.profile.sample_scale)
    ddim = time.perf_counter() - start
    model = clipped(conditioned(trained.model, label), trained.schedule)
    walk = sample_ddpm(model, trained.schedule, torch.randn(100, 1, 28, 28), step=p_sample)
    next(walk)
    start = time.perf_counter()
    for _ in range(20):
        next(walk)
    ddpm = (time.perf_counter() - start) / 20 * 1000
    assert last(iter([next(walk)])).shape == (100, 1, 28, 28)
    return [
        f"| 50 DDIM steps with guidance | {ddim:.1f} |",
        f"| 1000 DDPM steps, plain (from 20 of them) | {ddpm:.0f} |",
    ]


def start_rows() -> list[str]:
    """Seconds to import, each in a fresh interpreter, median of five."""
    rows = []
    for what, code in {
        "import torch": "import torch",
        "import diffusion_lib": "import diffusion_lib",
        "import torch and the core": "import torch, diffusion_lib.samplers, diffusion_lib.unet",
    }.items():
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
            seconds.append(time.perf_counter() - start)
        rows.append(f"| {what} | {statistics.median(seconds):.2f} |")
    return rows


def main() -> None:
    digits = load_digits("train").take(4096)
    equal = max(check_equal(PROFILES[name].unet) for name in ("laptop", "full"))
    lines = [
        "# Speed, beside what people would use instead", "",
        f"{os.cpu_count()} CPU cores ({platform.machine()}), {torch.get_num_threads()} threads, "
        f"torch {versions()['torch']}, {digits.source}. One run of `make bench`; shared cores, so read the ratios.",
        "", ceiling(), "",
        "## Training step: forward, backward, clip, optimiser, average", "",
        "*plain* is the same network written as a starter code has it (`benchmarks/plain.py`); its outputs and "
        f"gradients differ from ours by at most {equal:.0e} of their largest value. *diffusers* is "
        "`UNet2DConditionModel` of the nearest size: unequal work, so compare the GFLOPs too.", "",
        "| shape | code | parameters, forward work per image | images/s, median (middle half) | time, ours = 1 |",
        "|---|---|---|---|---|",
        *train_rows(PROFILES["laptop"], digits, 30), *train_rows(PROFILES["full"], digits, 4), "",
        "## Sampling 100 labelled digits", "", "| way | seconds |", "|---|---|", *sampling_rows(), "",
        "## Start", "", "| what | seconds |", "|---|---|", *start_rows(), "",
        "GPU: none at hand, so no table.",
    ]  # fmt: skip
    (ROOT / "benchmarks" / "bench.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
