"""The history of a run, as lists in memory and as JSON lines in a file."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def line(kind: str, record: dict[str, Any]) -> str:
    """One record as a line of the file."""
    return json.dumps({"kind": kind, **record}) + "\n"


@dataclass
class History:
    """What happened, step by step and epoch by epoch; also written as JSON lines while it happens."""

    path: Path | None = None
    steps: list[dict[str, Any]] = field(default_factory=list)
    epochs: list[dict[str, Any]] = field(default_factory=list)

    def add(self, kind: str, record: dict[str, Any]) -> None:
        """Append ``record`` to ``steps`` or ``epochs``, here and in the file."""
        getattr(self, kind).append(record)
        if self.path:
            with self.path.open("a") as file:
                file.write(line(kind, record))

    def cut(self, epoch: int) -> None:
        """Forget what came after ``epoch``: a killed run wrote about an epoch that it did not save."""
        self.steps = [record for record in self.steps if record["epoch"] <= epoch]
        self.epochs = [record for record in self.epochs if record["epoch"] <= epoch]
        if self.path:
            kept = [("steps", record) for record in self.steps] + [("epochs", record) for record in self.epochs]
            part = self.path.with_name(self.path.name + ".part")
            part.write_text("".join(line(kind, record) for kind, record in kept))
            part.replace(self.path)  # in one step: a kill leaves the old file or the new one

    @classmethod
    def read(cls, path: Path) -> "History":
        """The history in a file of JSON lines; a last line that was cut short is left out."""
        history = cls()
        for line in path.read_text().splitlines() if path.exists() else []:
            try:
                record = json.loads(line)
            except json.JSONDecodeError:
                break
            getattr(history, record.pop("kind")).append(record)
        history.path = path
        return history
