"""The rules of an assignment, as settings: what a teacher may choose, and the sentences that students then read."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, time
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
class Late:
    """The table [late] of ``assignment.toml``: when the end is, and what comes after it costs."""

    due: datetime | None = None  # local time of the machine that grades; None: lateness is not counted
    each_day: float = 0.0  # share of the total that each day takes off, begun after the end
    grace: float = 0.0  # minutes after the end that are forgiven
    at_most: float = 1.0  # share of the total that all days together take off
    apply: bool = False  # is it taken off, or only calculated?

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> "Late":
        """What ``table`` says; raises ValueError with what is accepted."""
        known = [field.name for field in fields(cls)]
        if unknown := set(table) - set(known):
            raise ValueError(f"[late] has no setting {', '.join(sorted(unknown))}; accepted: {', '.join(known)}.")
        late = cls(**{**table, "due": due(table.get("due"))})
        for name, most in (("each_day", 1), ("grace", 24 * 60), ("at_most", 1)):
            value = getattr(late, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= most:
                raise ValueError(f"[late] {name} is {value!r}; accepted: a number in 0 ... {most}.")
        if late.apply not in (True, False) or (late.apply and not (late.due and late.each_day)):
            raise ValueError(
                f"[late] apply is {late.apply!r}; accepted: false, and true where due and each_day are set."
            )
        return late

    def told(self) -> str:
        """What students read where it is taken off."""
        rule = f"Each day that has begun after {self.due:%Y-%m-%d %H:%M} takes {100 * self.each_day:g} % off your total"
        rule += f", {100 * self.at_most:g} % at most" * (self.at_most < 1)
        return rule + (f". {self.grace:g} minutes are forgiven." if self.grace else ".")


def due(value: Any) -> datetime | None:
    """A date and time of TOML as local time without a zone; a date alone is its last second."""
    if value is None or (isinstance(value, datetime) and value.tzinfo is None):
        return value
    if isinstance(value, datetime):
        return value.astimezone().replace(tzinfo=None)
    if isinstance(value, date):
        return datetime.combine(value, time(23, 59, 59))
    raise TypeError(f"due is {value!r}, and should be like 2026-12-01T23:59:00, without quotation marks")


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
