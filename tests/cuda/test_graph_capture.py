"""The order of launches in a CUDA graph, and how it is captured: by a driver that only takes down what it is asked."""

import functools
import importlib
import sys
import types

import numpy as np
import pytest

from autoconv.kernels import device
from autoconv.kernels.cuda import order

X, Y, DY, W, DW, DX = ((100 * i, 100 * i + 100) for i in range(6))


def reads(*where):
    return [(*w, False) for w in where]


def writes(*where):
    return [(*w, True) for w in where]


def first(places, launch):
    """All launches that come before one: on its own stream, and by what it and those wait for."""
    found, waiting = set(), [launch]
    while waiting:
        i = waiting.pop()
        earlier = [j for j in range(i) if places[j].stream == places[i].stream]
        for j in (*places[i].dependencies, *earlier[-1:]):
            if j not in found:
                found.add(j)
                waiting.append(j)
    return found


def test_a_chain_stays_on_one_stream():
    chain = [writes(X), reads(X) + writes(Y), reads(Y) + writes(DY)]
    assert order.places(chain) == [(0, ())] * 3


def test_independent_work_goes_side_by_side_and_comes_together_again():
    forward, loss = reads(X, W) + writes(Y), reads(Y) + writes(DY)
    weights, inputs = reads(X, DY) + writes(DW), reads(W, DY) + writes(DX)
    update = reads(DW) + writes(W)
    places = order.places([forward, loss, weights, inputs, update])
    assert places[2].stream != places[3].stream
    assert first(places, 4) == {0, 1, 2, 3}  # the update overwrites what the input gradient reads
    assert 2 not in first(places, 3)


def test_side_work_holds_up_no_one():
    """A backward pass of many layers: each weight gradient beside the chain of input gradients."""
    layers = 12
    chain = [reads((1000 + i, 1001 + i)) + writes((1001 + i, 1002 + i)) for i in range(layers)]
    beside = [reads((1001 + i, 1002 + i)) + writes((5000 + i, 5001 + i)) for i in range(layers)]
    places = order.places([launch for pair in zip(chain, beside) for launch in pair])
    for i in range(layers):
        assert first(places, 2 * i) == set(range(0, 2 * i, 2))


@pytest.mark.parametrize(("a", "b", "waits"), [
    (reads(X), reads(X), False), (writes(X), reads(X), True), (reads(X), writes(X), True), (writes(X), writes(X), True),
    (writes(X), writes(Y), False), (writes((0, 100)), reads((99, 101)), True),
    (writes((0, 100)), reads((100, 101)), False),
], ids=str)
def test_what_has_to_wait(a, b, waits):
    assert (0 in first(order.places([a, b]), 1)) == waits


def test_every_conflict_is_kept_in_order():
    """Many launches on little memory."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        launches = [[(int(s), int(s) + 3, bool(w)) for s, w in zip(rng.integers(0, 60, 3), rng.integers(0, 4, 3) == 0)]
                    for _ in range(40)]
        places = order.places(launches)
        for i in range(40):
            before = first(places, i)
            for j in range(i):
                if order.conflict(launches[i], launches[j]):
                    assert j in before


class Code(int):
    """An error code of the driver's."""

    name = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"


@pytest.fixture
def driver(monkeypatch):
    """NVIDIA's driver, which answers every call and takes it down; what is in `fails` fails."""
    asked, fails = [], set()

    def function(name):
        def call(*arguments):
            asked.append((name, *(int(a) if isinstance(a, int) else a for a in arguments)))
            made = {"cuStreamCreate": 6 + [called for called, *_ in asked].count("cuStreamCreate"),
                    "cuEventCreate": len(asked), "cuStreamEndCapture": 50, "cuGraphInstantiate": 60,
                    "cuGraphGetNodes": [called for called, *_ in asked].count("launch") - ("lost" in fails)}
            answer = (Code(900 if name in fails else 0),)
            return (*answer, made[name]) if name in made else answer
        return call

    module = types.SimpleNamespace(
        CUstream=int, CUstream_flags=types.SimpleNamespace(CU_STREAM_NON_BLOCKING=1),
        CUevent_flags=types.SimpleNamespace(CU_EVENT_DISABLE_TIMING=2),
        CUstreamCaptureMode=types.SimpleNamespace(CU_STREAM_CAPTURE_MODE_RELAXED=2),
        asked=asked, fails=fails, __name__="cuda.bindings.driver", **{name: function(name) for name in (
            "cuStreamCreate", "cuStreamDestroy", "cuStreamBeginCapture", "cuStreamEndCapture", "cuStreamWaitEvent",
            "cuGraphInstantiate", "cuGraphGetNodes", "cuGraphDestroy", "cuGraphLaunch", "cuGraphExecDestroy",
            "cuEventCreate", "cuEventRecord", "cuEventDestroy")})
    bindings = types.ModuleType("cuda.bindings")
    bindings.driver = module
    monkeypatch.setitem(sys.modules, "cuda", types.ModuleType("cuda"))
    monkeypatch.setitem(sys.modules, "cuda.bindings", bindings)
    monkeypatch.delitem(sys.modules, "autoconv.kernels.cuda.graph", raising=False)
    yield module
    sys.modules.pop("autoconv.kernels.cuda.graph", None)


