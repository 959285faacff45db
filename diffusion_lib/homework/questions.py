"""The written questions: their words, where they stand, and what earns their points.

All of it stands in ``homework/questions.toml`` of the repository. A student's copy has no such file: it holds answers.
"""

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
class Question:
    """One written question, with its rubric; the last two entries are for whoever marks."""

    question: str
    notebook: str  # "04_reverse_sampling"
    section: str  # "4.3 Algorithm 2, line by line"; the question stands at its end
    evidence: str  # what shows that an answer is one's own
    criteria: Sequence[Criterion]
    answers: Mapping[str, str]  # "full", "half" -> a model answer at that level
    misunderstandings: Sequence[str]

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
    only(table, [field.name for field in fields(Question)], place)
    only(table["answers"], ("full", "half"), f"{place} answers")
    for criterion in table["criteria"]:
        only(criterion, [field.name for field in fields(Criterion)], f"{place} criteria")
        points = criterion["points"]
        if not isinstance(points, int | float) or points <= 0:
            raise ValueError(f"{place} criteria: points is {points!r}; it must be a number above 0.")
    return Question(**{**table, "criteria": [Criterion(**criterion) for criterion in table["criteria"]]})


def only(table: Mapping[str, Any], names: Sequence[str], place: str) -> None:
    """Raise ValueError unless ``table`` has just the entries ``names``."""
    if set(table) != set(names):
        raise ValueError(f"{place} has the entries {', '.join(table)}; it needs {', '.join(names)}.")
