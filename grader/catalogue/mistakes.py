"""The catalogue: wrong versions that people really write, each with a name, a hint and what to reread.

An exercise is a correct function in parts; a mistake exchanges some of them. So every mistake can be run, and two
mistakes in different parts can be run together. This file stays with the teacher.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

from diffusion_lib.homework.exercises import REREAD
from grader.catalogue.wrong_decoders import DECODERS
from grader.catalogue.wrong_edits import EDITS
from grader.catalogue.wrong_flows import FLOWS
from grader.catalogue.wrong_formulas import FORMULAS
from grader.catalogue.wrong_networks import NETWORKS
from grader.catalogue.wrong_training import TRAINING

Parts = Mapping[str, Callable[..., Any]]


@dataclass(frozen=True)
class Mistake:
    """One wrong version: ``parts`` of its exercise's function, exchanged."""

    exercise: str
    name: str
    hint: str
    parts: Parts
    also: tuple[Parts, ...] = ()  # other ways to write the same mistake
    reread: str = ""

    @property
    def id(self) -> str:
        """A short stable name for tables: "q_sample/root of the noise missing"."""
        return f"{self.exercise}/{self.name}"


ROOMS = (FORMULAS, TRAINING, NETWORKS, DECODERS, FLOWS, EDITS)
TEMPLATES: dict[str, tuple[Callable[[Parts], Callable[..., Any]], Parts]] = {
    exercise: template for room in ROOMS for exercise, template in room.templates.items()
}
FORMS: Mapping[str, tuple[Parts, ...]] = FORMULAS.forms  # what is accepted beside the function as it stands
MISTAKES = tuple(
    Mistake(exercise, name, hint, parts, tuple(also), REREAD[exercise])
    for room in ROOMS
    for exercise, name, hint, parts, *also in room.mistakes
)


def build(exercise: str, *mistakes: Mistake) -> Callable[..., Any]:
    """The function of ``exercise`` with these mistakes in it; with none, a correct one."""
    template, correct = TEMPLATES[exercise]
    parts = dict(correct)
    for mistake in mistakes:
        parts |= mistake.parts
    return template(parts)


def versions(exercise: str, *mistakes: Mistake) -> Iterator[Callable[..., Any]]:
    """:func:`build` on top of every accepted form, with every way to write the mistakes; the first is ``build``'s."""
    template, correct = TEMPLATES[exercise]
    for form in FORMS.get(exercise, ({},)):
        for ways in product(*((mistake.parts, *mistake.also) for mistake in mistakes)):
            parts = {**correct, **form}
            for way in ways:
                parts |= way
            yield template(parts)


def of(exercise: str) -> list[Mistake]:
    """The mistakes of one exercise."""
    return [mistake for mistake in MISTAKES if mistake.exercise == exercise]


def pairs(exercise: str) -> list[tuple[Mistake, Mistake]]:
    """Two mistakes of one exercise that touch different parts."""
    return [(a, b) for a, b in combinations(of(exercise), 2) if not set(a.parts) & set(b.parts)]
