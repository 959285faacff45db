"""What does a network buy whose images cost more? The larger network, trained for a budget on CPU cores.

    python benchmarks/full.py train full --seconds 6600              # continues where it was stopped
    python benchmarks/full.py train laptop --images 62000            # another row, as many images
    python benchmarks/full.py judge full                             # 500 digits, with guidance and without
    python benchmarks/full.py grids                                  # digits at four stages, for a figure
    python benchmarks/full.py table                                  # write full.md

A budget is processor seconds or images; warm-up aside, the learning rate falls along it as half a cosine. Checkpoints
and the averages at four stages land in runs/full/ROW, what was measured in full.jsonl.
"""

import argparse
import json
import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from ninety import start
from ninety_rows import Row, SkipsAfter, quarter_v

from diffusion_lib.data import load_digits, to_bytes
from diffusion_lib.diffusion import LabelledModel
from diffusion_lib.metrics import Judge, Scores
from diffusion_lib.profiles import PROFILES
from diffusion_lib.samplers import generate
from diffusion_lib.schedules import NoiseSchedule, make_schedule
from diffusion_lib.training.checkpoints import (
    WEIGHTS,
    load_classifier,
    load_into,
    load_pretrained,
    load_tensors,
    save_model,
    save_tensors,
)
from diffusion_lib.training.loop import Trainer
from diffusion_lib.training.optimizers import set_rate
from diffusion_lib.training.recipe import held_out_loss, weighing
from diffusion_lib.training.runs import versions

HERE = Path(__file__).parent
RUNS, RESULTS = HERE.parent / "runs" / "full", HERE / "full.jsonl"
TABLE, GRIDS = HERE / "full.md", WEIGHTS / "full.snapshots.safetensors"
STAGES = (1 / 8, 1 / 4, 1 / 2, 1.0)
EVERY, NOTE = 1200, 20  # seconds from checkpoint to checkpoint, steps from note to note
COUNT, SCALES = 500, (1.0, 1.2)
RECIPE = {"learning_rate": 1e-3, "muon_rate": 5e-3, "batch_size": 32, "warmup_steps": 100}
LEARNT: dict[str, Any] = {"train": RECIPE, "loss": weighing(quarter_v)}
ROWS = {
    "full": Row("three resolutions, no patches, a transformer at each", unet=vars(PROFILES["full"].unet), **LEARNT),
    "laptop": Row("laptop's network, by the same recipe, as many images", **LEARNT),
    "homework": Row(
        "the homework's design: the three rows below together",
        unet={"context_tokens": 1}, schedule={"num_timesteps": 500}, network=SkipsAfter, **LEARNT,
    ),
    "T = 500": Row("500 levels with the ends of 1,000", schedule={"num_timesteps": 500}, **LEARNT),
    "one token": Row("one label token, not four", unet={"context_tokens": 1}, **LEARNT),
    "skips after": Row("skips saved after down-sampling: none from the finest map", network=SkipsAfter, **LEARNT),
}  # fmt: skip
SHIPPED = "laptop, shipped"  # 30 epochs by its own recipe


