"""What stands around a student's function in the sandbox: modules of the student's own, of the library, or stand-ins.

A hand-in runs as it ran at home. What is not installed here, ``google.colab`` before all, is replaced by something that
does nothing, and that is noted.
"""

import builtins
import importlib
import sys
from collections.abc import Callable
from functools import partial
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

OURS = ("diffusion_lib", "grader")
MOST_MISSING = 20
ASKED = "input() asks, and where hand-ins are graded nobody answers: it got an empty line."


def settle(home: Path, *, own: bool) -> None:
    """Make the modules under ``home`` importable: before the library's of the same name if ``own``, else after them."""
    import diffusion_lib

    sys.path.append(str(home))
    package, theirs = diffusion_lib.__path__, str(home / "diffusion_lib")
    package[:] = [theirs, *package] if own else [*package, theirs]
    if own and any(_differs(name, module, home) for name, module in _library()):
        for name, _ in _library():
            del sys.modules[name]
            parent, _, last = name.rpartition(".")
            vars(sys.modules.get(parent, diffusion_lib)).pop(last, None)


def _library() -> list[tuple[str, ModuleType]]:
    """The library's modules that are in memory, the checks left out: those judge, and stay as they are."""
    loaded = [(name, module) for name, module in sys.modules.items() if name.startswith("diffusion_lib.")]
    return [(name, module) for name, module in loaded if not name.startswith("diffusion_lib.homework")]


def _differs(name: str, module: ModuleType, home: Path) -> bool:
    theirs = home.joinpath(*name.split(".")).with_suffix(".py")
    ours = getattr(module, "__file__", None)
    return theirs.exists() and ours is not None and theirs.read_text() != Path(ours).read_text(encoding="utf-8")


def put_around(module: ModuleType, exercise: Any) -> None:
    """Replace what the library has and the exercise is not, so that no other mistake of the file counts twice."""
    pristine = importlib.import_module(exercise.module)
    own = exercise.attribute.split(".")[0]
    for name, value in vars(pristine).items():
        if callable(value) and getattr(value, "__module__", "") == exercise.module and name != own:
            setattr(module, name, value)


def loaded(load: Callable[[], ModuleType], notes: list[str]) -> ModuleType:
    """``load()``, again and again with stand-ins for packages that are not installed here, each noted."""
    stand_ins = StandIns()
    sys.meta_path.append(stand_ins)
    builtins.input = partial(_nobody, notes)
    for _ in range(MOST_MISSING):
        try:
            return load()
        except ModuleNotFoundError as error:
            if not error.name or error.name.split(".")[0] in OURS or error.name in stand_ins.names:
                raise
            stand_ins.names.add(error.name)
            notes.append(f"{error.name} is not installed where hand-ins are graded: what calls it does nothing.")
    return load()


def _nobody(notes: list[str], prompt: object = "") -> str:
    """In place of input(): an empty line, and a note."""
    if ASKED not in notes:
        notes.append(ASKED)
    return ""


class StandIns(MetaPathFinder, Loader):
    """Imports for the packages in ``names``, each with whatever is asked of it."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> ModuleSpec | None:
        """A spec for a package that is stood in for, and for all inside it."""
        inside = any(fullname == name or fullname.startswith(f"{name}.") for name in self.names)
        return ModuleSpec(fullname, self, is_package=True) if inside else None

    def create_module(self, spec: ModuleSpec) -> None:
        """An ordinary module."""

    def exec_module(self, module: ModuleType) -> None:
        """Fill the module: every name that is no dunder is something that can be called and does nothing."""
        module.__getattr__ = _anything  # type: ignore[method-assign]


def _anything(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    return MagicMock(name=name)
