"""Ours beside what people would use instead, in one run on this machine: make bench.

    python benchmarks/bench.py [--steps] [--out FILE]      # --steps: the training step alone

Each contender steps in a process of its own, in turn with ours, so that a disturbance hits both alike; medians and
the middle half are printed. The rows of denoising-diffusion-pytorch and smalldiffusion appear where they are installed.
"""

import argparse
import importlib.util
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from contenders import ALL, GIVEN_BACK, UNDO
from plain import check_equal
from torch.utils.data import DataLoader

from diffusion_lib.data import Digits, data_root, load_digits
from diffusion_lib.fast import keep_memory, likes_bfloat16
from diffusion_lib.guidance import clipped, conditioned
from diffusion_lib.metrics import label_agreement, within_class_spread
from diffusion_lib.profiles import PROFILES, UNetConfig
from diffusion_lib.samplers import generate, last, sample_ddpm
from diffusion_lib.training.checkpoints import load_classifier, load_pretrained
from diffusion_lib.training.loop import Trainer
from diffusion_lib.training.runs import versions

ROOT = Path(__file__).resolve().parent.parent
CPU = torch.device("cpu")
STEP_TABLE = [
    "| shape | code | parameters, work | images/s, median (middle half) | time, ours = 1 | share of ceiling |",
    "|---|---|---|---|---|---|",
]
BESIDE = [name for name in ("denoising-diffusion-pytorch", "smalldiffusion")
          if importlib.util.find_spec(name.replace("-", "_"))]  # fmt: skip
UNDONE = ["instead of ours", "time, ours = 1"]
OTHERS = ["plain", "diffusers", *BESIDE]


class Contender:
    """One training step in a process of its own: see contenders.py."""

    def __init__(self, name: str, profile: str, batch: int, device: str = "cpu") -> None:
        self.name = name
        command = [sys.executable, str(ROOT / "benchmarks" / "contenders.py"), name, profile, str(batch), device]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
        self.hear("ready")
        for _ in range(1 if device == "cpu" else 5):  # not counted; some are spent on compiling
            self.step()
        self.seconds: list[float] = []

    def hear(self, what: str) -> str:
        """The next line of the process."""
        assert self.process.stdout
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended before {what}: {' '.join(map(str, self.process.args))}")
        return line

    def step(self) -> float:
        assert self.process.stdin
        self.process.stdin.write("step\n")
        self.process.stdin.flush()
        return float(self.hear("the step"))

    def end(self) -> dict[str, float]:
        """Parameters, FLOPs of a forward pass of one image, and peak GiB."""
        assert self.process.stdin
        self.process.stdin.close()
        return json.loads(self.hear("the end"))


def race(
    profile: str, batch: int, rounds: int, names: list[str], device: str = "cpu"
) -> dict[str, tuple[list[float], dict[str, float]]]:
    """Seconds of each step, the contenders taking turns, and what each says at the end."""
    contenders = [Contender(name, profile, batch, device) for name in names]
    for _ in range(rounds):
        for contender in contenders:
            contender.seconds.append(contender.step())
    return {contender.name: (contender.seconds, contender.end()) for contender in contenders}


def beside_ours(
    profile: str, batch: int, rounds: int, others: list[str], device: str = "cpu"
) -> dict[str, tuple[list[float], dict[str, float], float]]:
    """Seconds of each step, size, and time in multiples of ours, of which each row has a race of its own.

    Two processes at a time: beside three more that only wait and hold their memory, plain's step takes longer, and ours
    hardly (``where.py memory``).
    """
    found: dict[str, tuple[list[float], dict[str, float], float]] = {"ours": ([], {}, 1.0)}
    for name in others or ["ours"]:
        raced = race(profile, batch, rounds, list(dict.fromkeys(["ours", name])), device)
        seconds, size = raced["ours"]
        found["ours"] = (found["ours"][0] + seconds, size, 1.0)
        if name != "ours":
            found[name] = (*raced[name], statistics.median(raced[name][0]) / statistics.median(seconds))
    return found


