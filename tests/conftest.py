"""Tests run on the tiny profile, on one thread, offline, with every shape annotation of the library checked."""

import atexit
import os
import shutil
import sys
import tempfile
from functools import partial
from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent

# Kernels and subprocesses inherit all of this.
os.environ["DIFFUSION_PROFILE"] = "tiny"
# Where containers forbid Python to keep what it has compiled, each of a hundred processes would compile PyTorch anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS / "no_network"), *filter(None, [os.environ.get("PYTHONPATH")])])
os.environ.setdefault("OMP_NUM_THREADS", "1")  # two workers on two cores: more threads would fight
if "DIFFUSION_TESTS_SHARED" not in os.environ:  # the workers of a session inherit it
    os.environ["DIFFUSION_TESTS_SHARED"] = tempfile.mkdtemp(prefix="diffusion-tests-")
    atexit.register(shutil.rmtree, os.environ["DIFFUSION_TESTS_SHARED"], ignore_errors=True)
SHARED = Path(os.environ["DIFFUSION_TESTS_SHARED"])  # what is built once for all of them
os.environ["DIFFUSION_RUNS"] = tempfile.mkdtemp(prefix="diffusion-runs-")
sys.path.insert(0, str(TESTS / "no_network"))

import sitecustomize as _block_network  # noqa: E402, F401
from jaxtyping import install_import_hook  # noqa: E402

# Not the homework's own modules: they name no shapes, and a million checked calls of theirs would take a minute.
ROOMS = (".", "training", "showing")
FILES = [path.relative_to(ROOT) for room in ROOMS for path in (ROOT / "diffusion_lib" / room).glob("*.py")]
MODULES = [".".join(path.with_suffix("").parts) for path in FILES if path.stem != "__init__"]
install_import_hook(MODULES, "beartype.beartype")

import pytest  # noqa: E402
import torch  # noqa: E402
import warm  # noqa: E402
from filelock import FileLock  # noqa: E402
from jupyter_client.provisioning import local_provisioner  # noqa: E402

from diffusion_lib.data import STAND_IN, Digits, StandInWarning, load_digits, load_stand_in  # noqa: E402
from diffusion_lib.schedules import NoiseSchedule, cosine_betas, linear_betas  # noqa: E402

torch.set_num_threads(1)
local_provisioner.launch_kernel = warm.kernel  # eleven notebooks need not import PyTorch eleven times

SCHEDULES = {
    "linear": linear_betas(1000),
    "cosine": cosine_betas(1000),
    "short": linear_betas(40, 0.002, 0.3),
}


LONGEST = [
    *("test_lint.py", "test_homework_round.py", "test_site.py", "test_homework_checks.py", "test_front_ends.py"),
    *("test_browser.py", "04_reverse_sampling.ipynb", "test_live.py", "test_homework_experiment.py"),
    *("test_class_of_forty.py", "test_hand_ins.py", "test_testers.py", "test_endless.py"),
]


def pytest_configure(config) -> None:
    """Before workers start: the process that all of them ask imports what it needs beside them."""
    if config.getoption("numprocesses", None):
        warm.start()


def pytest_collection_modifyitems(items) -> None:
    """The files that take longest come first, so that two workers end at about the same time."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(params=SCHEDULES)
def schedule(request) -> NoiseSchedule:
    """Three schedules in float64."""
    return NoiseSchedule.from_betas(SCHEDULES[request.param])


@pytest.fixture(scope="session")
def stand_in() -> Digits:
    return load_stand_in("train")


@pytest.fixture(scope="session")
def mnist() -> dict[str, Digits]:
    """Real MNIST, where this machine has it; the test is skipped by name where it has not."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StandInWarning)
        digits = {split: load_digits(split) for split in ("train", "test")}
    if digits["test"].source == STAND_IN:
        pytest.skip("needs MNIST: set DIFFUSION_DATA to a folder that has it")
    return digits


@pytest.fixture(scope="session")
def release() -> Path:
    """What a teacher publishes, built once for all workers: copy from it, and leave it as it is."""
    from test_homework_checks import run

    with FileLock(SHARED / "release.lock"):
        if not (SHARED / "release").exists():
            run("build", "--out", SHARED / "being_built")
            (SHARED / "being_built").rename(SHARED / "release")
    return SHARED / "release"


@pytest.fixture(scope="session")
def jupyterlab():
    """How to serve notebooks in a JupyterLab with warm kernels."""
    from lab_server import WITH_WARM_KERNELS, serve

    warm.start()
    return partial(serve, program=("-c", WITH_WARM_KERNELS))


@pytest.fixture(scope="module")
def browser():
    from lab_server import CHROMIUM, FLAGS, PATIENCE
    from playwright.sync_api import sync_playwright

    assert CHROMIUM, "DIFFUSION_REQUIRE_BROWSER is set, but there is no Chromium"
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS, timeout=PATIENCE)
        yield chromium
        chromium.close()


def images(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Standard normal "images"; no assertion depends on the values drawn."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def probe_times(num_timesteps: int) -> torch.Tensor:
    """The levels where mistakes hide: both ends, their neighbours, a quarter, a half."""
    T = num_timesteps
    return torch.tensor([0, 1, T // 4, T // 2, T - 2, T - 1])
