"""Names that the library had in older handouts: code that imports them runs, and is told the present ones."""

import ast
import importlib.util
from collections.abc import Collection, Sequence
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

ROOMS = {
    "training": ("checkpoints", "classifier", "history", "recipe", "resuming", "runs"),
    "showing": ("diagrams", "player", "viz", "widgets"),
}
PLACES = {f"diffusion_lib.{name}": f"diffusion_lib.{room}.{name}" for room, names in ROOMS.items() for name in names}
PLACES["diffusion_lib.distributed"] = "diffusion_lib.training.processes"


def draw_levels(num_timesteps: int, count: int, weights: Tensor | None, device: torch.device | str) -> Tensor:
    """``count`` timesteps, int64, all equally likely or in proportion to ``weights``, (T,)."""
    if weights is None:
        return torch.randint(0, num_timesteps, (count,), device=device)
    return torch.multinomial(weights, count, replacement=True)


GONE = {"diffusion_lib.recipe": {"draw_levels": draw_levels}}


class Formerly(MetaPathFinder, Loader):
    """Imports under former names, where nothing of that name is there; to be put last among ``sys.meta_path``."""

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        """A spec for a module that has moved."""
        return ModuleSpec(fullname, self) if fullname in PLACES else None

    def create_module(self, spec: ModuleSpec) -> None:
        """An ordinary module."""

    def exec_module(self, module: ModuleType) -> None:
        """Let it give what has gone since, and, when asked, what stands at its present place.

        Only when asked: that place may import the very file that is being loaded.
        """
        vars(module).update(GONE.get(module.__name__, {}))
        module.__getattr__ = partial(_present, PLACES[module.__name__])  # type: ignore[method-assign]


def _present(place: str, name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return getattr(importlib.import_module(place), name)


def former_imports(source: ast.Module, beside: Collection[str] = ()) -> list[str]:
    """What a file imports under a former name, line by line; ``beside``: files that stand there after all."""
    found = []
    for node in ast.walk(source):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) and node.module and not node.level else []
        for name in names:
            own = name.replace(".", "/") + ".py" in beside
            if isinstance(node, ast.stmt) and name in PLACES and not own and importlib.util.find_spec(name) is None:
                found.append(f"line {node.lineno}: {name} is {PLACES[name]} now. The former name was understood.")
    return found