def train_rows(
    profile: str, batch: int, rounds: int, ceiling: float, others: list[str] = OTHERS, device: str = "cpu"
) -> list[str]:
    """Table rows for one network shape."""
    rows = []
    for name, (seconds, size, ratio) in beside_ours(profile, batch, rounds, others, device).items():
        low, mid, high = statistics.quantiles(seconds, n=4)
        share = 3 * batch * size["flops"] / mid / ceiling  # backward costs twice the forward pass
        rows.append(
            f"| {profile}, batch {batch} | {name} | {size['parameters'] / 1e6:.2f} M, {size['flops'] / 1e9:.2f} GFLOP "
            f"| {batch / mid:.0f} ({batch / high:.0f} to {batch / low:.0f}) | {ratio:.2f} | {share:.2f} |"
        )
    return rows


def undone_rows(rounds: int) -> list[str]:
    """The larger network's step with one thing undone that makes it faster, and its time beside the whole one."""
    found = beside_ours("full", 64, rounds, [*UNDO, GIVEN_BACK, ALL])
    return [f"| {name} | {ratio:.2f} |" for name, (_, _, ratio) in found.items() if name != "ours"]


def memory_rows() -> list[str]:
    """Peak memory of a process that trains, by batch."""
    rows = []
    for profile, name in (("laptop", "ours"), ("laptop", "plain"), ("full", "ours"), ("full", "plain")):
        peaks = [f"{race(profile, batch, 1, [name])[name][1]['peak']:.1f}" for batch in (64, 256)]
        rows.append(f"| {profile} | {name} | {' | '.join(peaks)} |")
    return rows


def best_of(functions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """The least seconds of each function, taking turns."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: min(seconds) for name, seconds in times.items()}


@torch.no_grad()
def ceilings() -> dict[str, float]:
    """FLOP/s of a large matrix product, and of a convolution of the network's own shape."""
    a, x = torch.randn(2048, 2048), torch.randn(64, 64, 28, 28).to(memory_format=torch.channels_last)
    conv = torch.nn.Conv2d(64, 64, 3, padding=1).to(memory_format=torch.channels_last)
    seconds = best_of({"matrix": lambda: a @ a, "convolution": lambda: conv(x)}, 11)
    flops = {"matrix": 2 * 2048**3, "convolution": 2 * 64 * 28 * 28 * 64 * 64 * 9}
    return {name: flops[name] / seconds[name] for name in flops}


def sampling_rows(test: Digits) -> list[str]:
    """100 labelled digits by 50 DDIM steps and by all 1000 steps: time, agreement, spread."""
    trained, label, classifier = load_pretrained(), torch.arange(10).repeat(10), load_classifier()
    real, rows = within_class_spread(*test[:]), []

    def ddpm() -> torch.Tensor:
        generator = torch.Generator().manual_seed(0)
        x_T = torch.randn(100, 1, 28, 28, generator=generator)
        model = clipped(conditioned(trained.model, label), trained.schedule)
        return last(sample_ddpm(model, trained.schedule, x_T, generator=generator)).clamp(-1, 1)

    scale = trained.profile.guidance_scale
    for name, draw in {
        f"50 DDIM steps, guidance {scale:g}": lambda: generate(
            trained.model, trained.schedule, label, guidance_scale=scale
        ),
        "50 DDIM steps": lambda: generate(trained.model, trained.schedule, label),
        "1000 DDPM steps": ddpm,
    }.items():
        start = time.perf_counter()
        images = draw()
        seconds = time.perf_counter() - start
        agreement, spread = label_agreement(classifier, images, label), within_class_spread(images, label) / real
        rows.append(f"| {name} | {seconds:.1f} | {agreement:.0%} | {spread:.2f} |")
    return rows


def data_rows(digits: Digits) -> list[str]:
    """Images a second from where they lie to a batch of floats, against torchvision's dataset and a DataLoader."""
    from torchvision.datasets import MNIST
    from torchvision.transforms import v2

    def ours() -> None:
        for index in torch.randperm(len(digits)).split(64):
            digits[index]

    to_float = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5], [0.5])])
    theirs = DataLoader(MNIST(str(data_root()), transform=to_float), 64, shuffle=True, num_workers=2)

    def theirs_for(batches: int = 200) -> None:
        for i, _ in enumerate(theirs):
            if i == batches:
                return

    seconds = best_of({"ours": ours, "DataLoader": theirs_for}, 3)
    return [
        f"| ours: bytes on the device, floats made by batch | {len(digits) / seconds['ours']:,.0f} |",
        f"| MNIST in a DataLoader with 2 workers, its start included | {200 * 64 / seconds['DataLoader']:,.0f} |",
    ]


