"""Commands: python -m diffusion_lib train | sample | evaluate | figures | serve-data | homework."""

import importlib.util
import json
import runpy
import sys
import time
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from diffusion_lib.homework.commands import app as homework_app

app = typer.Typer(
    help="Train, sample and judge a label-conditional diffusion model of handwritten digits, or of other images.",
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
DATA = "mnist, fashion-mnist, kmnist, emnist-letters, or folder:PATH, a folder of one sub-folder for each class"


def _fail(message: object) -> NoReturn:
    typer.echo(f"Error: {message}", err=True)
    raise typer.Exit(2)


def _device(name: str | None) -> Any:
    """The device of that name, if it can be used here."""
    import torch

    from diffusion_lib.training.loop import default_device

    if name and name.split(":")[0] not in ("cpu", "cuda", "mps"):
        _fail(f"there is no device {name!r}; choose cpu, cuda or mps.")
    try:
        device = torch.device(name) if name else default_device()
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        _fail(f"the device {name!r} cannot be used here ({str(error).splitlines()[0].split('. ')[0]}); choose another.")
    return device


def _load(weights: str, device: str | None) -> Any:
    """Shipped weights by name, or a file of the user's, on ``device``."""
    from diffusion_lib.training.checkpoints import CheckpointError, load_model, load_pretrained

    target = _device(device)
    try:
        looks_like_path = weights.endswith(".safetensors") or "/" in weights
        trained = load_model(weights, target) if looks_like_path else load_pretrained(weights, target)
    except (CheckpointError, ValueError, RuntimeError) as error:
        _fail(error)
    if trained.profile.unet.prompt_words:
        _fail(f"{weights} draws pages from prompts, and this command knows labels alone: see notebook 09.")
    if "levels" in trained.card:
        _fail(f"{weights} names where a path ends, which no step of DDIM asks: draw with consistency.sample_ends.")
    return trained


def _generate(trained: Any, per_label: int, steps: int, scale: float, seed: int) -> tuple[Any, Any]:
    """That many images of each label, and the labels."""
    import torch

    from diffusion_lib.samplers import generate

    device = next(trained.model.parameters()).device
    label = torch.arange(trained.profile.data.num_classes, device=device).repeat(per_label)
    try:
        shape = trained.model.image_shape
        return generate(
            trained.eps_model, trained.schedule, label, steps, guidance_scale=scale, seed=seed, shape=shape
        ), label
    except ValueError as error:
        _fail(error)


def _data(name: str, size: str | None, device: Any = "cpu") -> Any:
    """Training and test images of ``--data`` and ``--size``."""
    from diffusion_lib.data import load_data, parse_size

    try:
        return load_data(name, device, size=parse_size(size) if size else None)
    except (OSError, RuntimeError, ValueError) as error:
        _fail(error)


def _judge(trained: Any, name: str | None) -> tuple[Any, float]:
    """What judges samples of these weights, beside images of ``name`` or of their own data; and its accuracy."""
    from diffusion_lib.metrics import Judge
    from diffusion_lib.training.classifier import classifier_for

    drawn, device = trained.profile.data, next(trained.model.parameters()).device
    name = name or drawn.name
    real, test = _data(name, "x".join(map(str, drawn.size)) if name.startswith("folder:") else None, device)
    if (real.config.channels, real.config.class_names) != (drawn.channels, drawn.class_names):
        drawn, there = (f"{d.channels} of {', '.join(d.class_names)}" for d in (drawn, real.config))
        _fail(f"these weights draw images of channels {drawn}, but {name} has {there}; name their own with --data.")
    try:
        classifier, accuracy = classifier_for(real, test, lambda told: typer.echo(told, err=True))
        return Judge(classifier, test=test, train=real), accuracy
    except ValueError as error:
        _fail(error)


def _profile(name: str) -> Any:
    """The profile called ``name``, of a network that this program can train."""
    from diffusion_lib.profiles import get_profile

    try:
        chosen = get_profile(name)
    except ValueError as error:
        _fail(error)
    if chosen.unet.prompt_words:
        _fail(f"profile {name} learns pages from prompts: python scripts/words.py {name}")
    return chosen


def _run_folder(profile: str, data: str) -> Path:
    """Where a run lies if nobody says: runs/laptop, runs/laptop-fashion-mnist, runs/laptop-pets."""
    named = "" if data == "mnist" else "-" + Path(data.removeprefix("folder:")).expanduser().resolve().name
    return Path("runs") / (profile + named)


@app.command()
def train(
    profile: Annotated[str, typer.Option(help="tiny, laptop, sprint, full or flow.")] = "laptop",
    data: Annotated[str, typer.Option(help=f"What to learn: {DATA}.")] = "mnist",
    size: Annotated[str | None, typer.Option(help="Side of a folder's images, or HEIGHTxWIDTH; by default 32.")] = None,
    run_dir: Annotated[Path | None, typer.Option(help="Folder of the run; by default runs/PROFILE[-DATA].")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Train this long instead of the profile's epochs.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of the weights and of every draw.")] = None,
    tensorboard: Annotated[bool, typer.Option(help="Also write TensorBoard events into the run's folder.")] = False,
    device: Device = None,
) -> None:
    """Train a profile's network, or continue the run that is in its folder."""
    from dataclasses import replace

    from diffusion_lib.training.checkpoints import CheckpointError
    from diffusion_lib.training.loop import fit
    from diffusion_lib.training.runs import Recorder

    changes: dict[str, Any] = {k: v for k, v in {"epochs": epochs, "seed": seed}.items() if v is not None}
    target = _device(device)
    chosen = _profile(profile)
    images, test = _data(data, size)
    folder = run_dir or _run_folder(profile, data)
    changes["batch_size"] = min(chosen.train.batch_size, len(images))  # a small folder is one batch
    try:
        chosen = replace(chosen, train=replace(chosen.train, **changes)).with_data(images.config)
        recorder = Recorder(folder, chosen, tensorboard=tensorboard)
        fit(chosen, images, test, run_dir=folder, device=target, on_epoch=recorder)
    except (CheckpointError, OSError, ValueError, FloatingPointError) as error:
        _fail(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    typer.echo(f"Trained on {images.source}. Weights, history and sample grids are in {folder}.")


@app.command()
def sample(
    out: Annotated[Path, typer.Option(help="FILE.npz for arrays, FILE.png for a labelled grid.")],
    per_label: Annotated[int, typer.Option(min=1, help="Images of each label.")] = 10,
    steps: Steps = 50,
    scale: Scale = None,
    seed: Seed = 0,
    weights: Weights = "laptop",
    device: Device = None,
) -> None:
    """Draw images: N of each label. The .npz holds images (B, C, H, W) in [-1, 1] and labels (B,)."""
    if out.suffix not in (".npz", ".png"):
        _fail(f"--out must end in .npz or .png, but is {out}.")
    trained = _load(weights, device)
    scale = trained.profile.guidance_scale if scale is None else scale
    start = time.perf_counter()
    images, label = (tensor.cpu() for tensor in _generate(trained, per_label, steps, scale, seed))
    seconds = time.perf_counter() - start
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".npz":
        import numpy as np

        np.savez_compressed(out, images=images.numpy(), labels=label.numpy())
    else:
        from diffusion_lib.showing.viz import sample_grid

        out.write_bytes(sample_grid(images, label, data=trained.profile.data).png())
    what = "digits" if trained.profile.data.name == "mnist" else "images"
    typer.echo(f"{len(images)} {what} in {seconds:.1f} s, written to {out}.")


@app.command()
def evaluate(
    per_label: Annotated[int, typer.Option(min=2, help="Images of each label.")] = 100,
    steps: Steps = 50,
    scale: Scale = None,
    seed: Seed = 0,
    weights: Weights = "laptop",
    data: Annotated[
        str | None, typer.Option(help=f"What to judge by, by default what the weights were trained on: {DATA}.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of the table.")] = False,
    device: Device = None,
) -> None:
    """Judge samples: agreement, spread, Fréchet distance, nearest neighbour; each beside real images'."""
    from dataclasses import asdict

    from diffusion_lib.metrics import table

    trained = _load(weights, device)
    judge, accuracy = _judge(trained, data)
    scale = trained.profile.guidance_scale if scale is None else scale
    images, label = _generate(trained, per_label, steps, scale, seed)
    floor = "real digits" if trained.profile.data.name == "mnist" else "real images"
    rows = {floor: judge.floor(len(label)), f"{Path(weights).stem}, {steps} steps": judge.score(images, label)}
    if as_json:
        settings = {"weights": weights, "steps": steps, "scale": scale, "seed": seed, "data": judge.test.source}
        settings |= {"classifier_accuracy": accuracy}
        typer.echo(json.dumps({**settings, "rows": {k: asdict(v) for k, v in rows.items()}}, indent=2))
    else:
        typer.echo(f"{table(rows)}\nData: {judge.test.source}. Guidance scale: {scale:g}.")
        typer.echo(f"The classifier is right on {accuracy:.1%} of test images.")


@app.command()
def figures(
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("figures"),
    only: Annotated[list[str] | None, typer.Option(help="Names of the figures to draw; by default all.")] = None,
) -> None:
    """Draw the figures of the README from the shipped weights: scripts/figures.py of the repository."""
    script = Path(__file__).parents[1] / "scripts" / "figures.py"
    if not script.exists():
        _fail("the figures are drawn by scripts/figures.py of the repository, which is not here. Run it from a clone.")
    drawn = runpy.run_path(str(script))
    unknown = set(only or []) - set(drawn["FIGURES"])
    if unknown:
        _fail(f"unknown figure {', '.join(sorted(unknown))}; choose from {', '.join(drawn['FIGURES'])}.")
    for path in drawn["draw"](out, only):
        typer.echo(path)


@app.command()
def serve_data(
    host: Annotated[str | None, typer.Option(help="The address of this machine to answer on; by default all.")] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
) -> None:
    """Give MNIST to a class from this machine, until Ctrl-C: its four files, and nothing else."""
    from diffusion_lib.datasets import data_root
    from diffusion_lib.serving import own_address, packed_files, server

    try:
        serving = server(packed_files(data_root()), host or "", port, typer.echo)
    except (OSError, RuntimeError) as error:
        _fail(error)
    typer.echo("Whoever can reach this machine takes MNIST from it, once this is set before the first run:")
    typer.echo(f"DIFFUSION_MNIST_MIRROR=http://{host or own_address()}:{serving.server_port}")
    try:
        serving.serve_forever()
    except KeyboardInterrupt:
        serving.server_close()


if __name__ == "__main__":
    sys.exit(app(prog_name="python -m diffusion_lib"))
