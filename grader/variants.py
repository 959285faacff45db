"""Other numbers for each student: drawn from the assignment's phrase and the student's name, the same every time.

No server and no list of numbers is needed. Who knows the phrase can draw them again; a student's copy holds that
student's numbers alone, and no name.
"""

import hmac
import inspect
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from diffusion_lib.homework.exercises import Assignment
from diffusion_lib.homework.questions import Question
from diffusion_lib.schedules import NoiseSchedule, linear_betas
from grader.tables import read_table

CHECKS = (1, 2, 3, 4)  # the keys of the checks at home: with these and no others each mistake was seen named
Numbers = Mapping[str, Any]


def drawn(phrase: str, student: str, place: str, choices: Sequence[Any]) -> Any:
    """One of ``choices``, all equally likely as long as nobody knows the phrase; capitals and blanks do not count."""
    name = " ".join(unicodedata.normalize("NFC", student).casefold().split())
    digest = hmac.digest(phrase.encode(), f"{name}\0{place}".encode(), "sha256")
    return choices[int.from_bytes(digest[:8]) % len(choices)]


def check_key(assignment: Assignment, student: str) -> int:
    """Which numbers the student's own check asks about."""
    return int(drawn(assignment.variants, student, "check", CHECKS))


def numbers(assignment: Assignment, name: str, student: str) -> Numbers:
    """The student's numbers in the question ``name``; none where it has no variant."""
    variant = assignment.questions[name].variant
    draws = variant.draws if variant and assignment.variants else {}
    return {what: drawn(assignment.variants, student, f"{name}/{what}", among) for what, among in draws.items()}


def asked(assignment: Assignment, student: str) -> Assignment:
    """The assignment with the questions as this student is asked them."""
    own = {name: _own(question, numbers(assignment, name, student)) for name, question in assignment.questions.items()}
    return replace(assignment, questions=own)


def _own(question: Question, found: Numbers) -> Question:
    if not (question.variant and found):
        return question
    return replace(question, question=f"{question.question} {question.variant.asks.format(**found)}")


def key(assignment: Assignment, name: str, student: str) -> str:
    """For whoever marks: the student's numbers in the question ``name``, and what is right for them."""
    variant, found = assignment.questions[name].variant, numbers(assignment, name, student)
    if not (variant and found):
        return ""
    told = ", ".join(f"{what} = {value}" for what, value in found.items())
    right = [f"{what} = {_shown(quantity(of)(found))}" for what, of in variant.right.items()]
    return f"{told}: {', '.join(right)}" if right else told


def _shown(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def quantity(name: str) -> Callable[[Numbers], float]:
    """The quantity called ``name`` as a function of a student's numbers; ValueError where there is none."""
    if name not in QUANTITIES:
        raise ValueError(f"questions.toml asks for {name}, which nobody computes; known: {', '.join(QUANTITIES)}.")
    compute = QUANTITIES[name]
    needed = list(inspect.signature(compute).parameters)

    def of(found: Numbers) -> float:
        if lost := [what for what in needed if what not in found]:
            raise ValueError(f"{name} needs {', '.join(needed)}; the question draws no {', '.join(lost)}.")
        return compute(**{what: found[what] for what in needed})

    return of


def _schedule(T: int, beta_end: float) -> NoiseSchedule:
    return NoiseSchedule.from_betas(linear_betas(T, beta_end=beta_end))


QUANTITIES: dict[str, Callable[..., float]] = {
    "pixels": lambda channels, side: channels * side**2,
    "signal_at_the_end": lambda T, beta_end: float(_schedule(T, beta_end).alphas_cumprod[-1].sqrt()),
    "fresh_spread": lambda T, beta_end, t: float(_schedule(T, beta_end).posterior_variance[t].sqrt()),
    "attention_weights": lambda side, tokens, heads: side**2 * tokens * heads,
    "equal_share": lambda tokens: 1 / tokens,
}


def read_roster(path: Path | None, assignment: Assignment) -> list[str]:
    """The column ``student`` of a roster, needed where ``variants`` is set; ValueError that says what to repair."""
    if not assignment.variants:
        return []
    if path is None or not path.exists():
        lacks = f"{path} is missing" if path else "no roster is named"
        raise ValueError(f"variants is set, but {lacks}: a table with the column student, who each gets own numbers.")
    table, found = read_table(path), dict[str, str]()
    place = table.needed("student")
    for row in table.rows:
        if name := row.text(place).strip().removeprefix("'"):
            if name.casefold() in found:
                raise ValueError(f"{table.where(row, place)}: {name} has a row already.")
            found[name.casefold()] = name
    if not found:
        raise ValueError(f"{path} names no student.")
    return list(found.values())
