"""Break the library on purpose, one small edit at a time, and see whether a test turns red.

``tests/mutants.toml`` lists the edits and the tests that must notice each. Every mutant gets a copy of the library,
the grader and the tests, and a child of this process, which has torch loaded and none of ours. Exits with 1 where a
mutant survives, where an entry does not work, or where the tests are red without any edit.
"""

import argparse
import ast
import gc
import importlib
import os
import shutil
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
LIST = ROOT / "tests" / "mutants.toml"
OUTSIDE = ("grader/", "scripts/", "site/")  # the library's package aside, what may be edited
HEADER = "| module | mutants | survivors |\n|---|---|---|"


@dataclass(frozen=True)
class Mutant:
    """One edit of one file, and the tests that must turn red."""

    id: str
    file: str  # below diffusion_lib; others begin with grader/, scripts/ or site/
    old: str  # stands in the file exactly once
    new: str
    red: tuple[str, ...]  # pytest's names below tests: a file, or FILE::TEST
    fast: bool = False  # also tried by `make test`

    @property
    def module(self) -> str:
        """The file without its ending."""
        return self.file.removesuffix(".py").removesuffix(".js")

    @property
    def path(self) -> str:
        """The file as seen from the top."""
        return self.file if self.file.startswith(OUTSIDE) else f"diffusion_lib/{self.file}"

    def edited(self, source: str) -> str:
        """The file's text with the edit in it."""
        return source.replace(self.old, self.new)

    @property
    def imported(self) -> str:
        """The module that must be imported without an error, or the edit is no mutant."""
        return "diffusion_lib" if self.file.endswith(".js") else self.path.removesuffix(".py").replace("/", ".")


def read_list(path: Path) -> list[Mutant]:
    """All entries of ``path``; raises ValueError where two share an id."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["mutant"]
    found = [Mutant(**{**entry, "red": tuple(entry["red"])}) for entry in entries]
    twice = [name for name, count in Counter(m.id for m in found).items() if count > 1]
    if twice:
        raise ValueError(f"each mutant needs an id of its own, but these are used twice: {', '.join(twice)}.")
    return found


def fault(mutant: Mutant) -> str:
    """Why the entry cannot be used, in words; empty where it can."""
    source = (ROOT / mutant.path).read_text(encoding="utf-8")
    if source.count(mutant.old) != 1 or mutant.new == mutant.old:
        return f"`old` occurs {source.count(mutant.old)} times in {mutant.file}, or equals `new`"
    try:  # whether an edited script is one, a browser says: tests/test_mutants.py asks it
        compile("" if mutant.file.endswith(".js") else mutant.edited(source), mutant.file, "exec")
    except SyntaxError as error:
        return f"the edited {mutant.file} is no Python: {error}"
    missing = [name for name in mutant.red if not _exists(name)]
    return f"no such test: {', '.join(missing)}" if missing or not mutant.red else ""


def _exists(name: str) -> bool:
    file, _, test = name.partition("::")
    if not (ROOT / "tests" / file).is_file():
        return False
    names = {n.name for n in ast.walk(_tree(ROOT / "tests" / file)) if isinstance(n, ast.FunctionDef)}
    return not test or test.partition("[")[0] in names


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def warm_up(mutants: Iterable[Mutant]) -> None:
    """Import what the tests and the edited modules import, all but the library: each child has it then."""
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    os.environ["DIFFUSION_REQUIRE_BROWSER"] = "1"  # a test that is skipped lets every mutant live
    tests = {ROOT / "tests" / name.partition("::")[0] for m in mutants for name in m.red}
    edited = {ROOT / m.path for m in mutants if m.file.endswith(".py")}
    # What a test imports within itself may be heavy, and is needed by that one alone.
    nodes = [node for path in {ROOT / "tests" / "conftest.py", *tests} for node in _tree(path).body]
    nodes += [node for path in edited for node in ast.walk(_tree(path))]
    for line in sorted({"import beartype", *_foreign_imports(nodes)}):
        with suppress(ImportError):
            exec(line, {})
    import torch

    torch.set_num_threads(1)
    torch.optim.AdamW([torch.zeros(1, requires_grad=True)])  # a process's first optimiser imports the compiler
    gc.freeze()  # pytest collects garbage: what is here for good need not be searched by every child


def _foreign_imports(nodes: Iterable[ast.AST]) -> Iterator[str]:
    """The import statements among ``nodes`` that name none of our packages, tests, scripts and benchmarks, as code."""
    ours = [path for folder in ("tests", "scripts", "benchmarks") for path in (ROOT / folder).glob("*.py")]
    own = {"diffusion_lib", "grader", "sitecustomize", *(path.stem for path in ours)}
    for node in nodes:
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            if not own & {name.partition(".")[0] for name in names}:
                yield ast.unparse(node)


def plant(place: Path, mutant: Mutant | None = None) -> Path:
    """A copy of library, grader, tests, scripts and site in ``place``, with the edit in it; the rest is linked."""
    for name in ("diffusion_lib", "grader", "tests", "scripts", "site"):
        source = place.parent / "clean" / name if mutant else ROOT / name
        stale = [] if not mutant else [f"{Path(mutant.file).stem}.*.pyc"]
        shutil.copytree(source, place / name, ignore=shutil.ignore_patterns("weights", *stale))
    for name in ("diffusion_lib/weights", "homework", "notebooks", "Makefile"):
        (place / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "pyproject.toml", place)
    (place / "tmp").mkdir()
    if mutant:
        path = place / mutant.path
        path.write_text(mutant.edited(path.read_text(encoding="utf-8")), encoding="utf-8")
    return place


class ImportFirst:
    """A plugin: a module that cannot be imported ends the session before any test, so it is no kill."""

    def __init__(self, module: str) -> None:
        self.module = module

    def pytest_collection_finish(self) -> None:
        importlib.import_module(self.module)


def run_tests(place: Path, tests: Iterable[str], module: str = "diffusion_lib", *options: str) -> int:
    """pytest's exit code on the copy in ``place``, by a child of this process; what it prints is in ``place/log``."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        code = _child(place, tests, module, options)
    finally:
        os._exit(code)


