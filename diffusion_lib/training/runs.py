"""What a run leaves beside its weights: sample grids after named epochs, and a card that says how it was made."""

import json
import platform
import subprocess
import sys
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

import torch

from diffusion_lib.profiles import Profile
from diffusion_lib.samplers import generate
from diffusion_lib.training.history import History
from diffusion_lib.training.loop import Trainer


def versions() -> dict[str, str]:
    """The versions that a result depends on."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("torch", "torchvision", "numpy")}}


def commit() -> str | None:
    """The commit of the code, with "+" where files differ from it; None outside a git checkout of this code.

    A package installed inside another project's checkout is none of that project's files.
    """
    asked = (
        ["ls-files", "--error-unmatch", Path(__file__).name],
        ["rev-parse", "--short", "HEAD"],
        ["status", "--porcelain", "--untracked-files=no"],
    )
    here = Path(__file__).parent
    try:
        _, name, dirty = (
            subprocess.run(["git", *args], cwd=here, capture_output=True, text=True, check=True).stdout.strip()
            for args in asked
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return name + ("+" if dirty else "")


def command() -> str:
    """How this process was started, as one would type it; a notebook's kernel is started by nobody."""
    started, *arguments = sys.argv
    return "from a notebook" if "ipykernel" in started else " ".join(["python -m diffusion_lib", *arguments])


def device_name(device: torch.device) -> str:
    """The card's name, or the processor kind and the number of threads used."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.machine()} CPU, {torch.get_num_threads()} threads" if device.type == "cpu" else str(device)


def timing(epochs: list[dict[str, Any]]) -> dict[str, float]:
    """Epochs times the median epoch, and its images a second: a laptop that slept in between does not count."""
    seconds, speed = (median(e[key] for e in epochs) for key in ("seconds", "images_per_second"))
    return {"training_seconds": round(len(epochs) * seconds, 1), "images_per_second": round(speed)}


@dataclass
class Recorder:
    """Called by ``fit`` after each epoch: writes the card, and a sample grid after the named epochs."""

    folder: Path
    profile: Profile
    tensorboard: bool = False
    _writer: Any = field(default=None, init=False)
    _commit: str | None = field(default_factory=commit, init=False)  # of the code that runs, not of a later checkout

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ValueError("--tensorboard needs the package: pip install tensorboard") from error
            self._writer = SummaryWriter(str(self.folder))

    def __call__(self, trainer: Trainer) -> None:
        """Record the epoch that has just ended."""
        epochs = History.read(self.folder / "history.jsonl").epochs
        self.write_card(trainer, epochs)
        if self._writer:
            for name in ("train_loss", "held_out_loss", "images_per_second"):
                self._writer.add_scalar(name, epochs[-1][name], trainer.epoch)
            self._writer.flush()
        if trainer.epoch in trainer.config.snapshot_epochs:
            self.write_grid(trainer)

    def write_card(self, trainer: Trainer, epochs: list[dict[str, Any]]) -> None:
        """``card.json``: what was trained, on what, with what, how long, how well."""
        card = {
            "command": command(),
            "commit": self._commit,
            "data": trainer.train_digits.source,
            "images": len(trainer.train_digits),
            "device": device_name(trainer.device),
            "parameters": sum(p.numel() for p in trainer.model.parameters()),
            "epochs": trainer.epoch,
            **timing(epochs),
            "train_loss": epochs[-1]["train_loss"],
            "held_out_loss": epochs[-1]["held_out_loss"],
            "versions": versions(),
            "profile": self.profile.to_dict(),
        }
        (self.folder / "card.json").write_text(json.dumps(card, indent=2) + "\n")

    def write_grid(self, trainer: Trainer) -> None:
        """Eight images of each label from the averaged weights, the same noise after every epoch."""
        from diffusion_lib.showing.viz import sample_grid

        data = self.profile.data
        label = torch.arange(data.num_classes).repeat(8).to(trainer.device)
        steps, scale = self.profile.sample_steps, self.profile.guidance_scale
        shape = (data.channels, *data.size)
        images = generate(trainer.eps_model, trainer.schedule, label, steps, guidance_scale=scale, shape=shape)
        grid = sample_grid(images.cpu(), label.cpu(), f"epoch {trainer.epoch}", data)
        (self.folder / f"samples_epoch_{trainer.epoch}.png").write_bytes(grid.png())
