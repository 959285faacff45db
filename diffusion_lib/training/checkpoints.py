"""Tensors and their story in one file: safetensors, with JSON in its header. Never pickle.

A file is written beside its place and moved in one step, so a kill leaves the old file or the new one. Weights to be
committed are kept small: where they are too large, they go to half precision.
"""

import errno
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffusion_lib.data import to_float
from diffusion_lib.diffusion import LabelledModel
from diffusion_lib.latents import Autoencoder
from diffusion_lib.metrics import DigitClassifier
from diffusion_lib.profiles import Profile
from diffusion_lib.schedules import NoiseSchedule, make_schedule
from diffusion_lib.training.history import History
from diffusion_lib.training.recipe import TARGETS
from diffusion_lib.unet import UNet

WEIGHTS = Path(__file__).parents[1] / "weights"
HEADER = "diffusion_lib"
SMALL_FILE = 16 * 2**20  # bytes; a repository should hold no larger one


class CheckpointError(RuntimeError):
    """A file that is not a usable checkpoint; the message says what it is and what to do."""


def save_tensors(path: Path, tensors: dict[str, Tensor], info: dict[str, Any]) -> None:
    """Write ``tensors`` and the JSON ``info`` to ``path`` in one atomic step."""
    from safetensors.torch import save_file

    path = Path(path)
    part = path.with_name(path.name + ".part")
    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(contiguous, part, metadata={HEADER: json.dumps(info)})
        os.replace(part, path)
    except Exception as error:  # safetensors reports a full disk as an error class of its own
        part.unlink(missing_ok=True)
        size = sum(t.numel() * t.element_size() for t in contiguous.values()) / 2**20
        raise OSError(
            getattr(error, "errno", None) or errno.EIO,
            f"could not write {path.name} ({size:.1f} MiB; {_free(path):.1f} MiB are free): {error}. "
            f"What was saved there before is intact. Free some space, or choose another folder, and run again",
        ) from error


def _free(path: Path) -> float:
    existing = next(p for p in [path.parent, *path.parent.parents] if p.exists())
    return shutil.disk_usage(existing).free / 2**20


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the JSON of a file that :func:`save_tensors` wrote."""
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no file {path}. Train first, or check the path.")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{path} ({path.stat().st_size:,} bytes) is cut short or no safetensors file ({error}). "
            "Delete it and run again to start afresh."
        ) from error
    if HEADER not in metadata:
        raise CheckpointError(f"{path} is a safetensors file that another program wrote. Check the path.")
    return tensors, json.loads(metadata[HEADER])


def load_into(module: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Copy ``tensors`` into ``module``; every name and shape must fit."""
    try:
        module.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path} holds another network than its header says: {error}") from error


def save_model(path: Path, model: nn.Module, profile: Profile, info: dict[str, Any]) -> None:
    """Write a network alone, for sampling: weights, the profile that shaped it, and ``info``."""
    save_tensors(path, dict(model.state_dict()), {"profile": profile.to_dict(), **info})


def save_small(path: Path, model: nn.Module, profile: Profile, info: dict[str, Any], limit: int = SMALL_FILE) -> None:
    """Write a network as :func:`save_model` does: in half precision where it would else be larger than ``limit``."""
    tensors = dict(model.state_dict())
    if sum(t.nbytes for t in tensors.values()) > limit:
        tensors = {name: t.half() if t.is_floating_point() else t for name, t in tensors.items()}
    save_tensors(path, tensors, {"profile": profile.to_dict(), **info})


@dataclass(frozen=True, eq=False)
class Pretrained:
    """A network ready to sample, the schedule it was trained with, and its card."""

    model: UNet
    schedule: NoiseSchedule
    profile: Profile
    card: dict[str, Any]

    @property
    def eps_model(self) -> LabelledModel:
        """The network as a predictor of noise, whatever it was taught: what ``generate`` takes."""
        return TARGETS[self.profile.train.target].eps_model(self.model, self.schedule)


def load_model(path: Path | str, device: torch.device | str = "cpu") -> Pretrained:
    """A network that :func:`save_model` or training wrote, in eval mode on ``device``."""
    tensors, info = load_tensors(Path(path))
    if "profile" not in info:
        raise CheckpointError(f"{path} holds no UNet. Check the path.")
    profile = Profile.from_dict(info["profile"])
    if any(name.startswith("ema.") for name in tensors):  # a training checkpoint: sample from the average
        tensors = {name.removeprefix("ema."): v for name, v in tensors.items() if name.startswith("ema.")}
    model = UNet(profile.unet)
    load_into(model, {name: tensor.float() for name, tensor in tensors.items()}, Path(path))
    model = model.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)
    return Pretrained(model, make_schedule(profile.schedule).to(device), profile, info)


def load_pretrained(name: str = "laptop", device: torch.device | str = "cpu") -> Pretrained:
    """The weights that ship with the library, trained on MNIST. No network is needed."""
    names = sorted({p.stem for p in WEIGHTS.glob("*.safetensors") if "." not in p.stem} - {"classifier", "autoencoder"})
    if name not in names:
        raise ValueError(f"no shipped weights {name!r}; choose one of {', '.join(names)}.")
    return load_model(WEIGHTS / f"{name}.safetensors", device)


def shipped_history(name: str = "laptop") -> History:
    """The history of the run that made the shipped weights ``name``."""
    return History.read(WEIGHTS / f"{name}.history.jsonl")


def shipped_quality(name: str = "laptop") -> dict[str, Any]:
    """What ``scripts/measure_quality.py`` measured on the shipped weights ``name``."""
    return json.loads((WEIGHTS / f"{name}.quality.json").read_text(encoding="utf-8"))


def load_snapshots(name: str = "laptop") -> dict[int, Tensor]:
    """Samples after several epochs of that run, from the same noise: {epoch: (80, 1, 28, 28) in [-1, 1]}.

    Labels run 0 ... 9, eight times over. Those of ``memorisation`` are no epochs but numbers of training digits:
    ten samples, the training digits nearest to them, and a second network's samples (``benchmarks/memorisation.py``).
    """
    tensors, _ = load_tensors(WEIGHTS / f"{name}.snapshots.safetensors")
    return {int(epoch): to_float(images) for epoch, images in sorted(tensors.items(), key=lambda item: int(item[0]))}


def load_autoencoder(device: torch.device | str = "cpu") -> Autoencoder:
    """The autoencoder of pages that ships with the library, in eval mode on ``device``; its ``scale`` is in it."""
    path = WEIGHTS / "autoencoder.safetensors"
    tensors, info = load_tensors(path)
    autoencoder = Autoencoder(info["channels"])
    load_into(autoencoder, {name: tensor.float() for name, tensor in tensors.items()}, path)
    return autoencoder.to(device).to(memory_format=torch.channels_last).eval().requires_grad_(False)


def load_classifier(device: torch.device | str = "cpu") -> DigitClassifier:
    """The digit classifier that ships with the library, in eval mode on ``device``."""
    path = WEIGHTS / "classifier.safetensors"
    tensors, _ = load_tensors(path)
    classifier = DigitClassifier()
    load_into(classifier, tensors, path)
    return classifier.to(device).eval().requires_grad_(False)
