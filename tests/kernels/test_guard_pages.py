"""No kernel touches memory outside its arrays."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="guard pages are set up with Linux's mmap")


def run(*what):
    script = Path(__file__).parents[1] / "support" / "guard_pages.py"
    return subprocess.run([sys.executable, str(script), *what], capture_output=True, text=True, timeout=280)


@pytest.mark.parametrize("at", ["end", "begin"])
def test_no_kernel_reads_or_writes_outside_its_arrays(at):
    done = run(at)
    assert done.returncode == 0, done.stderr or f"killed by {signal.Signals(-done.returncode).name}"


@pytest.mark.parametrize("at", ["end", "begin"])
def test_random_windows_are_refused_or_stay_inside(at):
    done = run(at, "600")
    assert done.returncode == 0, done.stderr or f"killed by {signal.Signals(-done.returncode).name}"
    ran, refused = map(int, done.stdout.split())
    assert min(ran, refused) > 100


def test_a_stray_read_is_caught():
    assert run("stray").returncode == -signal.SIGSEGV
