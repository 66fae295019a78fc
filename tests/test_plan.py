"""Sixteen threads can share a training step: no kernel leaves most of them without work."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import growth

ROOT = Path(__file__).resolve().parents[1]
NETS = ("lecture", "lecture-bn", "lenet5", "mlp", "resnet20")  # the command has the others as well


@pytest.mark.timeout(600)  # where nothing is compiled yet
def test_a_training_step_falls_evenly_on_sixteen_threads():
    command = [sys.executable, "-m", "bench.plan", "--workload", *NETS, "--threads", "16", "--rounds", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert done.stdout.count("the step") == len(NETS)


def test_growth_is_drawn_as_points_and_as_a_table():
    points = [{"axis": axis, "at": n, "flops": 1e9 * n, "seconds": 0.01 * n} for axis in growth.COLOURS for n in (1, 8)]
    drawing = growth.svg(points)
    assert drawing.count("<circle") == len(points)
    assert "100" in growth.rows(points)