def growth_rows(digits: Digits) -> list[str]:
    """How the time of laptop's training step grows, each quantity doubled four times; and T for sampling."""
    base = PROFILES["laptop"]

    def step(side: int = 28, batch: int = 16, **unet: Any) -> Callable[[], Any]:
        images = torch.zeros(batch, 1, side, side, dtype=torch.uint8)
        data = Digits(images, torch.zeros(batch, dtype=torch.long), "zeros")
        config = replace(base, unet=replace(base.unet, **unet), train=replace(base.train, batch_size=batch))
        trainer, index = Trainer(config, data, data, CPU), torch.arange(batch)
        return lambda: trainer.step(index)

    trained = load_pretrained()
    cases = {
        "batch": {n: step(batch=n) for n in (16, 32, 64, 128, 256)},
        "image side": {n: step(side=n) for n in (8, 16, 32, 64, 128)},
        "width": {n: step(width=n) for n in (16, 32, 64, 128, 256)},
        "steps of a sample": {
            n: lambda n=n: generate(trained.model, trained.schedule, torch.arange(10), n) for n in (10, 20, 40, 80, 160)
        },
    }
    rows = []
    for name, functions in cases.items():
        for function in functions.values():
            function()
        seconds = best_of({str(n): f for n, f in functions.items()}, 3)
        x, y = [math.log(n) for n in functions], [math.log(s) for s in seconds.values()]
        slope = statistics.linear_regression(x, y).slope
        last_doubling = math.log2(list(seconds.values())[-1] / list(seconds.values())[-2])
        told = ", ".join(f"{n}: {s * 1000:.0f} ms" for n, s in seconds.items())
        rows.append(f"| {name} | {told} | {slope:.2f} | {last_doubling:.2f} |")
    return rows


def start_rows() -> list[str]:
    """Seconds to start, each in a fresh interpreter, median of five; notebook 01 once."""
    slider = (
        "import numpy as np; from diffusion_lib.showing.widgets import FrameSlider; "
        "FrameSlider(np.zeros((50, 28, 28), np.uint8), [str(i) for i in range(50)], 'Black.')._repr_mimebundle_()"
    )
    rows = []
    for what, code in {
        "import torch": "import torch",
        "import diffusion_lib": "import diffusion_lib",
        "import torch and the core": "import torch, diffusion_lib.samplers, diffusion_lib.unet",
        "first slider of 50 frames, imports included": slider,
    }.items():
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
            seconds.append(time.perf_counter() - start)
        rows.append(f"| {what} | {statistics.median(seconds):.2f} |")
    start = time.perf_counter()
    notebook = ROOT / "notebooks" / "01_forward_process.ipynb"
    command = [sys.executable, "-m", "nbconvert", "--to", "notebook", "--execute", "--stdout", str(notebook)]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return [*rows, f"| notebook 01, all cells, `laptop` | {time.perf_counter() - start:.0f} |"]


def vectors() -> str:
    """The widest vectors that torch uses here, and whether the cores multiply bfloat16 matrices by themselves (AMX)."""
    amx = likes_bfloat16(CPU)
    return torch.backends.cpu.get_cpu_capability() + (" with AMX" if amx else "")


