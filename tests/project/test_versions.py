"""What the metadata declare is what `.ci/versions` runs the tests with."""

import re
import tomllib
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
NOT_FOR_USERS = {"test", "bench", "docs", "peers", "dev"}  # extras for those who work on autoconv


@pytest.fixture(scope="module")
def script():
    path = HERE / ".ci" / "versions"
    if not path.exists():
        pytest.skip("only a checkout has .ci/versions")
    loader = SourceFileLoader("versions", str(path))
    module = module_from_spec(spec_from_loader("versions", loader))
    loader.exec_module(module)
    return module


def test_the_declared_pythons_are_those_that_it_runs(script):
    prefix = "Programming Language :: Python :: 3."
    declared = {name.removeprefix(prefix) for name in PROJECT["classifiers"] if name.startswith(prefix)}
    lowest = PROJECT["requires-python"].removeprefix(">=3.")
    assert declared == {lowest, *(version.removeprefix("3.") for version in script.DEBIAN.values())}


def test_every_dependency_of_a_user_runs_at_its_lowest_version(script):
    declared = set(PROJECT["dependencies"])
    for extra, requirements in PROJECT["optional-dependencies"].items():
        if extra not in NOT_FOR_USERS:
            declared |= {requirement for requirement in requirements if ">=" in requirement}
    pinned = set(script.lowest(*script.EXTRAS, "cuda"))
    assert {re.sub(r"\s*>=\s*", "==", requirement) for requirement in declared} <= pinned
