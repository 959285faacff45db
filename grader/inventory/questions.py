"""Twenty concepts, each asked in two parallel forms, read from homework/inventory.toml."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion_lib.homework.exercises import tree

LETTERS, FORMS = "abcd", ("A", "B")
HOW = "Choose one option of each question. No formula has to be known: each question can be thought through."


@dataclass(frozen=True)
class Belief:
    """A misconception that makes a wrong option tempting; ``seen`` is a mistake of the catalogue, or a symptom."""

    name: str
    says: str
    seen: str


@dataclass(frozen=True)
class Option:
    """One of four answers; the right one has no belief."""

    text: str
    reply: str
    belief: str


@dataclass(frozen=True)
class Question:
    """A concept, the beliefs that stand against it, and its two forms: what is asked, and four options."""

    concept: str
    notebook: str
    beliefs: tuple[Belief, ...]
    asks: Mapping[str, str]
    options: Mapping[str, tuple[Option, ...]]

    def right(self, form: str) -> str:
        """The letter of the right option."""
        return next(letter for letter in LETTERS if not self.belief(form, letter))

    def belief(self, form: str, letter: str) -> str:
        """The name of the belief behind an option; "" for the right one."""
        return self.options[form][LETTERS.index(letter)].belief


def inventory_path() -> Path:
    """homework/inventory.toml of this checkout."""
    return tree() / "homework" / "inventory.toml"


def load(path: Path | None = None) -> list[Question]:
    """All questions, in order; ValueError where one has not four options, or not exactly one right one."""
    questions = tomllib.loads((path or inventory_path()).read_text(encoding="utf-8"))["question"]
    return [_question(number, question) for number, question in enumerate(questions, start=1)]


def _question(number: int, made: dict[str, Any]) -> Question:
    beliefs = tuple(Belief(b["name"], b["says"], b.get("mistake") or b.get("symptom", "")) for b in made["belief"])
    options = {
        form: tuple(Option(o["text"], o["reply"], o.get("belief", "")) for o in made[form]["option"]) for form in FORMS
    }
    for form, offered in options.items():
        if sorted(o.belief for o in offered) != sorted(["", *(b.name for b in beliefs)]) or len(offered) != len(
            LETTERS
        ):
            raise ValueError(
                f"question {number}, form {form}: needs four options, one for each of its three beliefs and one "
                "without a belief, the right one."
            )
    return Question(made["concept"], made["notebook"], beliefs, {f: made[f]["ask"] for f in FORMS}, options)


def sheet(questions: list[Question], form: str, *, key: bool = False) -> str:
    """One form as Markdown: for students without its answers, with ``key`` for the discussion afterwards."""
    parts = [f"# Concept inventory, form {form}", HOW]
    for number, question in enumerate(questions, start=1):
        parts.append(f"**{number}.** {question.asks[form]}")
        lines = []
        for letter, option in zip(LETTERS, question.options[form], strict=True):
            mark = "" if not key else f" **{option.reply}**" if not option.belief else f" *{option.reply}*"
            lines.append(f"- {letter}) {option.text}{mark}")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"
