"""The processes that compile kernels, with one that compiles nothing in their place."""

import contextlib
import os
import time
from pathlib import Path

import pytest

from autoconv.kernels import compilers


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Processes of one core's machine, and what they were asked: (process, name)."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"))
    monkeypatch.setattr(compilers.os, "cpu_count", lambda: 1)
    file = tmp_path / "asked"
    processes = compilers.Compilers("fake_compiler", str(file))
    yield processes, lambda: [line.split() for line in file.read_text().splitlines()]
    processes.end()


def test_a_process_that_was_started_ahead_compiles_and_waits_for_more(asked):
    processes, found = asked
    reports = []
    processes.start(4)
    processes.compile(["a", "b"], lambda *done: reports.append(done))
    processes.compile(["c"], lambda *done: None)
    assert reports == [(1, 2), (2, 2)]
    assert [name for _, name in found()] == ["a", "b", "c"]
    assert len({process for process, _ in found()}) == 1
    processes.end()
    processes.compile(["d"], lambda *done: None)
    assert found()[-1][0] != found()[0][0]


def test_the_caller_goes_on_and_waits_for_what_it_needs(asked):
    processes, found = asked
    processes.request(["slow", "a", "b"])
    processes.request(["a"])  # it will be there already
    processes.wait(["a"])
    assert [name for _, name in found()][:2] == ["slow", "a"]
    processes.wait(["b", "never asked for"])
    assert [name for _, name in found()] == ["slow", "a", "b"]


def test_nobody_waits_for_processes_that_were_ended(asked):
    processes, _ = asked
    reports = []
    processes.request(["slow", "a"])
    processes.end()
    processes.wait(["slow", "a"], reports.append)
    assert reports == []


def test_what_kills_a_process_is_left_and_the_next_kernels_have_a_new_one(asked):
    processes, found = asked
    reports = []
    processes.compile(["a", "deadly", "b"], lambda *done: reports.append(done))
    assert reports == [(1, 3)]
    processes.compile(["c"], lambda *done: None)
    assert [name for _, name in found()] == ["a", "c"]


def test_processes_that_wait_in_vain_end(asked, monkeypatch):
    processes, found = asked
    monkeypatch.setattr(compilers, "IDLE", 0.05)
    processes.compile(["a"], lambda *done: None)
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.kill(int(found()[0][0]), 0)
            time.sleep(0.01)
    monkeypatch.setattr(compilers, "IDLE", 10)
    processes.compile(["b"], lambda *done: None)
    assert found()[0][0] != found()[1][0]
