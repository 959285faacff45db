"""The import rule of the house, read from the source."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter

import pytest
from conftest import ROOT

PACKAGE = ROOT / "diffusion_lib"
CONFIG = {"profiles"}  # plain dataclasses: everyone may read them
MAY_IMPORT = {  # inside the package
    "profiles": set(),
    "shapes": set(),
    "schedules": {"shapes"},
    "diffusion": {"shapes", "schedules"},
    "guidance": {"shapes", "schedules", "diffusion"},
    "samplers": {"shapes", "schedules", "diffusion", "guidance"},
    "oracles": {"shapes", "schedules", "diffusion"},
    "predictions": {"shapes", "schedules", "diffusion"},
    "flow": {"shapes", "schedules", "diffusion", "predictions", "samplers"},
    "editing": {"shapes", "schedules", "diffusion", "samplers"},
    "embeddings": {"shapes"},
    "fast": set(),
    "unet": {"shapes", "embeddings", "fast"},
}
STDLIB = set(sys.stdlib_module_names)
MOUNT = "diffusion_lib.__main__"  # the only place of the library that knows the teacher's package, where it is there
MOST_LINES, MOST_BODY = 300, 25  # of a file; of a function, its docstring aside
LONG: set[str] = set()  # functions that may be longer


def module(path):
    """Dotted name of a file of the repository."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {module(path): path for house in ("diffusion_lib", "grader") for path in (ROOT / house).rglob("*.py")}


def names_imported(source):
    """Dotted names that ``source`` imports anywhere: at the top, inside a function, or by import_module("name")."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("import_module", "__import__"):
            yield from (argument.value for argument in node.args if isinstance(argument, ast.Constant))


def graph():
    """Module -> the modules of both packages that it imports."""
    known = FILES.keys()
    return {
        name: {w if w in known else w.rpartition(".")[0] for w in names_imported(path.read_text())} & known
        for name, path in FILES.items()
    }


def test_no_import_goes_in_a_circle():
    assert list(TopologicalSorter(graph()).static_order())  # a CycleError names the circle


def test_the_library_knows_the_teachers_package_in_one_place_and_the_students_rooms_not_even_its_name():
    assert "grader" in FILES
    for name, wanted in graph().items():
        if name.startswith("diffusion_lib") and name != MOUNT:
            assert not [w for w in wanted if w.split(".")[0] == "grader"], name
        if name.startswith("diffusion_lib.homework"):
            assert not re.search(r"\bgrader\b", FILES[name].read_text()), name


def test_that_graph_sees_every_kind_of_import():
    source = "import a.b\ndef f():\n    from c import d\n    importlib.import_module('e.f')"
    assert list(names_imported(source)) == ["a.b", "c.d", "e.f"]


def imported(name):
    """Names of the modules that ``diffusion_lib/name.py`` imports anywhere."""
    ours, others = set(), set()
    for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text())):
        names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "absolute imports only"
            names = [node.module] if node.module != "diffusion_lib" else [f"diffusion_lib.{a.name}" for a in node.names]
        for full in names:
            head, _, rest = full.partition(".")
            (ours if head == "diffusion_lib" else others).add(rest.split(".")[0] if head == "diffusion_lib" else head)
    return ours, others - STDLIB


@pytest.mark.parametrize("name", MAY_IMPORT)
def test_the_core_imports_one_way_and_only_torch(name):
    ours, others = imported(name)
    assert ours <= MAY_IMPORT[name] | CONFIG
    assert others <= {"torch", "jaxtyping"}


def test_one_file_knows_widgets_and_one_knows_plotting():
    for path in PACKAGE.rglob("*.py"):
        _, others = imported(path.relative_to(PACKAGE).with_suffix("").as_posix())
        assert bool({"ipywidgets", "anywidget"} & others) == (path.name == "widgets.py"), path.name
        assert ("matplotlib" in others) == (path.name in {"viz.py", "diagrams.py"}), path.name


def bodies(source):
    """(name, lines of the body without its docstring) of every function and method in ``source``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[ast.get_docstring(node) is not None :]
            yield node.name, body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_files_are_rooms_and_functions_are_short():
    for name, path in FILES.items():
        source = path.read_text()
        assert len(source.splitlines()) <= MOST_LINES, name
        too_long = {f"{name}.{function}": lines for function, lines in bodies(source) if lines > MOST_BODY}
        assert set(too_long) <= LONG, too_long


def test_the_core_loads_nothing_heavy():
    heavy = "{'matplotlib', 'torchvision', 'ipywidgets', 'anywidget', 'sklearn', 'torchmetrics', 'pandas', 'IPython'}"
    code = (
        "import sys, diffusion_lib.samplers, diffusion_lib.data; "
        "import diffusion_lib.training.loop, diffusion_lib.training.checkpoints; "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"
