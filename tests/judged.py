"""Verdicts on code at home, and where it is graded on other numbers; as a program, on third_set.toml, as JSON."""

import json
import tomllib
from importlib import import_module
from pathlib import Path

import torch

from diffusion_lib.homework.checks import judge
from diffusion_lib.homework.exercises import get
from diffusion_lib.homework.probes import observe
from diffusion_lib.homework.records import Entry, shipped_record
from grader.grading import KEY
from grader.recording import answer

HAND_INS = tomllib.loads(Path(__file__).with_name("third_set.toml").read_text(encoding="utf-8"))


def without_catalogue(exercise, key):
    """A record of what the library answers to the questions of ``key``, and of no mistake: made in no time."""
    seen = observe(exercise, answer(get(exercise)), key)
    shapes = [tuple(value.shape) for value in seen.values.values()]
    row = torch.cat([value.flatten() for value in seen.values.values()])
    none = torch.empty(0, len(row))
    entry = Entry(list(seen.values), shapes, row[None], [], none, [], none, [], key)
    return {exercise: Entry(entry.cases, shapes, row[None], [], none, [], none[:, : len(entry.thin(row))], [], key)}


def judged(exercise, f):
    """The verdict at home; and where it is graded, there without the names of mistakes."""
    records = {0: shipped_record(), KEY: without_catalogue(exercise, KEY)}
    return [judge(get(exercise), observe(exercise, f, key), record) for key, record in records.items()]


def function(exercise, code):
    """What a piece of code defines, as it would stand in the library's file."""
    space = dict(vars(import_module(get(exercise).module)))
    exec(code, space)
    return space[get(exercise).attribute]


def told(exercise, code):
    """What is told of a hand-in: whether it passed, mistakes by name, all lines; at home, and where it is graded."""
    found = judged(exercise, function(exercise, code))
    return [[v.passed, [mistake["name"] for mistake in v.mistakes], v.lines()] for v in found]


def main():
    every = {}
    for exercise, given in HAND_INS.items():
        every |= {f"{exercise}/{name}": told(exercise, code) for name, code in given["right"].items()}
        every |= {f"{exercise}/{name}": told(exercise, entry["code"]) for name, entry in given["wrong"].items()}
    print(json.dumps(every))


if __name__ == "__main__":
    main()
