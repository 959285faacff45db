"""The history of a run, as lists in memory and as JSON lines in a file."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


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
                file.write(json.dumps({"kind": kind, **record}) + "\n")

    def cut(self, epoch: int) -> None:
        """Forget what came after ``epoch``: a killed run wrote about an epoch that it did not save."""
        steps, epochs, self.steps, self.epochs = self.steps, self.epochs, [], []
        if self.path:
            self.path.write_text("")
        for kind, records in (("steps", steps), ("epochs", epochs)):
            for record in records:
                if record["epoch"] <= epoch:
                    self.add(kind, record)

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
