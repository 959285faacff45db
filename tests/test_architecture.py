"""The import rule of the house, read from the source."""

import ast
import subprocess
import sys

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
    "embeddings": {"shapes"},
    "fast": set(),
    "unet": {"shapes", "embeddings", "fast"},
}
STDLIB = set(sys.stdlib_module_names)


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


def test_files_are_rooms_and_functions_are_short():
    for path in PACKAGE.rglob("*.py"):
        source = path.read_text()
        assert len(source.splitlines()) <= 300, path.name


def test_the_core_loads_nothing_heavy():
    heavy = "{'matplotlib', 'torchvision', 'ipywidgets', 'anywidget', 'sklearn', 'torchmetrics', 'pandas', 'IPython'}"
    code = (
        "import sys, diffusion_lib.training, diffusion_lib.samplers, diffusion_lib.data, diffusion_lib.checkpoints; "
        f"print(sorted({heavy} & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout.strip() == "[]"
