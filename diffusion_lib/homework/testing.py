"""Catch the bug: run a student's own tests, ``test_*`` of tests_by_me.py, on functions that may be wrong.

A test takes one argument, the function under test, and the argument's name says of which exercise. A function is caught
when a test of its exercise raises anything. Before each test torch is seeded, so a test says the same every time.
"""

import inspect
import random
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from diffusion_lib.homework.checks import current
from diffusion_lib.homework.elsewhere import under_test
from diffusion_lib.homework.exercises import TESTABLE, TESTS_FILE, find, get, tree
from diffusion_lib.homework.finding import definitions, load_source, parsed, stub_line
from diffusion_lib.homework.public_mistakes import MISTAKES, in_float32

SEED = 0


@dataclass(frozen=True)
class Raised:
    """What a test raised, and in which line of its file; 0 where it was in no line of it."""

    kind: str
    line: int


def load_tests(path: Path) -> ModuleType:
    """A file of tests as a module; what it draws while it is loaded is the same every time."""
    _seed()
    return load_source(path, path.stem)


def _seed() -> None:
    torch.manual_seed(SEED)
    random.seed(SEED)


def warm_up() -> None:
    """Load what the first comparison and the first gradient load, about 500 modules, so that forks need not."""
    import torch.fx.experimental.symbolic_shapes

    torch.testing.assert_close(torch.zeros(1), torch.zeros(1))


def tests_of(module: ModuleType, exercise: str) -> dict[str, Callable[[Any], Any]]:
    """The tests of an exercise: what is called test_* and takes the one argument ``exercise``."""
    return {name: test for name, test in _tests(module).items() if _takes(test) == [exercise]}


def strays(module: ModuleType) -> list[str]:
    """A sentence for each test_* that is a test of no exercise."""
    return [
        f"{name}({', '.join(_takes(test))}) is counted as a test of nothing: give it one argument, "
        f"{', '.join(TESTABLE[:-1])} or {TESTABLE[-1]}."
        for name, test in _tests(module).items()
        if _takes(test) not in [[exercise] for exercise in TESTABLE]
    ]


def _tests(module: ModuleType) -> dict[str, Callable[[Any], Any]]:
    return {name: value for name, value in vars(module).items() if name.startswith("test_") and callable(value)}


def _takes(test: Callable[..., Any]) -> list[str]:
    try:
        return list(inspect.signature(test).parameters)
    except (TypeError, ValueError):
        return []


def attempt(test: Callable[[Any], Any], function: Callable[..., Any], path: Path) -> Raised | None:
    """Run one test of the file ``path``; SystemExit and the like count as any other exception."""
    _seed()
    try:
        test(function)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        return Raised(type(error).__name__, (lines or [0])[-1] or 0)
    return None


def attempts(
    tests: Mapping[str, Callable[[Any], Any]], function: Callable[..., Any], path: Path
) -> dict[str, Raised | None]:
    """Every test on ``function``: what it raised, or None."""
    return {name: attempt(test, function, path) for name, test in tests.items()}


def named_as(known: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, to be called with the names of the arguments of ``known``, or by position."""
    signature = inspect.signature(known)

    def named(*inputs: Any, **others: Any) -> Any:
        bound = signature.bind(*inputs, **others)
        return function(*bound.args, **bound.kwargs)

    return named


@dataclass
class Trial:
    """What tests of one exercise are worth at home. True when they pass right code and catch every public mistake."""

    exercise: str
    tests: int = 0
    refused: dict[str, dict[str, Raised]] = field(default_factory=dict)  # right version -> the tests that refuse it
    escaped: list[str] = field(default_factory=list)  # public mistakes that no test caught
    problem: str = ""  # why nothing could be tried
    remarks: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return not (self.problem or self.refused or self.escaped)

    def lines(self) -> list[str]:
        """The trial as a student reads it."""
        head = f"tests of {self.exercise}:"
        if self.problem:
            return [f"{head} not tried. {self.problem}"]
        known = len(MISTAKES[self.exercise])
        told = [f"{head} {self.tests} written, {known - len(self.escaped)} of {known} public mistakes caught."]
        told += [f"  Escaped: {name}." for name in self.escaped]
        for right, raised in self.refused.items():
            told += [f"  {name} refuses {right}: {r.kind} in line {r.line}." for name, r in raised.items()]
        if self.refused:
            told.append(f"  If the check of {self.exercise} above says right, the test is wrong.")
        return told + [f"  Note: {remark}" for remark in self.remarks]


def try_tests(exercise: str, folder: Path | None = None) -> Trial:
    """Try the tests of ``exercise`` in ``folder``, by default this tree, on the student's own function.

    It, and the same in float32, should pass; what the public mistakes make of it should be caught.
    """
    with torch.random.fork_rng(devices=[]):
        return _try_tests(exercise, (folder or tree()) / TESTS_FILE)


def _try_tests(exercise: str, path: Path) -> Trial:
    try:
        module, own = load_tests(path), _own(exercise)
        tests = tests_of(module, exercise)
    except FileNotFoundError:
        return Trial(exercise, problem=f"{TESTS_FILE} is missing: it belongs beside the folder diffusion_lib.")
    except SyntaxError as error:
        where = f"{Path(error.filename or TESTS_FILE).name}, line {error.lineno}"
        return Trial(exercise, problem=f"{where}: {error.msg}.")
    except Exception as error:
        return Trial(exercise, problem=f"{TESTS_FILE} cannot be run: {type(error).__name__}: {error}")
    if own is None:
        return Trial(exercise, problem=f"Write {exercise} first: tests are tried on your own function.")
    if not tests:
        return Trial(exercise, problem=f"{TESTS_FILE} has no test of it: def test_...({exercise}).")
    return _tried(Trial(exercise, len(tests), remarks=strays(module)), tests, own, path)


def _own(exercise: str) -> Callable[..., Any] | None:
    """The student's own function; None where it is still our stub."""
    path, attribute = current(get(exercise)), get(exercise).attribute
    defined = definitions(parsed(path.read_text(encoding="utf-8")), attribute)
    if defined and stub_line(defined[-1]):
        return None
    return find(load_source(path, get(exercise).module), attribute)


def _tried(trial: Trial, tests: Mapping[str, Any], own: Callable[..., Any], path: Path) -> Trial:
    for name, right in {"your own function": own, "your own function in float32": in_float32(own)}.items():
        if raised := _raised(tests, right, path):
            trial.refused[name] = raised
    wrong = {name: named_as(own, spoil(own)) for name, spoil in MISTAKES[trial.exercise].items()}
    trial.escaped = [name for name, function in wrong.items() if not _raised(tests, function, path)]
    return trial


def _raised(tests: Mapping[str, Any], function: Callable[..., Any], path: Path) -> dict[str, Raised]:
    with under_test(function) as elsewhere:
        return {name: raised for name, raised in attempts(tests, elsewhere, path).items() if raised}