def head(ceiling: dict[str, float], source: str, equal: float, command: str) -> list[str]:
    """What was compared, where, and the best that the machine does."""
    installed = ""
    if BESIDE:
        named = ", ".join(f"{name} {version(name)}" for name in BESIDE)
        installed = f" ({named}: installed beside the lock for this run)"
    best = ", ".join(f"{name} {speed / 1e9:.0f} GFLOP/s" for name, speed in ceiling.items())
    return [
        "# Speed, beside what people would use instead", "",
        f"{os.cpu_count()} CPU cores ({platform.machine()}, {vectors()}), {torch.get_num_threads()} threads, "
        f"torch {versions()['torch']}, {source}. One run of `{command}`; shared cores, so read the ratios.", "",
        f"Ceiling in the same run: {best} (2048 x 2048; 64 channels at 28 x 28, 3 x 3).", "",
        "## Training step: forward, backward, clip, optimiser, average", "",
        "*plain* is the same network written as a starter code has it (`benchmarks/plain.py`); its outputs and "
        f"gradients differ from ours by at most {equal:.0e} of their largest value. It does more work "
        "where it upsamples: ours adds up the weights that meet copies of one pixel. The others are the nearest sizes "
        f"of other libraries{installed}: unequal work, so compare the GFLOPs (forward, one image). The last column is "
        "three times those GFLOPs, times the images a second, over the convolution ceiling. Each races against ours "
        "alone, in turn; the row of ours has all those races. All use AdamW and all labels, and compute in float32, as "
        "that ceiling does, but for a row that says otherwise.",
        "",
        *STEP_TABLE,
    ]  # fmt: skip


def gpu_lines() -> list[str]:
    """The training step on the GPU, where there is one."""
    if not torch.cuda.is_available():
        return ["", "GPU: none at hand, so no table."]
    a = torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16)

    def product() -> None:
        a @ a
        torch.cuda.synchronize()

    ceiling = 2 * len(a) ** 3 / best_of({"matrix": product}, 11)["matrix"]
    rows = train_rows("full", 64, 50, ceiling, device="cuda")
    for batch in (256, 1024):
        rows += train_rows("full", batch, 50, ceiling, [], "cuda")
    return [
        "", f"## On one {torch.cuda.get_device_name()}", "",
        f"Ours in bfloat16 and compiled, the others as they come. Ceiling: {ceiling / 1e12:.0f} TFLOP/s, a product of "
        "8192 x 8192 in bfloat16.", "",
        *STEP_TABLE, *rows,
    ]  # fmt: skip


def section(title: str, columns: list[str], rows: list[str]) -> list[str]:
    return ["", f"## {title}", "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *rows]


def main(out: Path | None, steps_alone: bool) -> None:
    keep_memory()
    train, test, ceiling = load_digits("train"), load_digits("test"), ceilings()
    command = "python benchmarks/bench.py --steps" if steps_alone else "make bench"
    configs: list[UNetConfig] = [PROFILES[name].unet for name in ("laptop", "full")]
    lines: list[str] = []

    def add(part: list[str]) -> None:  # written at once, so that a later failure loses nothing that was measured
        lines.extend(part)
        if out:
            out.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print("\n".join(part), flush=True)

    add(head(ceiling, train.source, max(check_equal(config) for config in configs), command))
    add(train_rows("laptop", 64, 30, ceiling["convolution"]))
    narrow = ["ours, bfloat16"] if likes_bfloat16(CPU) else []
    add(train_rows("full", 64, 7, ceiling["convolution"], OTHERS + narrow))
    told = "One change taken back at a time; each row names what the step does instead."
    instead = section("The step of `full` with what makes it faster undone", UNDONE, undone_rows(5))
    add([*instead[:3], told, "", *instead[3:]])
    if not steps_alone:
        peak = "Peak memory of a process that trains, GiB"
        cost = ["doubled", "seconds", "exponent", "of the last doubling"]
        add(section(peak, ["network", "code", "batch 64", "256"], memory_rows()))
        add(section("Sampling 100 labelled digits", ["way", "seconds", "agreement", "spread"], sampling_rows(test)))
        add(section("Data", ["way", "images/s"], data_rows(train)))
        add(section("Start", ["what", "seconds"], start_rows()))
        add(section("How the cost grows", cost, growth_rows(train)))
        add(gpu_lines())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure speed beside what people would use instead.")
    parser.add_argument("--out", type=Path, help="the file to write; bench.md, or with --steps none")
    parser.add_argument("--steps", action="store_true", help="the training step alone")
    options = parser.parse_args()
    main(options.out or (None if options.steps else ROOT / "benchmarks" / "bench.md"), options.steps)
