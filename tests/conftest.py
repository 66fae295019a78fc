"""What tests of several files need."""

import importlib
import signal

import pytest

from autoconv.backend import device_cuda
from autoconv.backend.cuda import driver

# A shell has programs in its background ignore Ctrl-C, and all that they start: the tests send it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config, items):
    """Leaves the long runs out where -m does not name them."""
    if "soak" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("soak")]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if not item.get_closest_marker("soak")]


@pytest.fixture(scope="module")
def gpu_somewhere():
    """A GPU for the tests of a file: a real one, or one whose PTX runs in NumPy (ptx/)."""
    if not driver.installed():
        pytest.skip("numba-cuda is not installed: pip install 'autoconv[cuda]'")
    if device_cuda.usable():
        yield
    else:
        with importlib.import_module("ptx.device").interpreted():
            yield
