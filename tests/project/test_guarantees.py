"""docs/guarantees.md names tests and dependencies that are there, and all dependencies."""

import re
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
PAGE = (HERE / "docs" / "guarantees.md").read_text(encoding="utf-8")
PROJECT = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
NOT_FOR_USERS = {"test", "bench", "docs", "peers", "dev"}  # extras for those who work on autoconv


def test_every_promise_names_tests_that_are_there():
    rows = re.findall(r"^\| (?!guarantee|package)([^|]+) \| (.*test_.*) \|$", PAGE, re.MULTILINE)
    assert len(rows) > 20
    for promise, tests in rows:
        named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", tests)
        assert len(named) == tests.count("::"), promise
        for file, test in named:
            (path,) = (HERE / "tests").rglob(file)
            source = path.read_text(encoding="utf-8")
            assert re.search(rf"^def {test}\(", source, re.MULTILINE), f"{promise}: {file}::{test} is not there"


def test_every_dependency_has_its_reason():
    optional = PROJECT["optional-dependencies"]
    extras = [requirements for name, requirements in optional.items() if name not in NOT_FOR_USERS]
    declared = {re.match(r"[\w-]+", requirement)[0] for requirement in sum(extras, PROJECT["dependencies"])}
    listed = re.findall(r"^\| ([\w-]+) \| \S", PAGE.partition("## Dependencies")[2], re.MULTILINE)
    assert sorted(declared) == sorted(name for name in listed if name != "package")
