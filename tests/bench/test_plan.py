"""Sixteen threads can share a training step: no kernel leaves most of them without work."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import growth, plan, shares

ROOT = Path(__file__).resolve().parents[2]
NETS = ("lecture", "lecture-bn", "lenet5", "mlp", "resnet20")  # the command has the others as well


@pytest.mark.soak  # it measures, so it belongs on a machine that does nothing else
@pytest.mark.timeout(600)  # where nothing is compiled yet
def test_a_training_step_falls_evenly_on_sixteen_threads():
    command = [sys.executable, "-m", "bench.plan", "--workload", *NETS, "--threads", "16", "--rounds", "3"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert done.stdout.count("the step") == len(NETS)


def test_the_bound_on_a_speed_up_is_the_work_by_the_largest_shares():
    def call(name, *shares_of_a_region):
        return plan.Call(name, 8, shares.CallTimes(10, [np.array([each]) for each in shares_of_a_region]))

    alone = [call("even", 80), call("uneven", 90)]
    two = [plan.Call("even", 8, shares.CallTimes(10, [np.array([40, 40])])),
           plan.Call("uneven", 8, shares.CallTimes(10, [np.array([70, 20])]))]
    found = plan.Plan("net", 1, "train", {1: alone, 2: two})
    assert (found.work("even", 2), found.longest(2, "even")) == (90, 50)
    assert found.bound(2, "uneven") == 100 / 80
    assert found.bound(2) == 190 / 130
    assert (found.regions, found.bytes, found.names()) == (2, 16, ["even", "uneven"])
    assert "the step" in str(found)


def test_growth_is_drawn_as_points_and_as_a_table():
    points = [{"axis": axis, "at": n, "flops": 1e9 * n, "seconds": 0.01 * n} for axis in growth.COLOURS for n in (1, 8)]
    drawing = growth.svg(points)
    assert drawing.count("<circle") == len(points)
    assert "100" in growth.rows(points)
