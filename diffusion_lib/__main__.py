"""Commands: python -m diffusion_lib train | sample | evaluate | figures | homework."""

import importlib.util
import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from diffusion_lib.homework.commands import app as homework_app

app = typer.Typer(
    help="Train, sample and judge a label-conditional diffusion model of handwritten digits.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(homework_app, name="homework")
teachers = importlib.util.find_spec("grader")
if teachers and Path(teachers.origin or "") == Path(__file__).parents[1] / "grader" / "__init__.py":
    from grader.commands import enter  # it lies beside this package: not so in a student's copy

    enter(homework_app)

Weights = Annotated[str, typer.Option(help="Name of shipped weights, or a .safetensors file of your own.")]
Steps = Annotated[int, typer.Option(min=1, help="DDIM steps for each image.")]
Scale = Annotated[
    float | None, typer.Option(min=0, help="Guidance: 1 is the plain model, above 1 follows the label more closely.")
]
Seed = Annotated[int, typer.Option(help="Seed of the starting noise.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda or mps; by default the fastest there is.")]


def _fail(message: object) -> NoReturn:
    typer.echo(f"Error: {message}", err=True)
    raise typer.Exit(2)


def _load(weights: str, device: str | None) -> Any:
    """Shipped weights by name, or a file of the user's, on ``device``."""
    import torch

    from diffusion_lib.checkpoints import CheckpointError, load_model, load_pretrained
    from diffusion_lib.training import default_device

    try:
        target = torch.device(device) if device else default_device()
        looks_like_path = weights.endswith(".safetensors") or "/" in weights
        return load_model(weights, target) if looks_like_path else load_pretrained(weights, target)
    except (CheckpointError, ValueError, RuntimeError, AssertionError) as error:
        _fail(error)


def _labels(per_label: int, device: Any) -> Any:
    import torch

    return torch.arange(10).repeat(per_label).to(device)


@app.command()
def train(
    profile: Annotated[str, typer.Option(help="tiny, laptop or full.")] = "laptop",
    run_dir: Annotated[Path | None, typer.Option(help="Folder of the run; by default runs/PROFILE.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Train this long instead of the profile's epochs.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the weights and of every draw.")] = None,
    tensorboard: Annotated[bool, typer.Option(help="Also write TensorBoard events into the run's folder.")] = False,
    device: Device = None,
) -> None:
    """Train a profile's network, or continue the run that is in its folder."""
    from dataclasses import replace

    from diffusion_lib.checkpoints import CheckpointError
    from diffusion_lib.data import load_digits
    from diffusion_lib.profiles import get_profile
    from diffusion_lib.runs import Recorder
    from diffusion_lib.training import fit

    try:
        chosen = get_profile(profile)
    except ValueError as error:
        _fail(error)
    changes: dict[str, Any] = {k: v for k, v in {"epochs": epochs, "seed": seed}.items() if v is not None}
    chosen = replace(chosen, train=replace(chosen.train, **changes))
    folder = run_dir or Path("runs") / profile
    try:
        digits, test = load_digits("train"), load_digits("test")
        recorder = Recorder(folder, chosen, tensorboard=tensorboard)
        fit(chosen, digits, test, run_dir=folder, device=device, on_epoch=recorder)
    except (CheckpointError, OSError, ValueError, FloatingPointError) as error:
        _fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    typer.echo(f"Trained on {digits.source}. Weights, history and sample grids are in {folder}.")


@app.command()
def sample(
    out: Annotated[Path, typer.Option(help="FILE.npz for arrays, FILE.png for a labelled grid.")],
    per_label: Annotated[int, typer.Option(min=1, help="Images of each digit.")] = 10,
    steps: Steps = 50,
    scale: Scale = None,
    seed: Seed = 0,
    weights: Weights = "laptop",
    device: Device = None,
) -> None:
    """Draw digits: N of each label. The .npz holds images (10 N, 1, 28, 28) in [-1, 1] and labels (10 N,)."""
    from diffusion_lib.samplers import generate

    if out.suffix not in (".npz", ".png"):
        _fail(f"--out must end in .npz or .png, but is {out}.")
    trained = _load(weights, device)
    label = _labels(per_label, next(trained.model.parameters()).device)
    scale = trained.profile.sample_scale if scale is None else scale
    start = time.perf_counter()
    try:
        images = generate(trained.model, trained.schedule, label, steps, scale=scale, seed=seed).cpu()
    except ValueError as error:
        _fail(error)
    seconds = time.perf_counter() - start
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".npz":
        import numpy as np

        np.savez_compressed(out, images=images.numpy(), labels=label.cpu().numpy())
    else:
        from diffusion_lib.viz import sample_grid

        out.write_bytes(sample_grid(images, label.cpu()).png())
    typer.echo(f"{len(images)} digits in {seconds:.1f} s, written to {out}.")


@app.command()
def evaluate(
    per_label: Annotated[int, typer.Option(min=2, help="Images of each digit.")] = 100,
    steps: Steps = 50,
    scale: Scale = None,
    seed: Seed = 0,
    weights: Weights = "laptop",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    device: Device = None,
) -> None:
    """Judge samples: agreement, spread, Fréchet distance, nearest neighbour; each beside real digits'."""
    from dataclasses import asdict

    from diffusion_lib.checkpoints import load_classifier
    from diffusion_lib.data import load_digits
    from diffusion_lib.metrics import Judge, table
    from diffusion_lib.samplers import generate

    trained = _load(weights, device)
    target = next(trained.model.parameters()).device
    digits, test = load_digits("train", target), load_digits("test", target)
    label = _labels(per_label, target)
    scale = trained.profile.sample_scale if scale is None else scale
    try:
        images = generate(trained.model, trained.schedule, label, steps, scale=scale, seed=seed)
    except ValueError as error:
        _fail(error)
    judge = Judge(load_classifier(target), test=test, train=digits)
    rows = {"real digits": judge.floor(len(label)), f"{Path(weights).stem}, {steps} steps": judge.score(images, label)}
    if as_json:
        settings = {"weights": weights, "steps": steps, "scale": scale, "seed": seed, "data": digits.source}
        typer.echo(json.dumps({**settings, "rows": {k: asdict(v) for k, v in rows.items()}}, indent=2))
    else:
        typer.echo(f"{table(rows)}\nData: {digits.source}. Guidance scale: {scale:g}.")


@app.command()
def figures(
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("figures"),
    only: Annotated[list[str] | None, typer.Option(help="Names of the figures to draw; by default all.")] = None,
) -> None:
    """Draw the figures of the README from the shipped weights."""
    from diffusion_lib.figures import FIGURES, VECTOR

    unknown = set(only or []) - set(FIGURES)
    if unknown:
        _fail(f"unknown figure {', '.join(sorted(unknown))}; choose from {', '.join(FIGURES)}.")
    out.mkdir(parents=True, exist_ok=True)
    for name in only or FIGURES:
        path = out / f"{name}.{'svg' if name in VECTOR else 'png'}"
        picture = FIGURES[name]()
        path.write_bytes(picture.svg() if name in VECTOR else picture.png(dpi=150))
        typer.echo(path)


if __name__ == "__main__":
    sys.exit(app(prog_name="python -m diffusion_lib"))
