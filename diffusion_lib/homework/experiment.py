"""The homework's experiment: trained and drawn by the student's own functions.

The trainer is the library's. Its loss is the student's ``ddpm_loss``, which draws its own t and noise; digits are
drawn by the student's ``p_sample`` in all T steps, and as many by the fast sampler. Where only ``p_sample`` is wrong,
the fast sampler's rows stay good. Three digits of each label show what one cannot: digits that are all alike.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lib.data import Digits, load_digits
from diffusion_lib.homework.checks import current
from diffusion_lib.homework.digests import digest
from diffusion_lib.homework.exercises import find, get, tree
from diffusion_lib.homework.finding import definitions, load_source, parsed, stub_line
from diffusion_lib.profiles import Profile, get_profile
from diffusion_lib.samplers import denoiser, generate, last, sample_ddpm
from diffusion_lib.schedules import NoiseSchedule, make_schedule
from diffusion_lib.shapes import Images, Labels
from diffusion_lib.training.checkpoints import load_model
from diffusion_lib.training.loop import Trained, Trainer, default_device, fit
from diffusion_lib.training.recipe import Loss
from diffusion_lib.training.runs import Recorder

TRAINING, DRAWING = ("q_sample", "ddpm_loss"), "p_sample"
RECIPES = ("minutes", "tiny", "laptop", "full")
ROWS = 3  # of ten digits, by each of the two samplers: one digit of a label cannot show that all are alike


def recipe(name: str) -> Profile:
    """The experiment called ``name``; "minutes" is ``laptop`` for 230,400 digits, five minutes at 769 a second.

    Every level is drawn equally often, as Algorithm 1 says: the drawing is the student's.
    """
    if name not in RECIPES:
        raise ValueError(f"there is no recipe {name!r}; choose one of {', '.join(RECIPES)}.")
    profile = get_profile("laptop" if name == "minutes" else name)
    train = replace(profile.train, timestep_sampling="uniform")
    if name != "minutes":
        return replace(profile, train=train)
    train = replace(train, epochs=4, max_images=57_600, snapshot_epochs=(1, 2, 3, 4))
    return replace(profile, name=name, train=train, guidance_scale=1.5)


def place(name: str) -> Path:
    """The folder of the experiment called ``name``: experiment/NAME beside ``diffusion_lib``."""
    return tree() / "experiment" / name


def own_draws(loss: Loss) -> Loss:
    """``loss`` as the trainer calls it, but drawing t and noise itself while the network is in training mode.

    The held-out loss is measured in eval mode and hands over its own: only so can two epochs be compared.
    """

    def drawn(
        model: Any, schedule: NoiseSchedule, x_start: Images, label: Labels, *, t: Any = None, noise: Any = None
    ) -> Tensor:
        given = {} if model.training else {"t": t, "noise": noise}
        return loss(model, schedule, x_start, label, **given)

    return drawn


@dataclass(frozen=True)
class Code:
    """The student's functions, read from their files a moment ago, and their digests."""

    functions: dict[str, Callable[..., Any]]
    digests: dict[str, str]

    @classmethod
    def read(cls) -> "Code":
        """Read all three; raises ValueError where one is not written yet."""
        functions, digests = {}, {}
        for name in (*TRAINING, DRAWING):
            exercise, path = get(name), current(get(name))
            source = path.read_text(encoding="utf-8")
            defined = definitions(parsed(source), exercise.attribute)
            if defined and stub_line(defined[-1]):
                raise ValueError(f"{name} is not written yet. Write it in {exercise.path}; the experiment runs it.")
            functions[name] = find(load_source(path, exercise.module), exercise.attribute)
            digests[name] = digest(source, exercise.attribute)
        return cls(functions, digests)


@dataclass
class Keeper(Recorder):
    """The recorder of a run, with grids that the student's ``p_sample`` draws, and a note of the code they are by."""

    code: Code = field(kw_only=True)

    def write_grid(self, trainer: Trainer) -> None:
        """The grid after an epoch."""
        self.draw(trainer.ema, trainer.schedule, trainer.epoch)

    def draw(self, model: nn.Module, schedule: NoiseSchedule, epoch: int) -> None:
        """Top rows: digits of each label by ``p_sample``, all T steps. Below: as many, by the fast sampler."""
        from diffusion_lib.showing.viz import image_grid

        device = next(model.parameters()).device
        steps, scale = self.profile.sample_steps, self.profile.guidance_scale
        slow = own_steps(model, schedule, self.code.functions[DRAWING], scale)
        label = torch.arange(10, device=device).repeat(ROWS)
        fast = generate(model, schedule, label, steps, guidance_scale=scale)
        rows = [f"p_sample,\n{len(schedule)} steps"] * ROWS + [f"fast,\n{steps} steps"] * ROWS
        alt = f"Digits 0 to 9 after epoch {epoch}. Top {ROWS} rows: your p_sample, all steps. Below: the fast sampler."
        images = torch.cat([slow, fast]).cpu().nan_to_num(0.0).clamp(-1, 1)
        name = f"samples_epoch_{epoch}.png"
        titles = [str(digit) for digit in range(10)]
        (self.folder / name).write_bytes(image_grid(images, alt, columns=10, titles=titles, row_titles=rows).png())
        note = read_note(self.folder)
        note["grids"][name] = self.code.digests[DRAWING]
        write_note(self.folder, note)


