"""What a class's answers say: difficulty, discrimination, the favourite wrong belief, and the gain."""

import random
from collections import Counter
from dataclasses import dataclass
from statistics import correlation, fmean

from grader.inventory.answers import Sheet
from grader.inventory.questions import Question

DRAWS = 2000


@dataclass(frozen=True)
class Item:
    """One question on one occasion.

    ``difficulty``: the share of students who are right, 0 … 1. ``discrimination``: the correlation between being right
    here and the number of right answers to all other questions (Henrysson, Psychometrika 1963); None where one of the
    two does not vary. ``belief``: the wrong belief that most students chose, and ``share``, theirs.
    """

    difficulty: float
    discrimination: float | None
    belief: str
    share: float


@dataclass(frozen=True)
class Gain:
    """Means of the same students before and after, 0 … 1, and the normalized gain with its 95 % interval."""

    students: int
    before: float
    after: float
    gain: float | None
    low: float | None
    high: float | None


def marks(questions: list[Question], sheet: Sheet) -> list[int]:
    """1 for each right answer, 0 for any other or none."""
    asked = zip(questions, sheet.letters, strict=True)
    return [int(letter == question.right(sheet.form)) for question, letter in asked]


def items(questions: list[Question], sheets: list[Sheet]) -> list[Item]:
    """Each question as these sheets, of one occasion, answer it; both forms of a question count together."""
    table = [marks(questions, sheet) for sheet in sheets]
    return [_item(i, questions[i], sheets, table) for i in range(len(questions))]


def _item(i: int, question: Question, sheets: list[Sheet], table: list[list[int]]) -> Item:
    right = [row[i] for row in table]
    rest = [sum(row) - row[i] for row in table]
    varies = len(set(right)) > 1 and len(set(rest)) > 1
    chosen = Counter(question.belief(s.form, s.letters[i]) for s in sheets if s.letters[i])
    del chosen[""]
    belief, votes = chosen.most_common(1)[0] if chosen else ("", 0)
    return Item(fmean(right), correlation(right, rest) if varies else None, belief, votes / len(sheets))


def gain(questions: list[Question], sheets: list[Sheet], *, seed: int = 0, draws: int = DRAWS) -> Gain | None:
    """The class's normalized gain, (after − before) / (1 − before) (Hake, American Journal of Physics 1998).

    Means are those of the students who answered both times; None where there is no such student. The interval is
    that of the percentile bootstrap over students (Efron and Tibshirani 1993, chapter 13).
    """
    shares = {
        when: {s.student: fmean(marks(questions, s)) for s in sheets if s.when == when} for when in ("before", "after")
    }
    pairs = [(share, shares["after"][name]) for name, share in shares["before"].items() if name in shares["after"]]
    if not pairs:
        return None
    generator = random.Random(seed)
    drawn = [normalized(generator.choices(pairs, k=len(pairs))) for _ in range(draws)]
    known = sorted(value for value in drawn if value is not None)
    low, high = (known[int(q * (len(known) - 1))] for q in (0.025, 0.975)) if known else (None, None)
    before, after = (fmean(column) for column in zip(*pairs, strict=True))
    return Gain(len(pairs), before, after, normalized(pairs), low, high)


def normalized(pairs: list[tuple[float, float]]) -> float | None:
    """(after − before) / (1 − before) of the means; None where all was right before."""
    before, after = (fmean(column) for column in zip(*pairs, strict=True))
    return None if before == 1 else (after - before) / (1 - before)


def unpaired(sheets: list[Sheet]) -> list[str]:
    """In words, who answered only once and so does not count for the gain."""
    names = {when: {s.student for s in sheets if s.when == when} for when in ("before", "after")}
    told = []
    for when, other in (("before", "after"), ("after", "before")):
        only = sorted(names[when] - names[other])
        if only:
            told.append(f"Answered only {when} the series, so not counted for the gain: {', '.join(only)}.")
    return told


def report(questions: list[Question], sheets: list[Sheet]) -> str:
    """Both occasions as a Markdown table each, then the gain."""
    says = {belief.name: belief for question in questions for belief in question.beliefs}
    parts = []
    for when in ("before", "after"):
        these = [sheet for sheet in sheets if sheet.when == when]
        if not these:
            continue
        parts.append(f"## {when.capitalize()} the series: {len(these)} students\n")
        parts.append("| | concept | right | discrimination | most chosen wrong belief |\n|---|---|---|---|---|")
        for number, (question, item) in enumerate(zip(questions, items(questions, these), strict=True), start=1):
            found = "–" if item.discrimination is None else f"{item.discrimination:+.2f}"
            belief = says.get(item.belief)
            wrong = (
                "–" if belief is None else f"{item.share:.0%}: {belief.says}" + f" ({belief.seen})" * bool(belief.seen)
            )
            parts.append(f"| {number} | {question.concept} | {item.difficulty:.0%} | {found} | {wrong} |")
        parts.append("")
    return "\n".join([*parts, _told(gain(questions, sheets))])


def _told(found: Gain | None) -> str:
    if found is None:
        return "No student answered both times, so there is no gain to tell."
    text = f"{found.students} students answered both times: {found.before:.0%} right before, {found.after:.0%} after. "
    if found.gain is None or found.low is None or found.high is None:
        return text + "All was right before, so there is no gain to tell."
    return text + f"Normalized gain {found.gain:.2f} (95 % interval {found.low:.2f} to {found.high:.2f})."
