"""The rules of an assignment, as settings: what a teacher may choose, and the sentences that students then read."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

CHOICES = {
    "assistants": {
        "named": "ChatGPT, Copilot and the like are allowed. Say in your write-up which you used, and for what. "
        "You answer for every line: be ready to explain it.",
        "explain": "ChatGPT, Copilot and the like may explain an idea or an error message. Code and text that you "
        "hand in are not theirs. Say in your write-up which you used, and for what.",
        "none": "ChatGPT, Copilot and the like are not allowed, in code or in text.",
    },
    "late": {
        "marked": "What comes after the deadline is graded like the rest and marked as late. Your teacher decides what "
        "that costs.",
        "agreed": "After the deadline a hand-in counts only if a later date was agreed before. Ask in time.",
        "refused": "After the deadline nothing is graded.",
    },
    "evidence": {
        "run": "The folder of your run is your evidence: `make pack` takes it along. Numbers and pictures in your "
        "write-up are those of that run. No points are taken for it by a machine; whoever marks looks at it.",
        "talk": "The folder of your run is your evidence: `make pack` takes it along. Numbers and pictures in your "
        "write-up are those of that run. Afterwards you explain your code and your run in a short talk.",
    },
}  # fmt: skip


@dataclass(frozen=True)
class Rules:
    """The table [rules] of ``assignment.toml``; what it leaves out is as here."""

    hours: float = 12
    assistants: str = "named"
    late: str = "marked"
    evidence: str = "run"

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> "Rules":
        """The rules that ``table`` gives; raises ValueError with what is accepted."""
        known = [field.name for field in fields(cls)]
        if unknown := set(table) - set(known):
            raise ValueError(f"[rules] has no setting {', '.join(sorted(unknown))}; accepted: {', '.join(known)}.")
        rules = cls(**table)
        if isinstance(rules.hours, bool) or not isinstance(rules.hours, int | float) or not 0 < rules.hours <= 200:
            raise ValueError(f"[rules] hours is {rules.hours!r}; accepted: a number above 0, at most 200.")
        for name, choices in CHOICES.items():
            if getattr(rules, name) not in list(choices):  # a list as value is refused, too
                raise ValueError(f"[rules] {name} is {getattr(rules, name)!r}; accepted: {', '.join(choices)}.")
        return rules

    def told(self, name: str) -> str:
        """What students read of the setting ``name``."""
        return CHOICES[name][getattr(self, name)]