def own_steps(model: Any, schedule: NoiseSchedule, step: Callable[..., Tensor], scale: float) -> Images:
    """``ROWS`` digits of each label by Algorithm 2, all T steps, each made by ``step``; the same noise every time."""
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(10, device=device).repeat(ROWS)
    x_T = torch.randn((len(label), *model.image_shape), generator=generator).to(device)
    eps_model = denoiser(model, schedule, label, scale)
    return last(sample_ddpm(eps_model, schedule, x_T, generator=generator, step=step))


def read_note(folder: Path) -> dict[str, Any]:
    """``code.json``: the digests of the functions that trained, and of those that drew each grid."""
    path = folder / "code.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"functions": {}, "grids": {}}


def write_note(folder: Path, note: dict[str, Any]) -> None:
    """Write ``code.json``: a reader sees the old file or the new one."""
    part = folder / "code.json.part"
    part.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
    part.replace(folder / "code.json")


def changed(note: dict[str, Any], digests: dict[str, str]) -> list[str]:
    """Which functions are not those that the run of this ``code.json`` was trained, or its grids drawn, with."""
    names = [name for name in TRAINING if note["functions"].get(name) not in (None, digests[name])]
    return names + [DRAWING] * any(drawn != digests[DRAWING] for drawn in note["grids"].values())


def remarks(top: Path) -> list[str]:
    """What a student should know of the runs under ``top``/experiment before handing in."""
    runs = sorted(path.parent for path in top.glob("experiment/*/code.json"))
    if not runs:
        return ["experiment: no run yet. Start it: make experiment"]
    try:
        digests = Code.read().digests
    except (ValueError, OSError, SyntaxError) as error:
        return [f"experiment: {error}"]
    told = {run.name: changed(read_note(run), digests) for run in runs}
    return [
        f"experiment: the run {name} is of other code, {', '.join(names)} changed since. {_what_to_do(names)}"
        for name, names in told.items()
        if names
    ]


def _what_to_do(names: list[str]) -> str:
    if names == [DRAWING]:
        return "Run it again: it draws the grids again, and trains nothing."
    return "Delete its folder and start again."


def experiment(
    name: str = "minutes",
    *,
    folder: Path | None = None,
    device: torch.device | str | None = None,
    digits: tuple[Digits, Digits] | None = None,
    progress: bool = True,
) -> Trained:
    """Train by the recipe ``name`` with the student's functions, or continue; draw what is not drawn yet.

    All lands in ``folder``, by default experiment/NAME beside ``diffusion_lib``: history.jsonl, card.json, code.json, a
    grid after each stage, and checkpoints. Raises ValueError where a function is not written, or where the run that is
    there was trained with other code.
    """
    profile, code = recipe(name), Code.read()
    folder = folder or place(name)
    if other := [n for n in changed(read_note(folder), code.digests) if n in TRAINING]:
        raise ValueError(
            f"{', '.join(other)} changed since the run in {folder} began, so its weights are of other code. "
            "Rename or delete that folder and start again."
        )
    train, test = digits or (load_digits("train"), load_digits("test"))
    keeper = Keeper(folder, profile, code=code)
    write_note(folder, read_note(folder) | {"functions": {n: code.digests[n] for n in TRAINING}})
    loss = own_draws(code.functions["ddpm_loss"])
    run = fit(profile, train, test, loss=loss, run_dir=folder, device=device, on_epoch=keeper, progress=progress)
    _draw_again(keeper, device)
    return run


def _draw_again(keeper: Keeper, device: torch.device | str | None) -> None:
    """The grids that are missing, or were drawn by another ``p_sample``, from the weights kept after each stage."""
    schedule = make_schedule(keeper.profile.schedule).to(device or default_device())
    for epoch in keeper.profile.train.snapshot_epochs:
        weights, name = keeper.folder / f"epoch_{epoch}.safetensors", f"samples_epoch_{epoch}.png"
        if weights.exists() and read_note(keeper.folder)["grids"].get(name) != keeper.code.digests[DRAWING]:
            print(f"drawing the grid of epoch {epoch}", flush=True)
            keeper.draw(load_model(weights, device or default_device()).model, schedule, epoch)
