"""Kernels are compiled once a machine, and where they cannot be kept autoconv works all the same."""

import os
import subprocess
import sys

import pytest

PREPARE = """
import sys, warnings
import numpy as np
from autoconv.backend import device
from autoconv import functional as F
reports = []
{before}
two = ["pointwise.relu", "pointwise.relu_grad"]
device.get("cpu").prepare(two, "float32", lambda done, total: reports.append(f"{{done}}/{{total}}"))
print(*reports, float(F.relu(np.float32([-1, 2])).sum().item()))
"""


def prepare(folder, before=""):
    """What a fresh process reports while it makes the two ReLU kernels ready, and what they then compute."""
    environment = {**os.environ, "AUTOCONV_CACHE_DIR": str(folder), "NUMBA_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", PREPARE.format(before=before)], env=environment, capture_output=True,
                          text=True, check=True)


def test_kernels_are_compiled_once(tmp_path):
    assert prepare(tmp_path).stdout.split() == ["0/2", "1/2", "2/2", "2.0"]
    assert prepare(tmp_path).stdout.split() == ["2.0"]


@pytest.mark.parametrize("python", ["'/nowhere/python'", "'/bin/false'"])
def test_without_processes_they_are_compiled_here(tmp_path, python):
    done = prepare(tmp_path, f"sys.executable = {python}")
    assert done.stdout.split()[-1] == "2.0"
    assert not done.stderr
    assert prepare(tmp_path).stdout.split() == ["2.0"]


def test_a_folder_that_cannot_be_written_is_noted_and_does_no_harm(tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = prepare(tmp_path / "file")
    assert done.stdout.split() == ["0/2", "1/2", "2/2", "2.0"]
    assert "cannot be written" in done.stderr
    assert "AUTOCONV_CACHE_DIR" in done.stderr


def test_other_sources_have_another_folder(tmp_path):
    prepare(tmp_path)
    changed = "from autoconv.backend.cpu import jit; jit.source_hash = lambda: 'x'"
    prepare(tmp_path, f"{changed}; jit.cache_folder.cache_clear()")
    assert len(list(tmp_path.glob("kernels-*"))) == 2
