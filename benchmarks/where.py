"""Where the time goes: kinds of work in a pass of `laptop`'s network and in training steps, and passes by batch size.

    python benchmarks/where.py
    python benchmarks/where.py compiled        # torch.compile against none
    python benchmarks/where.py memory          # a step of `full` beside processes that only hold theirs

Prints; benchmarks/limits.md quotes it.
"""

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from bench import Contender
from contenders import KEPT, ours
from torch.profiler import ProfilerActivity, profile

from diffusion_lib.data import load_digits
from diffusion_lib.profiles import PROFILES
from diffusion_lib.training.checkpoints import load_pretrained
from diffusion_lib.training.loop import Trainer

KINDS = {
    "optimiser, average": ("adamw", "lerp", "vector_norm", "foreach"),
    "convolutions": ("conv",),
    "norms": ("norm",),
    "attention": ("attention",),
    "other products": ("addmm", "mm", "linear"),
    "activations": ("silu", "gelu"),
    "copies, sums, joins": ("copy_", "add", "cat", "clone", "mul"),
}


def kind(name: str) -> str:
    """The kind of work of an operator of torch."""
    short = name.removeprefix("aten::").lower().replace("normal_", "draws")
    return next((k for k, parts in KINDS.items() if any(part in short for part in parts)), "the rest")


def pass_of(batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise, level and label for one pass."""
    noise = torch.randn(batch, 1, 28, 28).contiguous(memory_format=torch.channels_last)
    return noise, torch.full((batch,), 500), torch.arange(batch) % 10


def shares(title: str, work: Callable[[], Any], times: int) -> None:
    """Print what share of the time of ``work`` each kind takes."""
    work()
    with profile(activities=[ProfilerActivity.CPU]) as watch:
        for _ in range(times):
            work()
    spent: Counter[str] = Counter()
    for event in watch.key_averages():
        spent[kind(event.key)] += event.self_cpu_time_total
    print(f"{title}: " + ", ".join(f"{name} {share / spent.total():.0%}" for name, share in spent.most_common()))


def shares_of_all() -> None:
    """Training steps of both networks, and a pass."""
    for name, times in (("laptop", 20), ("full", 3)):
        step, _ = ours(name, load_digits("train"), 64, torch.device("cpu"))
        shares(f"training step of {name}", step, times)
    passes()


@torch.inference_mode()
def passes() -> None:
    """A pass of `laptop`, and how many images a second it does in batches of several sizes."""
    model = load_pretrained("laptop", "cpu").model
    given = pass_of(200)
    shares("pass of laptop", lambda: model(*given), 5)
    best = dict.fromkeys((10, 20, 50, 100, 200), float("inf"))
    for _ in range(4):
        for batch in best:
            given, count = pass_of(batch), 400 // batch
            model(*given)
            begun = time.perf_counter()
            for _ in range(count):
                model(*given)
            best[batch] = min(best[batch], (time.perf_counter() - begun) / (count * batch))
    print("images a second by batch:", {batch: round(1 / seconds) for batch, seconds in best.items()})
    print(f"{torch.get_num_threads()} threads")


def compiled() -> None:
    """Images a second in `laptop`'s step and in a pass of 100, as they are and compiled for these shapes, in turn."""
    digits, index = load_digits("train"), torch.arange(64)
    steps = [Trainer(PROFILES["laptop"], digits, digits, torch.device("cpu")) for _ in range(2)]
    steps[1].forward = torch.compile(steps[1].model, dynamic=False)
    in_turn("step", [lambda run=run: run.step(index) for run in steps], 64)
    model, given = load_pretrained("laptop", "cpu").model, pass_of(100)
    with torch.inference_mode():
        in_turn("pass", [lambda f=f: f(*given) for f in (model, torch.compile(model, dynamic=False))], 100)


def in_turn(what: str, pair: list[Callable[[], Any]], images: int, rounds: int = 12, each: int = 4) -> None:
    """Print the median images a second of two functions, and what the first call of the second one took."""
    seconds: list[list[float]] = [[], []]
    firsts = []
    for function in pair:
        begun = time.perf_counter()
        function()
        firsts.append(time.perf_counter() - begun)
    for _ in range(rounds):
        for function, spent in zip(pair, seconds, strict=True):
            begun = time.perf_counter()
            for _ in range(each):
                function()
            spent.append((time.perf_counter() - begun) / each)
    plain, other = (images / statistics.median(spent) for spent in seconds)
    told = f"compiling took {firsts[1]:.0f} s; {torch.get_num_threads()} threads"
    print(f"{what}: {plain:.0f} images a second, compiled {other:.0f}; {told}")


def memory() -> None:
    """Median seconds of five steps of `full`, without and with three processes that made a step and now wait."""
    names = ("ours", "plain", KEPT)
    for beside in (0, 3, 0):
        waiting = [Contender("ours", "full", 64) for _ in range(beside)]
        for name in names:
            contender = Contender(name, "full", 64)
            spent = [contender.step() for _ in range(5)]
            print(f"{name} beside {beside}: {statistics.median(spent):.2f} s", flush=True)
            contender.end()
        for contender in waiting:
            contender.end()


if __name__ == "__main__":
    measures = {"shares": shares_of_all, "compiled": compiled, "memory": memory}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", default="shares", choices=list(measures))
    measures[parser.parse_args().what]()
