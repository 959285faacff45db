"""Continuing a run: is the checkpoint one of this run, and how its optimiser's state is laid out."""

from typing import Any

import torch
from torch import Tensor

from diffusion_lib.data import Digits
from diffusion_lib.profiles import Profile, current_names

MAY_CHANGE = {"train.epochs", "train.snapshot_epochs"}  # between two sittings of one run


def difference(profile: Profile, images: Digits, info: dict[str, Any]) -> str:
    """How the run of a checkpoint, told by its ``info``, differs from this one, in words; empty where it does not.

    A run may go on for more epochs than it was started for, or with snapshots of others: see ``MAY_CHANGE``.
    """
    if "num_averaged" not in info:
        return "it holds no training state"
    ours, theirs = profile.to_dict(), current_names(info["profile"])
    default = Profile("").to_dict()  # what a file means that was written before a setting existed
    found = [
        f"{section}.{key} was {was!r} and is now {value!r}"
        for section in ("unet", "schedule", "train")
        for key, value in ours[section].items()
        if (was := theirs[section].get(key, default[section][key])) != value and f"{section}.{key}" not in MAY_CHANGE
    ]
    gone = theirs["train"].keys() - ours["train"].keys()
    found += [f"train.{key} was {theirs['train'][key]!r} and no longer exists" for key in sorted(gone)]
    if info["data"] != images.source:
        found.append(f"its data was {info['data']} and is now {images.source}")
    elif info.get("images", images.digest) != images.digest:
        found.append(f"its images, {info['data']} by name as well, are not the same images")
    return "; ".join(found)


def optimizer_states(tensors: dict[str, Tensor], weights: list[Tensor]) -> dict[int, dict[str, Tensor]]:
    """An optimiser's state from tensors named "INDEX.NAME", for ``load_state_dict``.

    The fused optimiser walks raw memory, so its state must be laid out as the weight is.
    """
    states: dict[int, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        i, _, name = key.partition(".")
        weight = weights[int(i)]
        laid_out = torch.empty_like(weight).copy_(tensor) if tensor.shape == weight.shape else tensor
        states.setdefault(int(i), {})[name] = laid_out
    return states
