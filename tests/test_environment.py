"""pyproject.toml, environment.yml and the lock say the same thing, and none of them names an address."""

import importlib.util
import re
import sys
import tomllib
from importlib.metadata import requires, version

import pytest
import yaml
from conftest import ROOT
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib"}


def needed(extra=None):
    listed = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    return {r.name: r.specifier for r in map(Requirement, listed)}


def locked(python):
    """{name: version} of the lock for one Python on Linux."""
    linux = {"sys_platform": "linux", "platform_system": "Linux"}
    environment = default_environment() | linux | {"python_version": python, "python_full_version": f"{python}.5"}
    versions = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            assert requirement.name not in versions, f"{requirement.name} is locked twice for Python {python}"
            versions[requirement.name] = str(requirement.specifier).removeprefix("==")
    return versions


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_lock_satisfies_pyproject(python):
    versions = locked(python)
    assert python in SpecifierSet(PROJECT["requires-python"])
    for name, specifier in {**needed(), **needed("test"), **needed("tensorboard"), **needed("site")}.items():
        assert versions[name] in specifier, f"{name} {versions.get(name)} is not {specifier}"


def test_conda_and_pyproject_agree():
    entries = [e for e in yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"] if isinstance(e, str)]
    conda = {}
    for entry in entries:
        requirement = Requirement(entry)
        conda[CONDA_NAMES.get(requirement.name, requirement.name)] = requirement.specifier
    assert conda.pop("python") == SpecifierSet(PROJECT["requires-python"])
    conda.pop("pip")
    assert conda == needed()


def test_no_committed_file_names_an_address_to_download_from():
    for name in ("requirements.lock", "environment.yml", "pyproject.toml", "Makefile", ".ci/run"):
        text = (ROOT / name).read_text()
        assert not re.search(r"https?://|index-url|find-links", text), name
    assert not list(ROOT.glob("*uv.lock"))


def test_this_environment_is_the_lock():
    for name, pinned in locked(f"{sys.version_info[0]}.{sys.version_info[1]}").items():
        if name in {**needed(), **needed("test"), **needed("site")}:
            assert version(name).removesuffix("+cpu") == pinned, f"{name}: run make setup"


def test_without_cuda_nothing_is_installed_that_torch_needs_for_cards_alone():
    """torch's own list of them: what it needs on Linux and nowhere else, and what that needs."""
    listed = set((ROOT / "requirements-cuda.txt").read_text().splitlines()[1:])
    systems = (
        {"sys_platform": "linux", "platform_system": "Linux"},
        {"sys_platform": "darwin", "platform_system": "Darwin"},
    )
    linux, mac = (default_environment() | system | {"extra": ""} for system in systems)

    def wanted(name, extras=("",)):
        found = [Requirement(line) for line in requires(name) or []]
        chosen = [r for r in found if r.marker is None or any(r.marker.evaluate(linux | {"extra": e}) for e in extras)]
        return [r for r in chosen if name != "torch" or not (r.marker is None or r.marker.evaluate(mac))]

    if not importlib.util.find_spec("nvidia"):
        pytest.skip("this torch is a build without CUDA, and says nothing of what CUDA needs")
    found, waiting = set(), wanted("torch")
    while waiting:
        requirement = waiting.pop()
        name = requirement.name.lower().replace("_", "-").replace(".", "-")
        if name not in found:
            found.add(name)
            waiting += wanted(name, ("", *requirement.extras))
    assert listed == {name for name in found if name not in needed()}
    assert listed <= set(locked("3.11"))