def _child(place: Path, tests: Iterable[str], module: str, options: tuple[str, ...]) -> int:
    import pytest

    log = os.open(place / "log", os.O_CREAT | os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(log, stream)
    os.chdir(place)
    sys.path.insert(0, str(place))
    os.environ |= {"PYTHONPATH": str(place), "TMPDIR": str(place / "tmp")}
    tempfile.tempdir = None
    ids = [f"{place}/tests/{name}" for name in tests]
    config = ["-c", f"{place}/pyproject.toml", "--rootdir", str(place), "-o", "addopts=", "-p", "no:cacheprovider"]
    code = int(pytest.main([*config, "-q", "--tb=short", *options, *ids], plugins=[ImportFirst(module)]))
    sys.stdout.flush()
    return code


def verdict(code: int) -> str:
    """What an exit code says of a mutant."""
    return {0: "SURVIVED", 1: "killed"}.get(code, f"broken entry (exit {code})")


def first_red(log: Path) -> str:
    """The first test that a log calls failed."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.split()[1].rpartition("/")[2] for line in lines if line.startswith(("FAILED ", "ERROR "))), "")


def try_out(mutant: Mutant, forest: Path) -> str:
    """Plant one mutant, run its tests, print its row; returns the verdict."""
    wrong, start = fault(mutant), time.perf_counter()
    if wrong:
        print(f"{mutant.id:<38}broken entry: {wrong}", flush=True)
        return "broken entry"
    place = plant(forest / mutant.id, mutant)
    found = verdict(run_tests(place, mutant.red, mutant.imported, "-x"))
    seconds = time.perf_counter() - start
    print(f"{mutant.id:<38}{found:<12}{seconds:6.1f} s  {first_red(place / 'log')}", flush=True)
    if found.startswith("broken"):
        print((place / "log").read_text(encoding="utf-8"))
    shutil.rmtree(place)
    return found


def healthy(mutants: Iterable[Mutant], forest: Path) -> bool:
    """Whether the tests are green without any edit."""
    place = plant(forest / "clean")
    green = run_tests(place, sorted({name for m in mutants for name in m.red})) == 0
    if not green:
        print(f"The tests are red without any edit:\n{(place / 'log').read_text(encoding='utf-8')}")
    return green


def summary(mutants: Iterable[Mutant], killed: set[str]) -> str:
    """How many mutants each module has, and how many of them were not killed, as a table in Markdown."""
    all_of, alive = Counter(m.module for m in mutants), Counter(m.module for m in mutants if m.id not in killed)
    rows = [f"| `{module}` | {count} | {alive[module]} |" for module, count in all_of.items()]
    return "\n".join([HEADER, *rows, f"| all | {all_of.total()} | {alive.total()} |"])


def chosen(arguments: list[str] | None = None) -> list[Mutant]:
    """The mutants that the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", default=LIST, type=Path, metavar="FILE", help="another list of mutants")
    parser.add_argument("--only", nargs="+", metavar="ID", help="these mutants alone")
    parser.add_argument("--share", default="1", metavar="N", help="every Nth mutant, or 'fast': those marked so")
    wanted = parser.parse_args(arguments)
    mutants = read_list(wanted.list)
    unknown = set(wanted.only or []) - {m.id for m in mutants}
    if unknown or not (wanted.share == "fast" or (wanted.share.isdecimal() and int(wanted.share) > 0)):
        parser.error(f"no such mutant: {', '.join(sorted(unknown))}" if unknown else "--share takes N or 'fast'")
    if wanted.only:
        return [m for m in mutants if m.id in wanted.only]
    return [m for m in mutants if m.fast] if wanted.share == "fast" else mutants[:: int(wanted.share)]


def main(arguments: list[str] | None = None) -> int:
    """Try the mutants that were asked for; 0 where all were killed."""
    mutants = chosen(arguments)
    warm_up(mutants)
    with tempfile.TemporaryDirectory(prefix="mutants-") as forest:
        if not healthy([m for m in mutants if not fault(m)], Path(forest).resolve()):
            return 1
        killed = {m.id for m in mutants if try_out(m, Path(forest).resolve()) == "killed"}
    gc.unfreeze()  # or libraries complain at the end
    print(summary(mutants, killed))
    return int(len(killed) < len(mutants))


if __name__ == "__main__":
    sys.exit(main())
