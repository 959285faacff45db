"""Recorded answers: what is expected, and the fingerprints of known mistakes, as plain numbers.

An observation becomes one vector, case after case; a case that raised, or answered in the wrong shape, is not-a-
number throughout. A record is a few matrices of such vectors, so a student's copy holds no code of an answer.
"""

import json
from dataclasses import dataclass
from functools import cache, cached_property
from math import prod
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from diffusion_lib.homework.probing import DREW, Observation

RECORD_FILE = Path(__file__).with_name("record.safetensors")


def spans(lengths: list[int]) -> list[slice]:
    """Where parts of these lengths lie, one after another."""
    ends = torch.tensor(lengths).cumsum(0).tolist()
    return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]


@dataclass(frozen=True)
class Entry:
    """One exercise's part of a record."""

    cases: list[str]
    shapes: list[tuple[int, ...]]
    accepted: Tensor  # (variants, D)
    mistakes: list[dict[str, str]]  # name, hint, reread
    singles: Tensor  # (ways to make one mistake, D)
    single_names: list[int]  # of each row the mistake
    pairs: Tensor  # (ways to make two, entries that thin keeps)
    pair_names: list[tuple[int, int]]
    key: int = 0  # of the questions: which numbers were asked

    @cached_property
    def slices(self) -> list[slice]:
        """Where each case lies in a vector."""
        return spans([prod(shape) for shape in self.shapes])

    @cached_property
    def kept(self) -> list[Tensor]:
        """Of each case the entries, counted in the whole vector, by which two mistakes at once are told.

        Every fifth of a large case: images of 24 pixels are met at other places each, and a record stays small.
        """
        return [torch.arange(p.start, p.stop, 5 if p.stop - p.start > 30 else 1) for p in self.slices]

    def thin(self, vector: Tensor) -> Tensor:
        """The entries of a vector that ``pairs`` holds."""
        return vector[torch.cat(self.kept)]

    def part(self, case: str) -> slice:
        """Where one case lies in a vector."""
        return self.slices[self.cases.index(case)]

    def flatten(self, seen: Observation) -> Tensor:
        """An observation as one vector of this entry's layout."""
        parts = []
        for case, shape in zip(self.cases, self.shapes, strict=True):
            value = seen.values.get(case)
            usable = value is not None and tuple(value.shape) == shape
            parts.append(value.flatten() if usable and value is not None else torch.full((prod(shape),), torch.nan))
        return torch.cat([part.double() for part in parts])

    def draws(self, vector: Tensor) -> bool:
        """Did the function draw random numbers of its own?"""
        return DREW in self.cases and bool(vector[self.part(DREW)][2] == 1)

    def steady(self, vector: Tensor) -> list[bool]:
        """Which cases say the same every time: all, or the traces alone where the function draws by itself."""
        random = self.draws(vector)
        return [not random or case.startswith("T") for case in self.cases]


Record = dict[str, Entry]  # by exercise


def write_record(path: Path, record: Record) -> None:
    """Write a record as safetensors: numbers, and the mistakes' names and hints."""
    tensors, info = {}, {}
    for name, entry in record.items():
        tensors[f"{name}.accepted"] = entry.accepted
        tensors[f"{name}.singles"] = entry.singles.float()
        tensors[f"{name}.pairs"] = entry.pairs.float()
        info[name] = {
            "cases": entry.cases,
            "shapes": entry.shapes,
            "mistakes": entry.mistakes,
            "single_names": entry.single_names,
            "pair_names": entry.pair_names,
            "key": entry.key,
        }
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, {"info": json.dumps(info)})


def read_record(path: Path) -> Record:
    """Read what :func:`write_record` wrote."""
    with safe_open(path, framework="pt") as file:
        info = json.loads(file.metadata()["info"])
        tensors = {key: file.get_tensor(key).double() for key in file.keys()}  # noqa: SIM118
    return {
        name: Entry(
            cases=entry["cases"],
            shapes=[tuple(shape) for shape in entry["shapes"]],
            accepted=tensors[f"{name}.accepted"],
            mistakes=entry["mistakes"],
            singles=tensors[f"{name}.singles"],
            single_names=entry["single_names"],
            pairs=tensors[f"{name}.pairs"],
            pair_names=[tuple(pair) for pair in entry["pair_names"]],
            key=entry.get("key", 0),
        )
        for name, entry in info.items()
    }  # fmt: skip


@cache
def shipped_record() -> Record:
    """The record that lies beside this file."""
    if not RECORD_FILE.exists():
        raise FileNotFoundError(f"{RECORD_FILE} is missing: unpack the homework again, or check the file out again.")
    return read_record(RECORD_FILE)