def graph(driver, places):
    """A graph of launches that take down on which stream they were."""
    def launch(i, handle):
        driver.asked.append(("launch", i, handle))
        if "launch" in driver.fails:
            raise RuntimeError("an error of cuda.core's")

    launches = [functools.partial(launch, i) for i in range(len(places))]
    return importlib.import_module("autoconv.kernels.cuda.graph").CudaGraph(3, launches, places)


def test_a_graph_on_one_stream(driver):
    made = graph(driver, [order.Place(0, ())] * 2)
    assert [call for call in driver.asked if "Event" not in call[0]] == [
        ("cuStreamCreate", 1), ("cuStreamBeginCapture", 7, 2), ("launch", 0, 7), ("launch", 1, 7),
        ("cuStreamEndCapture", 7), ("cuGraphGetNodes", 50), ("cuGraphInstantiate", 50, 0), ("cuGraphDestroy", 50),
        ("cuStreamDestroy", 7)]
    made()
    assert driver.asked[-1] == ("cuGraphLaunch", 60, 3)
    del made
    assert driver.asked[-1] == ("cuGraphExecDestroy", 60)


def test_a_graph_on_two_streams_forks_and_joins(driver):
    graph(driver, [order.Place(0, ()), order.Place(1, (0,)), order.Place(0, ()), order.Place(0, (1,))])
    asked = driver.asked
    begin, end = (next(i for i, call in enumerate(asked) if call[0] == name)
                  for name in ("cuStreamBeginCapture", "cuStreamEndCapture"))
    inside = [call for call in asked[begin + 1 : end] if call[0] != "cuEventCreate"]
    start, zero, one, joined = (call[1] for call in inside if call[0] == "cuEventRecord")
    assert inside == [
        ("cuEventRecord", start, 7), ("cuStreamWaitEvent", 8, start, 0),
        ("launch", 0, 7), ("cuEventRecord", zero, 7),
        ("cuStreamWaitEvent", 8, zero, 0), ("launch", 1, 8), ("cuEventRecord", one, 8),
        ("launch", 2, 7), ("cuStreamWaitEvent", 7, one, 0), ("launch", 3, 7),
        ("cuEventRecord", joined, 8), ("cuStreamWaitEvent", 7, joined, 0),
    ]
    assert [call[0] for call in asked[end:]].count("cuEventDestroy") == 4
    assert asked[-1] == ("cuGraphExecDestroy", 60)  # nobody holds it


def test_a_launch_that_is_not_in_the_graph(driver):
    """It would be missing from each replay."""
    driver.fails.add("lost")
    with pytest.raises(device.DeviceError, match="captured only 1 of 2 kernel launches"):
        graph(driver, [order.Place(0, ()), order.Place(0, ())])
    assert ("cuGraphDestroy", 50) in driver.asked


@pytest.mark.parametrize("name", ["cuStreamBeginCapture", "cuStreamEndCapture", "cuGraphInstantiate", "cuEventRecord"])
def test_a_driver_that_cannot(driver, name):
    driver.fails.add(name)
    with pytest.raises(device.DeviceError, match="could not capture or launch a graph: CUDA_ERROR_STREAM"):
        graph(driver, [order.Place(0, ()), order.Place(1, (0,))])
    names = [call[0] for call in driver.asked]
    assert ("cuStreamBeginCapture" in names) == ("cuStreamEndCapture" in names) or name == "cuStreamBeginCapture"
    assert names.count("cuStreamDestroy") == names.count("cuStreamCreate") == 2
    assert names.count("cuEventDestroy") == names.count("cuEventCreate")
    assert ("cuGraphDestroy" in names) == (name in ("cuGraphInstantiate", "cuEventRecord"))  # where there was a graph


def test_a_launch_that_cannot_be_captured(driver):
    """Whatever it raises, the stream leaves the capture, and the caller learns of an error it knows."""
    driver.fails.add("launch")
    with pytest.raises(device.DeviceError, match=r"could not be captured in a CUDA graph: an error of cuda\.core's"):
        graph(driver, [order.Place(0, ())])
    assert [call[0] for call in driver.asked][-5:] == ["launch", "cuStreamEndCapture", "cuGraphDestroy",
                                                       "cuEventDestroy", "cuStreamDestroy"]
