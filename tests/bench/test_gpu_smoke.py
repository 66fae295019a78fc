"""The first phase of bench.gpu_check, which says whether anything works: on a GPU, else on its PTX in NumPy."""

import numpy as np
import pytest

from autoconv import get_precision
from autoconv.engine.costs import timing
from autoconv.engine.errors import DeviceError
from autoconv.kernels import device
from autoconv.kernels.cuda import device as device_cuda
from bench import child, gpu_phases, gpu_smoke, phases, reference, specs, workloads
from bench.peers.autoconv import OnGpu

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu_somewhere")]

SMOKE = gpu_phases.PLAN[0]
NEXT = phases.Phase("next", 9, pytest.fail)


@pytest.fixture
def run(tmp_path):
    """A run of a minute, with the lines that it `said`."""
    said = []
    run = phases.Run({"threads": 1}, tmp_path / "x.json", 60, said.append, lambda text: None)
    run.said = said
    return run


@pytest.fixture
def small(monkeypatch):
    """The checks of the first phase in this process, on one tile and on a small net."""
    net = workloads.Workload("tiny", (3, 3, 1), 3, (specs.Flatten(), specs.Dense(4)), (2,))
    monkeypatch.setitem(workloads.WORKLOADS, "tiny", net)
    options = {"tiles": {"names": ["small"], "precisions": ["tf32"]},
               "graph": {"workload": "tiny", "batch_size": 2, "replays": 1}}
    monkeypatch.setattr(child, "call", lambda function, given, *_: child.load_function(function)(
        **given, **options[given["check"]]))
    monkeypatch.setattr(device_cuda.CudaDevice, "measure_time", lambda _, run, times: timing.time_call(run, times))


def test_the_phase_runs(run, small):
    assert run.run_all([SMOKE]), run.said
    found = run.document["smoke"]
    assert [tile["right"] for tile in found["tiles"]["tiles"]] == [True]
    assert found["graph"]["graph"]["captured"]
    assert found["graph"]["gpu_us"] > 0
    assert any("1 replays of a step" in line for line in run.said)


def test_every_product_s_kernels_are_in_it():
    """But for those before a pooling, which only the tests have."""
    from autoconv.kernels.cuda import assembly

    every = [(how, name) for how in ("tf32", "highest") for name in gpu_smoke.tile_names()]
    found = {kernel.name for kernel, _ in gpu_smoke.find_kernels(device.get("cuda"), every)}
    assert found >= {name for name in assembly.kernels() if name.startswith(
        ("conv.forward_", "conv.input_gradient_", "conv.weight_gradient_"))}
    assert get_precision() == "tf32"  # as it was


def test_a_tile_that_computes_something_else_fails_the_phase(run, small, monkeypatch):
    expected = gpu_smoke._compute_reference
    monkeypatch.setattr(gpu_smoke, "_compute_reference",
                        lambda *given: {**expected(*given), "dw": np.zeros((3, 3, 12, 20))})
    assert not run.run_all([SMOKE, NEXT])
    assert "dw by tile small, tf32: " in run.document["phases"]["smoke"]["reason"]
    assert run.document["smoke"]["graph"]["graph"]["captured"]  # what else there was to check


def test_a_step_that_cannot_be_captured_fails_the_phase(run, small, monkeypatch):
    def capture(gpu, *given):
        raise DeviceError("capturing is not permitted")

    monkeypatch.setattr(device.get("cuda").module("runtime").Gpu, "capture", capture)
    assert not run.run_all([SMOKE, NEXT])
    assert "capturing is not permitted" in run.document["phases"]["smoke"]["reason"]


def test_a_net_that_computes_something_else_fails_the_phase(run, small, monkeypatch):
    """Its loss is not NumPy's, and it trains nothing, so there is no graph."""
    monkeypatch.setattr(reference, "loss", lambda *given: 1.0)
    monkeypatch.setattr(OnGpu, "train", lambda *given: None)
    assert not run.run_all([SMOKE, NEXT])
    reason = run.document["phases"]["smoke"]["reason"]
    assert "instead of 1.000000" in reason
    assert "4 arrays of weights are as they were" in reason
    assert "No CUDA graph was captured" in reason
