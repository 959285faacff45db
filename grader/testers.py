"""Catch the bug: what a student's tests of an exercise are worth.

They run on every wrong version and every honest style of the catalogue, each in a process of its own, in an order of
chance: a test can learn nothing from the versions before.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from diffusion_lib.homework.exercises import TESTS_FILE, tests_name
from diffusion_lib.homework.testing import Raised
from grader.catalogue.versions import Version, versions
from grader.hand_ins import HandIn
from grader.reading import no_python
from grader.sandbox.client import Sandbox


@dataclass
class Score:
    """What came of the tests of one exercise."""

    wrong: int  # wrong versions
    right: int  # honest styles
    escaped: list[Version] = field(default_factory=list)  # wrong versions that no test caught
    refused: list[tuple[Version, str, Raised]] = field(default_factory=list)  # style, test, what it raised
    problem: str = ""
    stuck: bool = False  # the file of tests did not finish loading

    @property
    def refusals(self) -> int:
        """How many honest styles were refused."""
        return len({version.name for version, _, _ in self.refused})

    @property
    def share(self) -> float:
        """Share of the points, 0 ... 1: wrong versions caught, less right ones refused."""
        if self.problem:
            return 0.0
        return max(0.0, 1 - len(self.escaped) / self.wrong - self.refusals / self.right)

    def lines(self, name: str) -> list[str]:
        """The score as a student reads it. What escaped is told by what one would see of it, never by its code."""
        if self.problem:
            return [f"{name}: not tried. {self.problem}"]
        caught = f"{self.wrong - len(self.escaped)} of {self.wrong} wrong versions caught"
        told = [f"{name}: {caught}, {self.refusals} of {self.right} right ones refused."]
        told += ["  What escaped, by what one would see:"] * bool(self.escaped)
        told += [f"  · {version.seen}" for version in self.escaped]
        told += ["  Right code that was refused:"] * bool(self.refused)
        shown = {version.name: (version, test, raised) for version, test, raised in reversed(self.refused)}
        for version, test, raised in reversed(shown.values()):
            told.append(f"  · written as “{version.name}”: {test} raised {raised.kind} in line {raised.line}")
        return told


def score_tests(exercise: str, files: dict[str, str], sandbox: Sandbox, notes: list[str]) -> Score:
    """Try the tests in a student's ``files``, name -> text; what should be known of them goes into ``notes``."""
    counted = [(key, version) for key, version in versions(exercise).items() if version.kind != "public"]
    wrong = sum(version.kind == "mistake" for _, version in counted)
    score = Score(wrong, len(counted) - wrong)
    for key, version in random.SystemRandom().sample(counted, len(counted)):
        tried = sandbox.try_tests(exercise, files, key)
        notes += [note for note in tried.notes if note not in notes]
        if tried.problem:
            score.problem, score.stuck = tried.problem, tried.stuck
            break
        raised = {name: r for name, r in tried.raised.items() if r}
        if version.kind == "style":
            score.refused += [(version, name, r) for name, r in raised.items()]
        elif not raised:
            score.escaped.append(version)
    order = [version.name for _, version in counted]
    score.escaped.sort(key=lambda version: order.index(version.name))
    score.refused.sort(key=lambda refusal: order.index(refusal[0].name))
    return score


def grade_tests(hand_in: HandIn, exercise: str, worth: float, sandbox: Sandbox) -> dict[str, Any]:
    """The entry of a result for the tests of ``exercise``."""
    source, score, notes = hand_in.sources.get(TESTS_FILE), Score(1, 1), list[str]()
    if hand_in.problem or source is None:
        score.problem = hand_in.problem or hand_in.problems[TESTS_FILE]
    elif wrong := no_python(source):
        score.problem = f"{TESTS_FILE}{wrong}"
    elif TESTS_FILE in hand_in.stuck:
        score.problem = hand_in.stuck[TESTS_FILE]
    else:
        score = score_tests(exercise, hand_in.beside | hand_in.sources, sandbox, notes)
        if score.stuck:
            hand_in.is_stuck(TESTS_FILE, score.problem)
    lines = score.lines(tests_name(exercise)) + [f"  Note: {note}" for note in notes]
    return {
        "points": round(worth * score.share, 3), "worth": worth, "passed": score.share == 1, "lines": lines,
        "mistakes": [], "layers": {}, "escaped": [version.name for version in score.escaped],
    }  # fmt: skip


def escaped_from_the_class(entries: Sequence[dict[str, dict[str, Any]]]) -> list[tuple[str, str, int]]:
    """For the teacher's report: tests, mistake, and how many hand-ins it escaped; most first, twenty at most."""
    counts = Counter((n, m) for known in entries for n, entry in known.items() for m in entry.get("escaped", []))
    return [(name, mistake, count) for (name, mistake), count in counts.most_common(20)]
