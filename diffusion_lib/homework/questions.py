"""The written questions: their words, where they stand, and what earns their points.

All of it stands in ``homework/questions.toml`` of the repository. A student's copy has no such file: it holds answers.
"""

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Criterion:
    """One decision of whoever marks an answer: all of its points, half of them, or none."""

    about: str
    points: float
    full: str
    half: str
    none: str


@dataclass(frozen=True)
class Variant:
    """What a question asks each student about other numbers."""

    asks: str  # a sentence more, with the {names} of what is drawn
    draws: Mapping[str, Sequence[Any]]  # name -> of these one is drawn for each student
    right: Mapping[str, str]  # what an answer should say -> the name of the quantity that computes it


@dataclass(frozen=True)
class Question:
    """One written question, with its rubric; answers and misunderstandings are for whoever marks."""

    question: str
    notebook: str  # "04_reverse_sampling"
    section: str  # "4.3 Algorithm 2, line by line"; the question stands at its end
    evidence: str  # what shows that an answer is one's own
    criteria: Sequence[Criterion]
    answers: Mapping[str, str]  # "full", "half" -> a model answer at that level
    misunderstandings: Sequence[str]
    variant: Variant | None = None  # asked only where the assignment gives each student other numbers

    @property
    def points(self) -> float:
        """The points of all criteria together."""
        return sum(criterion.points for criterion in self.criteria)


def load_questions(path: Path) -> dict[str, Question]:
    """The questions of ``path`` by their ids; raises ValueError that says what to repair."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid TOML: {error}.") from error
    return {name: _question(table, f"{path}, [{name}]") for name, table in tables.items()}


def _question(table: Mapping[str, Any], place: str) -> Question:
    names = [field.name for field in fields(Question) if field.name != "variant" or "variant" in table]
    only(table, names, place)
    only(table["answers"], ("full", "half"), f"{place} answers")
    for criterion in table["criteria"]:
        only(criterion, [field.name for field in fields(Criterion)], f"{place} criteria")
        points = criterion["points"]
        if not isinstance(points, int | float) or points <= 0:
            raise ValueError(f"{place} criteria: points is {points!r}; it must be a number above 0.")
    variant = _variant(table["variant"], f"{place} variant") if "variant" in table else None
    criteria = [Criterion(**criterion) for criterion in table["criteria"]]
    return Question(**{**table, "criteria": criteria, "variant": variant})


def _variant(table: Mapping[str, Any], place: str) -> Variant:
    only(table, [field.name for field in fields(Variant)], place)
    named = set(re.findall(r"\{(\w+)\}", table["asks"]))
    if named != set(table["draws"]) or not all(isinstance(c, list) and c for c in table["draws"].values()):
        raise ValueError(f"{place}: asks names {', '.join(sorted(named))}; draws needs a list for each of these.")
    return Variant(**table)


def only(table: Mapping[str, Any], names: Sequence[str], place: str) -> None:
    """Raise ValueError unless ``table`` has just the entries ``names``."""
    if set(table) != set(names):
        raise ValueError(f"{place} has the entries {', '.join(table)}; it needs {', '.join(names)}.")