def train(name: str, seconds: float, images: float) -> None:
    """Train a row to the end of its budget, or continue: all that is random in a step follows from its number."""
    folder, digits, test = RUNS / name, load_digits("train"), load_digits("test")
    folder.mkdir(parents=True, exist_ok=True)
    run = start(ROWS[name], 0, digits, test)
    step, spent, passed = restore(run, folder)
    size, warm = run.config.batch_size, run.config.warmup_steps
    saved, begun, order, turn = time.monotonic(), time.process_time() - spent, torch.empty(0), -1
    losses: list[float] = []
    while (share := max(spent / seconds, step * size / images)) < 1:
        if (due := step // (len(digits) // size)) != turn:
            turn, order = due, torch.randperm(len(digits), generator=torch.Generator().manual_seed(due))
        torch.manual_seed(step)
        rate = min(1.0, (step + 1) / warm) * (1 + math.cos(math.pi * share)) / 2
        set_rate(run.optimizer, run.config.learning_rate * rate)
        first = step % (len(digits) // size) * size
        losses.append(run.step(order[first : first + size]).item())
        step, spent = step + 1, time.process_time() - begun
        if not math.isfinite(losses[-1]):
            raise FloatingPointError(f"the loss became {losses[-1]} in step {step}")
        if step % NOTE == 0:
            mean = sum(losses) / len(losses)
            note(folder, step=step, images=step * size, seconds=round(spent), loss=mean)
            losses = []
        if share >= STAGES[passed]:
            stage(run, folder, passed, step * size, spent)
            passed += 1
        if time.monotonic() - saved > EVERY:
            keep(run, folder, step, spent, passed)
            saved = time.monotonic()
    stage(run, folder, len(STAGES) - 1, step * size, spent)
    keep(run, folder, step, spent, len(STAGES) - 1)


def note(folder: Path, **values: float) -> None:
    """A line of the run's history."""
    with (folder / "history.jsonl").open("a") as file:
        file.write(json.dumps(values) + "\n")


def stage(run: Trainer, folder: Path, number: int, images: int, spent: float) -> None:
    """The average of the weights at a stage, with its loss on held-out images, each t as often as any other."""
    loss = held_out_loss(run.ema, run.schedule, run.test_digits)
    info = {"images": images, "processor_seconds": round(spent), "held_out_loss": loss}
    save_model(folder / f"stage_{number}.safetensors", run.ema, run.profile, info)


def keep(run: Trainer, folder: Path, step: int, spent: float, passed: int) -> None:
    """All that the next step depends on."""
    state = {
        "model": run.model.state_dict(),
        "average": run.average.state_dict(),
        "optimizer": run.optimizer.state_dict(),
    }
    torch.save(state | {"step": step, "spent": spent, "passed": passed}, folder / "checkpoint.part")
    (folder / "checkpoint.part").replace(folder / "checkpoint.pt")


def restore(run: Trainer, folder: Path) -> tuple[int, float, int]:
    """Steps, seconds and stages that the checkpoint of ``folder`` has behind it, if there is one."""
    path = folder / "checkpoint.pt"
    if not path.exists():
        return 0, 0.0, 0
    state = torch.load(path, weights_only=True)
    run.model.load_state_dict(state["model"])
    run.average.load_state_dict(state["average"])
    run.optimizer.load_state_dict(state["optimizer"])
    lines = [line for line in (folder / "history.jsonl").open() if json.loads(line)["step"] <= state["step"]]
    (folder / "history.jsonl").write_text("".join(lines))
    return state["step"], state["spent"], state["passed"]


def weights(name: str, number: int) -> tuple[LabelledModel, NoiseSchedule, dict[str, Any]]:
    """The network of a row as it was at a stage, its schedule, and what is known of it."""
    if name == SHIPPED:
        trained = load_pretrained("laptop", "cpu")
        spent = round(trained.card["training_seconds"] * 2)  # on two cores
        known = {"images": trained.card["epochs"] * trained.card["images"], "processor_seconds": spent}
        loss = held_out_loss(trained.model, trained.schedule, load_digits("test"))
        return trained.model, trained.schedule, known | {"held_out_loss": loss}
    profile = ROWS[name].profile(0)
    model, path = ROWS[name].network(profile.unet), RUNS / name / f"stage_{number}.safetensors"
    tensors, info = load_tensors(path)
    load_into(model, tensors, path)
    kept = ("images", "processor_seconds", "held_out_loss")
    model = model.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return model, make_schedule(profile.schedule), {key: info[key] for key in kept}


def judge(name: str, scales: list[float]) -> None:
    """Score a row at the end of its run, and add a line to the results for each strength of guidance."""
    train, test = load_digits("train"), load_digits("test")
    found = Judge(load_classifier(), test=test, train=train, neighbours=1)
    model, schedule, known = weights(name, len(STAGES) - 1)
    label = torch.arange(10).repeat(COUNT // 10)
    for scale in scales:
        images = generate(model, schedule, label, 50, guidance_scale=scale, seed=1, shape=(1, 28, 28))
        record = {"row": name, "scale": scale, **known, **asdict(found.score(images, label))}
        with RESULTS.open("a") as file:
            file.write(json.dumps(record) + "\n")
        print(record, flush=True)


def grids() -> None:
    """Two digits of each label at four stages, without guidance: by the larger network, then by laptop's."""
    label, kept = torch.arange(10).repeat(2), {}
    for number in range(len(STAGES)):
        both = [weights(name, number) for name in ("full", "laptop")]
        drawn = [generate(model, schedule, label, 50, shape=(1, 28, 28)) for model, schedule, _ in both]
        kept[str(both[0][2]["images"])] = to_bytes(torch.cat(drawn))
    save_tensors(GRIDS, kept, {"labels": label.tolist()})


HEAD = """# What does a network buy whose images cost nineteen times as much?

`full`, a network of the size of the homework's (11.6 M parameters), beside `laptop`'s (0.74 M): thirty times the work
an image (2.39 and 0.08 GFLOP), nineteen times the time. First by nearly the same recipe for as many images, one epoch;
then beside the shipped weights. Those have thirty epochs by another recipe, `laptop`'s own (AdamW, batches of 64), and
took 1.2 times the processor time of `full`, reckoned as twice the wall time on two slower cores.

The recipe: Muon, t drawn evenly in amplitude, the fourth root of v's weight (`quarter_v` of `ninety_rows.py`), batches
of 32, a tenth of the labels dropped, one seed. In its first 1,200 seconds, 18 % of its images, `full` had t drawn more
often at high noise instead of weighed; then [ninety.md](ninety.md) gave no reason to prefer that. The loss in its
[log](full_history.jsonl) is weighted from there on, so it jumps. In half precision its weights are 22 MiB, too large
to ship.

The lower rows have the design of the homework that this course grew from, at `laptop`'s size: as a whole, and each of
its three choices alone. T = 500 costs nothing that these numbers show. With one token agreement is a tie and the
Fréchet distance larger, 84 for 69; [five minutes](ablation.md) had 82 % for 86 %. Skips saved after down-sampling alone
take 25 points of agreement without guidance, all three together 56: more than the three apart add up to.

Scores of 500 digits, 50 DDIM steps (eta = 1), and of as many real ones; the range is a 95 % interval (Wilson). The loss
is over 1,000 held-out digits, each t as often as any other; with T = 500 the levels are others, and so is the loss.

Trained with one thread of an x86_64 CPU with AVX-512, torch {torch}.
Commands: `python benchmarks/full.py train full --seconds 6600` (all but the first 1,200 seconds), `train` of another
row with `--images {images}`, `judge` of each row, then `grids` and `table`.

| row | why | images | processor seconds | held-out loss | guidance | read as asked | spread | of features | Fréchet |
|---|---|---|---|---|---|---|---|---|---|
"""


def records() -> list[dict[str, Any]]:
    """All that was measured."""
    return [json.loads(line) for line in RESULTS.read_text().splitlines()]


def told(scores: Scores) -> str:
    """The scores' cells of a row."""
    read = f"{scores.agreement:.1%} ({scores.agreement_low:.1%} to {scores.agreement_high:.1%})"
    return f"{read} | {scores.spread:.2f} | {scores.feature_spread:.2f} | {scores.frechet:.1f} |"


def table() -> str:
    """All results as Markdown."""
    why = {name: row.why for name, row in ROWS.items()} | {SHIPPED: "30 epochs, AdamW"}
    fields, lines = Scores.__dataclass_fields__, []
    for record in sorted(records(), key=lambda r: (list(why).index(r["row"]), r["scale"])):
        name, scores = record["row"], Scores(**{f: v for f, v in record.items() if f in fields})
        made = f"{record['images']:,} | {record['processor_seconds']:,} | {record['held_out_loss']:.4f}"
        lines.append(f"| {name} | {why[name]} | {made} | {record['scale']:g} | {told(scores)}")
    judge = Judge(load_classifier(), test=load_digits("test"), train=load_digits("train"), neighbours=1)
    lines.append(f"| real digits | | | | | | {told(judge.floor(COUNT))}")
    images = next(r["images"] for r in records() if r["row"] == "full")
    return HEAD.format(torch=versions()["torch"], images=images) + "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "judge", "grids", "table"])
    parser.add_argument("row", nargs="?", choices=[*ROWS, SHIPPED])
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--images", type=float, default=math.inf)
    parser.add_argument("--scales", nargs="+", type=float, default=list(SCALES))
    options = parser.parse_args(arguments)
    if options.what in ("train", "judge") and not options.row:
        parser.error(f"{options.what} needs a row")
    if options.what == "train" and (options.row == SHIPPED or math.isinf(min(options.seconds, options.images))):
        parser.error("train needs one of the rows that can be trained, and --seconds or --images")
    if options.what == "train":
        train(options.row, options.seconds, options.images)
    elif options.what == "judge":
        judge(options.row, options.scales)
    elif options.what == "grids":
        grids()
    else:
        TABLE.write_text(table())


if __name__ == "__main__":
    main()
