"""What tests of several files need."""

import importlib
import re
import signal
from functools import cache
from pathlib import Path

import pytest

from autoconv.kernels.cuda import device as device_cuda
from autoconv.kernels.cuda import driver

# A shell has programs in its background ignore Ctrl-C, and all that they start: the tests send it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


WITHOUT_CUDA = "numba-cuda is not installed"  # the reason for which tests are skipped


def pytest_collection_modifyitems(config, items):
    """Marks the tests that need numba-cuda. Deselects soak tests unless -m contains "soak", and slow tests unless -m or
    a test's own name selects what runs.
    """
    unselected = {"soak"} if "soak" not in config.option.markexpr else set()
    if leaves_out_slow_tests(config):
        unselected.add("slow")
    left_out = {item for item in items if any(mark.name in unselected for mark in item.iter_markers())}
    for item in items:
        if needs_cuda(item):
            item.add_marker(pytest.mark.cuda)
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


def leaves_out_slow_tests(config):
    """Whether neither -m nor the name of a single test says what to run."""
    return not config.option.markexpr and not any("::" in word for word in config.args)


def pytest_terminal_summary(terminalreporter, config):
    if leaves_out_slow_tests(config):
        terminalreporter.write_line(
            "Left out: slower tests, such as damaged files by the hundred, other processors' instruction sets, MPI and "
            "the code of the pages. To run them: pytest -n auto -m slow")


def needs_cuda(item):
    """Whether a test, or its whole file, is skipped where numba-cuda is not there."""
    reasons = [str(mark.kwargs.get("reason")) for mark in item.iter_markers("skipif")]
    return ("gpu_somewhere" in item.fixturenames or any(reason.startswith(WITHOUT_CUDA) for reason in reasons)
            or file_needs_cuda(item.path))


@cache
def file_needs_cuda(path: Path):
    skips = rf'pytest\.skip\("{WITHOUT_CUDA}.*allow_module_level'
    return re.search(skips, path.read_text(encoding="utf-8")) is not None


@pytest.fixture(scope="module")
def gpu_somewhere():
    """A GPU for the tests of a file: a real one, or one whose PTX runs in NumPy (ptx/)."""
    if not driver.is_installed():
        pytest.skip(f"{WITHOUT_CUDA}: pip install 'autoconv[cuda]'")
    if device_cuda.usable():
        yield
    else:
        with importlib.import_module("ptx.device").interpreted():
            yield


@pytest.fixture
def tiles_for_few_pixels(monkeypatch):
    """Lets Winograd's algorithm compute weight gradients of few pixels, too, so that the tests are quick. Returns the
    usual least number of pixels.
    """
    from autoconv.kernels.cpu import ways

    fewest = ways.FEWEST_PIXELS
    monkeypatch.setattr(ways, "FEWEST_PIXELS", 1)
    return fewest
