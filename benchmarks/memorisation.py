"""Does it remember? The laptop network on 10 to 10,000 digits for equally many steps, twice each, without labels.

    python benchmarks/memorisation.py                            # all sizes, 500 steps: about ten minutes of a core
    python benchmarks/memorisation.py --steps 3000 --sizes 100 1000
    python benchmarks/memorisation.py --write                    # only the page, from what was measured before

A size is kept in ``runs/memorisation`` as soon as it is measured, and is not measured again with as many steps; a size
that was ended begins again. When all sizes are there, it writes ``benchmarks/memorisation.md`` and, for notebook 10,
``memorisation.quality.json`` and samples beside the shipped weights. The two networks of a size see different digits,
and start from different weights. A step of both takes 0.22 seconds of a core, and a size 30 to 60 seconds more.
"""

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion_lib.data import Digits, load_data, to_bytes
from diffusion_lib.diffusion import LabelledModel
from diffusion_lib.guidance import clipped, conditioned
from diffusion_lib.metrics import copied, nearest_neighbours
from diffusion_lib.oracles import finite_set_oracle
from diffusion_lib.profiles import PROFILES
from diffusion_lib.samplers import last, sample_ddim
from diffusion_lib.schedules import NoiseSchedule
from diffusion_lib.training import fit, held_out_loss
from diffusion_lib.training.checkpoints import WEIGHTS, load_tensors, save_tensors
from diffusion_lib.training.recipe import TIMESTEP_SAMPLING
from diffusion_lib.training.runs import device_name, versions

TABLE, NUMBERS = Path(__file__).with_name("memorisation.md"), WEIGHTS / "memorisation.quality.json"
SAMPLES = WEIGHTS / "memorisation.snapshots.safetensors"
RUNS = Path("runs/memorisation")
SIZES, STEPS, BATCH, COUNT, SHOWN = (10, 100, 1000, 10_000), 500, 32, 100, 10
POINTS = 1000  # images of which each loss is the mean
LAPTOP = PROFILES["laptop"]
DRAW_T = TIMESTEP_SAMPLING[LAPTOP.train.timestep_sampling]
HEAD = """# Does it remember?

`{command}`: the `laptop` network on MNIST without labels, {steps:,} steps of {batch} images each,
whatever their number. Losses are means over {points:,} noised images, with the same levels and noises in each row;
those of the exact predictor are what it would score, which answers from the training digits alone. Distances are
medians over {count} samples (DDIM, 50 steps, η = 1), or {count} test digits, to the nearest training digit. A *copy*
is three times nearer to one training digit than to any other. *Two networks*: how far two samples from one noise lie
apart, drawn by networks that saw different digits, as a share of how far samples from two noises do. (One noise: the
same x_T, and the same fresh noise at each step.)

| digits | loss on them | on held-out | exact: on them | on held-out | samples to nearest | test digits to nearest | \
copies | of test digits | two networks |
|---|---|---|---|---|---|---|---|---|---|
"""


def head(numbers: dict[str, Any]) -> str:
    """The page's beginning, for as many steps as were made."""
    told = {name: numbers[name] for name in ("command", "steps", "batch")}
    return HEAD.format(**told, points=POINTS, count=COUNT)


def trained_on(digits: Digits, test: Digits, seed: int, steps: int) -> tuple[LabelledModel, NoiseSchedule]:
    """The network after one epoch of ``digits``, over and over. It is never told a label."""
    recipe = replace(
        LAPTOP.train, epochs=1, batch_size=BATCH, warmup_steps=50, label_dropout=1.0, snapshot_epochs=(), seed=seed
    )
    repeated = digits.where(torch.arange(steps * BATCH) % len(digits))
    trained = fit(replace(LAPTOP, train=recipe), repeated, test, device="cpu", progress=False)
    return unlabelled(conditioned(trained.model, None)), trained.schedule


def unlabelled(eps_model: Callable[[Tensor, Tensor], Tensor]) -> Any:
    """A predictor without a label, called with one."""
    return lambda x, t, label=None: eps_model(x, t)


def losses(model: Any, schedule: NoiseSchedule, digits: Digits, test: Digits) -> tuple[float, float]:
    """Of a predictor on the digits that it knows and on held-out ones, at the same levels and noises."""
    known = digits.where(torch.arange(POINTS) % len(digits))
    own, held_out = (held_out_loss(model, schedule, each, POINTS, draw_t=DRAW_T) for each in (known, test))
    return own, held_out


def samples(model: LabelledModel, schedule: NoiseSchedule) -> Tensor:
    """Drawn from the same noises by each network: x_T, and then each z, from one generator."""
    generator = torch.Generator().manual_seed(1)
    x_T = torch.randn(COUNT, 1, 28, 28, generator=generator)
    eps_model = clipped(conditioned(model, None), schedule)
    return last(sample_ddim(eps_model, schedule, x_T, 50, eta=1, generator=generator)).clamp(-1, 1)


