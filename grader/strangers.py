"""How often a mistake is named, and how often wrongly, in code that was not derived from the catalogue."""

import math
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from diffusion_lib import diffusion
from diffusion_lib.homework.checks import judge
from diffusion_lib.homework.exercises import get
from diffusion_lib.homework.probes import observe
from grader import selftest
from grader.recording import kept_record

HEADS = "wrong hand-ins | caught | mistake in the catalogue | named right | told by evidence alone | named wrongly"
FILE = Path(__file__).parent / "catalogue" / "strangers.toml"


@dataclass
class Rate:
    """One exercise's row."""

    exercise: str
    hand_ins: int
    caught: int
    known: int  # their author knows the mistake's name
    named: int  # of those, by that name
    evidence: int  # caught and not named: what was seen is told
    wrongly: int  # by another name, or by one too many


def function(exercise: str, code: str) -> Any:
    """The function that a piece of code defines, as it would stand in the library's file."""
    space = {**vars(diffusion), "torch": torch, "nn": nn, "F": nn.functional, "math": math}
    exec(code, space)
    return space[get(exercise).attribute]


def measure(key: int = 7) -> list[Rate]:
    """The rates of all exercises for which there are such hand-ins."""
    hand_ins = tomllib.loads(FILE.read_text(encoding="utf-8"))
    record = kept_record(list(hand_ins), key=key)
    return [_rate(name, entries, record, key) for name, entries in hand_ins.items()]


def _rate(name: str, entries: Sequence[dict[str, Any]], record: Any, key: int) -> Rate:
    found = [judge(get(name), observe(name, function(name, entry["code"]), key), record) for entry in entries]
    names = [({mistake["name"] for mistake in v.mistakes}, set(e["is"])) for v, e in zip(found, entries, strict=True)]
    caught = sum(not verdict.passed for verdict in found)
    return Rate(
        name, len(entries), caught,
        known=sum(bool(wanted) for _, wanted in names),
        named=sum(bool(wanted) and got == wanted for got, wanted in names),
        evidence=sum(not verdict.passed and not got for verdict, (got, _) in zip(found, names, strict=True)),
        wrongly=sum(bool(got) and got != wanted for got, wanted in names),
    )  # fmt: skip


def table(rates: Sequence[Rate]) -> str:
    """The rates as Markdown."""
    return selftest.table(rates, HEADS)
