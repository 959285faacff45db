"""The functions on which students' tests are tried: the catalogue's mistakes, honest styles, and public mistakes."""

import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion_lib.homework.exercises import TESTABLE, get
from diffusion_lib.homework.public_mistakes import MISTAKES as PUBLIC
from diffusion_lib.homework.testing import named_as
from grader.catalogue import mistakes
from grader.catalogue.styles import STYLES
from grader.recording import answer

__all__ = ["TESTABLE", "Version", "seen", "versions"]


@dataclass(frozen=True)
class Version:
    """One function to try tests on."""

    name: str
    kind: str  # "mistake", "style" or "public"; the last counts for nothing
    function: Callable[..., Any]
    seen: str = ""  # of a mistake: what one would see, and not what its code says


def seen() -> dict[str, dict[str, str]]:
    """For each exercise and mistake, by name: what one would see of it in the function's answers."""
    return tomllib.loads(Path(__file__).with_name("seen.toml").read_text(encoding="utf-8"))


def versions(exercise: str) -> dict[str, Version]:
    """All versions of an exercise, by "kind/name"; called with the names of the library's own arguments."""
    right, told = answer(get(exercise)), seen()[exercise]
    wrong = [Version(m.name, "mistake", mistakes.build(exercise, m), told[m.name]) for m in mistakes.of(exercise)]
    styles = [Version(f.__name__.replace("_", " "), "style", f) for f in STYLES[exercise]]
    public = [Version(name, "public", spoil(right)) for name, spoil in PUBLIC[exercise].items()]
    return {
        f"{v.kind}/{v.name}": Version(v.name, v.kind, named_as(right, v.function), v.seen)
        for v in [*wrong, *styles, *public]
    }
