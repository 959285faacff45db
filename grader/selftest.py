"""The grader, graded: every mistake caught and named, every honest style let through."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from diffusion_lib.homework.checks import judge
from diffusion_lib.homework.exercises import EXERCISES, Exercise
from diffusion_lib.homework.probes import observe
from grader.catalogue import (  # noqa: F401  (importing a file of styles enters them)
    mistakes,
    styles_decoder,
    styles_editing,
    styles_flow,
    styles_network,
)
from grader.catalogue.styles import STYLES
from grader.recording import kept_record

HEADS = "mistakes | caught | named | two at once | caught | both named | honest styles | refused"


@dataclass
class Score:
    """One exercise's row."""

    exercise: str
    mistakes: int
    caught: int
    named: int
    pairs: int
    pairs_caught: int
    pairs_named: int
    styles: int
    false_alarms: int

    @property
    def clean(self) -> bool:
        """Nothing slipped through, everything known was named, nobody was refused."""
        return (self.caught, self.named, self.false_alarms) == (self.mistakes, self.mistakes, 0) and (
            self.pairs_caught == self.pairs
        )


def selftest(key: int = 0) -> list[Score]:
    """The scores of all exercises."""
    record, scores = kept_record(key=key), []
    for exercise in EXERCISES:
        name = exercise.name

        def verdict(*wrong: mistakes.Mistake, exercise: Exercise = exercise) -> tuple[bool, set[str]]:
            found = judge(exercise, observe(exercise.name, mistakes.build(exercise.name, *wrong), key), record)
            return not found.passed, {mistake["name"] for mistake in found.mistakes}

        singles = [(verdict(m), {m.name}) for m in mistakes.of(name)]
        pairs = [(verdict(a, b), {a.name, b.name}) for a, b in mistakes.pairs(name)]
        refused = [f for f in STYLES[name] if not judge(exercise, observe(name, f, key), record)]
        scores.append(Score(
            name, len(singles), sum(v[0] for v, _ in singles), sum(v[1] == wanted for v, wanted in singles),
            len(pairs), sum(v[0] for v, _ in pairs), sum(v[1] == wanted for v, wanted in pairs),
            len(STYLES[name]), len(refused),
        ))  # fmt: skip
    return scores


def table(rows: Sequence[Any], heads: str = HEADS) -> str:
    """Rows of numbers, each with its ``exercise``, and their sum, as Markdown under ``heads``."""
    lines = [f"| exercise | {heads} |", "|" + "---|" * (heads.count("|") + 2)]
    numbers = [[v for v in vars(row).values() if isinstance(v, int)] for row in rows]
    names = [f"`{row.exercise}`" for row in rows]
    for name, row in zip([*names, "all"], [*numbers, [sum(c) for c in zip(*numbers, strict=True)]], strict=True):
        lines.append(f"| {name} | " + " | ".join(map(str, row)) + " |")
    return "\n".join(lines)
