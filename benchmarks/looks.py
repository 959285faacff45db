"""Straight paths beside ``laptop`` at equal looks of the network: shipped weights, no guidance, 500 digits a row.

    python benchmarks/looks.py ["laptop, DDIM" ...]

Writes ``benchmarks/looks.md`` and, for notebook 08, ``diffusion_lib/weights/flow.quality.json``. With names of walks it
measures those again, and the rows of the others stay. Takes about ten minutes on one CPU core.
"""

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from diffusion_lib.data import load_data
from diffusion_lib.flow import as_velocity, sample_flow
from diffusion_lib.guidance import conditioned
from diffusion_lib.metrics import Judge, Scores
from diffusion_lib.samplers import denoiser, last, sample_ddim
from diffusion_lib.shapes import Images, Labels
from diffusion_lib.training.checkpoints import WEIGHTS, Pretrained, load_classifier, load_pretrained
from diffusion_lib.training.runs import device_name, versions

TABLE, NUMBERS = Path(__file__).with_name("looks.md"), WEIGHTS / "flow.quality.json"
COUNT, LOOKS = 500, (1, 2, 4, 8, 16, 50)
HEAD = """# Straight paths beside `laptop`, at equal looks

`python benchmarks/looks.py`: shipped weights on MNIST, no guidance, 500 digits a row, seed 1. A look is one evaluation
of the network. *Straight pieces* walk evenly in τ without clipping (`sample_flow`); DDIM walks evenly in t, with x̂_0
clipped unless it says otherwise (`sample_ddim`), *with noise* at η = 1. Heun's last piece is Euler's, so its n pieces
take 2 n − 1 looks. The range is a 95 % interval (Wilson). Both spreads are shares of real digits'.

| network, walk | looks | read as asked | spread | of features | Fréchet | of it mean | covariance |
|---|---|---|---|---|---|---|---|
"""
Walk = Callable[[Pretrained, Images, Labels, int, torch.Generator], Images]


def ddim(eta: float, *, clip: bool = True) -> Walk:
    def walk(trained: Pretrained, x_T: Images, label: Labels, looks: int, generator: torch.Generator) -> Images:
        eps_model = denoiser(trained.eps_model, trained.schedule, label, 1.0, clip=clip)
        return last(sample_ddim(eps_model, trained.schedule, x_T, looks, eta=eta, generator=generator))

    return walk


def pieces(heun: bool) -> Walk:
    """Straight pieces of the flow network, or of laptop read as one; ``looks`` is odd with Heun's method."""

    def walk(trained: Pretrained, x_T: Images, label: Labels, looks: int, generator: torch.Generator) -> Images:
        taught = trained.profile.train.target == "velocity"
        velocity = trained.model if taught else as_velocity(trained.model, trained.schedule)
        count = (looks + 1) // 2 if heun else looks
        return last(sample_flow(conditioned(velocity, label), trained.schedule, x_T, count, heun=heun))

    return walk


WALKS: dict[str, tuple[Walk, tuple[int, ...]]] = {
    "laptop, DDIM": (ddim(0), LOOKS),
    "laptop, DDIM with noise": (ddim(1), LOOKS),
    "laptop, DDIM without clipping": (ddim(0, clip=False), LOOKS),
    "laptop, straight pieces": (pieces(heun=False), LOOKS),
    "flow, straight pieces": (pieces(heun=False), LOOKS),
    "flow, Heun's pieces": (pieces(heun=True), (3, 7, 15)),
    "flow, DDIM with noise": (ddim(1), (4, 8, 16)),
}


def measured(name: str, judge: Judge) -> Iterator[dict[str, Any]]:
    """A row for each number of looks of one walk."""
    (draw, counts), trained = WALKS[name], load_pretrained(name.split(",")[0], "cpu")
    label = torch.arange(10).repeat(COUNT // 10)
    for looks in counts:
        generator = torch.Generator().manual_seed(1)
        x_T = torch.randn(COUNT, 1, 28, 28, generator=generator)
        parts = zip(x_T.split(100), label.split(100), strict=True)
        images = torch.cat([draw(trained, x, y, looks, generator) for x, y in parts]).clamp(-1, 1)
        row = {"walk": name, "looks": looks, **asdict(judge.score(images, label))}
        print(row, flush=True)
        yield row


def line(row: dict[str, Any]) -> str:
    """A row of the table."""
    s = Scores(**{k: v for k, v in row.items() if k not in ("walk", "looks")})
    read = f"{s.agreement:.1%} ({s.agreement_low:.1%} to {s.agreement_high:.1%})"
    told = [row["walk"], row["looks"], read, f"{s.spread:.2f}", f"{s.feature_spread:.2f}"]
    told += [f"{s.frechet:.0f}", f"{s.frechet_mean:.1f}", f"{s.frechet_covariance:.1f}"]
    return "| " + " | ".join(map(str, told)) + " |"


def main(names: list[str]) -> None:
    train, test = load_data("mnist", "cpu")
    judge = Judge(load_classifier("cpu"), test=test, train=train, neighbours=1)
    before = json.loads(NUMBERS.read_text(encoding="utf-8")) if NUMBERS.exists() else {}
    rows = [row for row in before.get("looks", []) if row["walk"] not in names]
    rows += [row for name in names for row in measured(name, judge)]
    rows.sort(key=lambda row: (list(WALKS).index(row["walk"]), row["looks"]))
    floor = asdict(judge.floor(COUNT))
    made = {"command": "python benchmarks/looks.py", "device": device_name(torch.device("cpu")), "versions": versions()}
    numbers = before | made | {"data": train.source, "floor": floor, "looks": rows}
    NUMBERS.write_text(json.dumps(numbers, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    real = {"walk": "real digits", "looks": "", **floor}
    TABLE.write_text(HEAD + "\n".join(map(line, [*rows, real])) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:] or list(WALKS))
