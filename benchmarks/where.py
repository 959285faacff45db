"""Where the time of a sample goes: kinds of work in a pass of `laptop`'s network, and passes a second by batch size.

    python benchmarks/where.py

Prints; benchmarks/limits.md quotes it.
"""

import time
from collections import Counter

import torch
from torch.profiler import ProfilerActivity, profile

from diffusion_lib.training.checkpoints import load_pretrained

KINDS = {
    "convolutions": ("conv",),
    "norms": ("norm",),
    "attention": ("attention",),
    "other products": ("addmm", "mm", "linear"),
    "activations": ("silu", "gelu"),
    "copies, sums, joins": ("copy_", "add", "cat", "clone", "mul"),
}


def kind(name: str) -> str:
    """The kind of work of an operator of torch."""
    short = name.removeprefix("aten::")
    return next((k for k, parts in KINDS.items() if any(part in short for part in parts)), "the rest")


def pass_of(batch: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Noise, level and label for one pass."""
    noise = torch.randn(batch, 1, 28, 28).contiguous(memory_format=torch.channels_last)
    return noise, torch.full((batch,), 500), torch.arange(batch) % 10


@torch.inference_mode()
def main() -> None:
    model = load_pretrained("laptop", "cpu").model
    given = pass_of(200)
    model(*given)
    with profile(activities=[ProfilerActivity.CPU]) as watch:
        for _ in range(5):
            model(*given)
    spent: Counter[str] = Counter()
    for event in watch.key_averages():
        spent[kind(event.key)] += event.self_cpu_time_total
    for name, share in spent.most_common():
        print(f"{name:<20} {share / spent.total():.0%}")
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


if __name__ == "__main__":
    main()