def apart(ours: Tensor, theirs: Tensor) -> float:
    """Distance of samples from one noise, as a share of that of samples from two: medians."""
    pairs = [(ours - other).flatten(1).norm(dim=1).median() for other in (theirs, theirs.roll(1, dims=0))]
    return (pairs[0] / pairs[1]).item()


def measured(size: int, steps: int, train: Digits, test: Digits) -> tuple[dict[str, Any], Tensor]:
    """A row of the table, and what is shown: samples, their nearest training digits, the other network's samples."""
    start = time.process_time()
    halves = [train.where(slice(i * size, (i + 1) * size)) for i in (0, 1)]
    (model, schedule), other = (trained_on(half, test, seed, steps) for seed, half in enumerate(halves))
    images = [samples(*network) for network in ((model, schedule), other)]
    exact = unlabelled(finite_set_oracle(schedule, halves[0][:][0]))
    known, real = halves[0][:][0], test[1000 : 1000 + COUNT][0]
    distances, nearest = nearest_neighbours(images[0], known)
    row = {
        "digits": size,
        **dict(zip(("loss", "held_out"), losses(model, schedule, halves[0], test), strict=True)),
        **dict(zip(("exact_loss", "exact_held_out"), losses(exact, schedule, halves[0], test), strict=True)),
        "nearest": distances.median().item(),
        "real_nearest": nearest_neighbours(real, known)[0].median().item(),
        "copies": copied(images[0], known).float().mean().item(),
        "real_copies": copied(real, known).float().mean().item(),
        "apart": apart(*images),
        "cpu_seconds": time.process_time() - start,
    }
    return row, torch.cat([images[0][:SHOWN], known[nearest[:SHOWN]], images[1][:SHOWN]])


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    told = [f"{row['digits']:,}", *(f"{row[k]:.4f}" for k in ("loss", "held_out", "exact_loss", "exact_held_out"))]
    told += [f"{row[k]:.2f}" for k in ("nearest", "real_nearest")]
    told += [f"{row[k]:.1%}" for k in ("copies", "real_copies")] + [f"{row['apart']:.2f}"]
    return "| " + " | ".join(told) + " |"


def place(size: int, steps: int) -> Path:
    """Where the samples of a size are kept; its row stands beside them."""
    return RUNS / f"{steps}-{size}.safetensors"


def measure(sizes: list[int], steps: int) -> None:
    """Each size that is not there yet, kept as it comes: first its samples, then its row."""
    torch.set_num_threads(1)
    RUNS.mkdir(parents=True, exist_ok=True)
    train, test = load_data("mnist", "cpu")
    here = {"device": device_name(torch.device("cpu")), "versions": versions(), "data": train.source}
    for size in sizes:
        path = place(size, steps)
        if not path.with_suffix(".json").exists():
            row, images = measured(size, steps, train, test)
            save_tensors(path, {str(size): to_bytes(images)}, {"shown": SHOWN})
            path.with_suffix(".json").write_text(json.dumps({"here": here, "row": row}), encoding="utf-8")
            print(line(row), flush=True)


def publish(steps: int) -> list[int]:
    """Write numbers and samples for notebook 10, if all sizes are there; returns the sizes that are not."""
    paths = {size: place(size, steps) for size in SIZES}
    if missing := [size for size, path in paths.items() if not path.with_suffix(".json").exists()]:
        return missing
    found = [json.loads(path.with_suffix(".json").read_text(encoding="utf-8")) for path in paths.values()]
    command = "python benchmarks/memorisation.py" + (f" --steps {steps}" if steps != STEPS else "")
    rows = [each["row"] for each in found]
    numbers = {"command": command, **found[0]["here"], "steps": steps, "batch": BATCH, "rows": rows}
    NUMBERS.write_text(json.dumps(numbers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    shown = {name: images for path in paths.values() for name, images in load_tensors(path)[0].items()}
    save_tensors(SAMPLES, shown, {"shown": SHOWN})
    return []


def write() -> None:
    """The page, from the numbers that ship."""
    numbers = json.loads(NUMBERS.read_text(encoding="utf-8"))
    seconds = sum(row["cpu_seconds"] for row in numbers["rows"])
    told = f"\nAll of it took {seconds / 60:.0f} CPU minutes.\n"
    TABLE.write_text(head(numbers) + "\n".join(map(line, numbers["rows"])) + "\n" + told, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES), choices=SIZES)
    parser.add_argument("--write", action="store_true", help="measure nothing")
    asked = parser.parse_args()
    if not asked.write:
        measure(asked.sizes, asked.steps)
        if missing := publish(asked.steps):
            return print(f"The page is written when these sizes are there too: {missing}")
    write()


if __name__ == "__main__":
    main()
