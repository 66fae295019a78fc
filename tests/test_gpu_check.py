"""The command for a GPU at hand, where there is none: phases, deadlines, tables, and its peers on the CPU."""

import json
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from autoconv.backend import device
from autoconv.costs import timing
from bench import (
    child,
    equal_work,
    gpu_check,
    gpu_kernels,
    gpu_tests,
    peers,
    phases,
    process,
    rounds,
    targets,
    workloads,
)

LECTURE = workloads.WORKLOADS["lecture"]


def silent(text):
    """Reports nothing."""




@pytest.fixture
def fakes(monkeypatch):
    """Fake peers in the places of autoconv and of PyTorch."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))

    def put(**factories):
        monkeypatch.setattr(peers, "PEERS", {
            name.replace("_", "-"): peers.Entry(name, f"fake_peers:{factory}", (), (), device="cuda")
            for name, factory in factories.items()})

    return put


# Phases.


def test_a_phase_that_fails_is_noted_and_the_next_one_runs(tmp_path):
    file, document = tmp_path / "x.json", {}
    run = phases.Phases(document, file, 60, silent)
    run.run("broken", 9, lambda until: 1 / 0)
    written = json.loads(file.read_text())
    assert written["phases"]["broken"]["status"] == "failed"
    assert "ZeroDivisionError" in written["phases"]["broken"]["traceback"]
    run.run("next", 9, lambda until: {"found": 1})
    assert json.loads(file.read_text())["found"] == 1


def test_a_phase_gets_its_own_limit_or_what_is_left(tmp_path):
    given = []
    run = phases.Phases({}, tmp_path / "x.json", 60, silent)
    begun = time.perf_counter()
    for name, limit in (("short", 5), ("long", 500)):
        run.run(name, limit, lambda until: given.append(until) or {})
    assert given[0] - begun == pytest.approx(5, abs=2)
    assert given[1] == run.end


def test_what_finds_no_time_left_is_skipped(tmp_path):
    document = {}
    phases.Phases(document, tmp_path / "x.json", 1, silent).run("late", 9, pytest.fail)
    assert document["phases"]["late"]["status"] == "skipped"


def test_phases_that_time_nothing_run_together(tmp_path):
    document, both = {}, threading.Barrier(2, timeout=20)
    run = phases.Phases(document, tmp_path / "x.json", 60, silent)
    run.together(9, {"a": lambda until: {"a": both.wait()}, "b": lambda until: {"b": both.wait()},
                     "broken": lambda until: 1 / 0})
    assert {document["a"], document["b"]} == {0, 1}
    assert [document["phases"][name]["status"] for name in ("a", "b", "broken")] == ["done", "done", "failed"]


def test_a_child_that_hangs_is_ended(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    begun = time.perf_counter()
    with pytest.raises(process.PeerError, match="no answer"):
        child.call("fake_peers:hang", {}, 1, begun)
    assert time.perf_counter() - begun < 20


def test_a_child_returns_what_the_function_does():
    until = time.perf_counter() + 60
    assert child.call("json:dumps", {"obj": [1]}, 1, until) == "[1]"
    with pytest.raises(process.PeerError, match="ModuleNotFoundError"):
        child.call("no_such_module:run", {}, 1, until)


# Rounds until a deadline.


def test_rounds_end_at_the_deadline_with_as_many_of_each(fakes):
    fakes(one="Honest", two="Steady")
    plan = rounds.Plan(10**6, 10**6, 1, 2, 0.05, at_once=True, until=time.perf_counter() + 12)
    found = rounds.compare(["one", "two"], "lecture", 2, "infer", plan, silent)["peers"]
    assert len(found["one"]["seconds"]) == len(found["two"]["seconds"]) >= 1
    assert time.perf_counter() < plan.until + 20


def test_rounds_that_ended_in_time_count(fakes):
    fakes(one="Steady", two="Stuck")  # warm-up, its length, a round that does not count, two that do
    plan = rounds.Plan(10**6, 10**6, 1, 2, 0.01, at_once=True, until=time.perf_counter() + 12)
    found = rounds.compare(["one", "two"], "lecture", 2, "infer", plan, silent)["peers"]
    assert len(found["one"]["seconds"]) == len(found["two"]["seconds"]) == 2


def test_without_time_for_a_round_nobody_is_timed(fakes):
    fakes(one="Honest")
    plan = rounds.Plan(3, 3, 1, 2, 0.05, at_once=True, until=time.perf_counter())
    assert rounds.compare(["one"], "lecture", 2, "infer", plan, silent)["peers"]["one"]["status"] == "failed"


def test_a_round_takes_as_many_passes_as_make_it_long_enough(fakes):
    fakes(one="Steady")  # 10 ms a step
    plan = rounds.Plan(1, 1, 1, 2, seconds=0.2)
    begun = time.perf_counter()
    found = rounds.compare(["one"], "lecture", 2, "infer", plan, silent)["peers"]["one"]
    assert found["seconds"][0] == pytest.approx(0.01, rel=0.5)
    assert time.perf_counter() - begun > 0.4  # the round that does not count, and the one that does


def test_who_trains_otherwise_than_most_is_wrong():
    found = equal_work.trained_otherwise("lecture", {"a": 2.30, "b": 2.31, "c": 2.60, "d": float("nan")})
    assert set(found) == {"c", "d"}
    assert "2.6000" in str(found["c"])


# The peers.


def stand_in(name, monkeypatch, mode="train"):
    """A peer of PyTorch's for GPUs, on the CPU, where a captured step is that step."""
    pytest.importorskip("torch")
    from bench.peers import pytorch_cuda

    def captured(run):
        for _ in range(3):
            run()
        return SimpleNamespace(replay=run)

    monkeypatch.setattr(pytorch_cuda, "captured", captured)
    return getattr(pytorch_cuda, name)(LECTURE, 1, mode, 1, "cpu")


def trained(peer, rate=None, steps=4, batch_size=8):
    """The loss on the first batch after a few steps, in the order of the data."""
    given, (images, labels) = workloads.weights(LECTURE), workloads.data(LECTURE, steps * batch_size)
    peer.load(given)
    peer.hold(images, labels, batch_size)
    assert all(np.array_equal(a, b) for a, b in zip(given, peer.weights()))  # what a capture trained is undone
    peer.shuffle = False
    if rate is not None:
        peer.schedule(np.full(steps, rate))
    peer.train(steps)
    return peer.loss(images[:batch_size], labels[:batch_size])


@pytest.mark.parametrize("name", ["Eager", "Graphed"])
def test_pytorch_on_a_gpu_does_the_same_work(name, monkeypatch):
    peer = stand_in(name, monkeypatch)
    from bench.peers import pytorch

    assert trained(peer) == pytest.approx(trained(pytorch.eager(LECTURE, 1, "train", 1)), rel=1e-4)
    assert 1 < peer.mean_loss < 4
    assert not any(np.array_equal(a, b) for a, b in zip(workloads.weights(LECTURE), peer.weights()))


@pytest.mark.parametrize("name", ["Eager", "Graphed"])
def test_pytorch_on_a_gpu_heeds_the_rate_of_each_step(name, monkeypatch):
    peer = stand_in(name, monkeypatch)
    trained(peer, rate=0.0)
    assert all(np.array_equal(a, b) for a, b in zip(workloads.weights(LECTURE), peer.weights()))


@pytest.mark.parametrize("name", ["Eager", "Graphed"])
def test_pytorch_on_a_gpu_answers_for_every_batch(name, monkeypatch):
    peer = stand_in(name, monkeypatch, "infer")
    images, labels = workloads.data(LECTURE, 24)
    peer.load(workloads.weights(LECTURE))
    peer.hold(images, labels, 8)
    peer.infer(3)
    np.testing.assert_array_equal(peer.answers.numpy().argmax(1), peer.predict(images, 24))


@pytest.mark.parametrize("steps_a_call", [1, 3])
def test_jax_on_a_gpu_does_the_same_work(steps_a_call):
    pytest.importorskip("jax")
    from bench.peers.autoconv import Autoconv
    from bench.peers.jax_cuda import JaxOnGpu

    peer = JaxOnGpu(LECTURE, 1, "train", 1, steps_a_call)
    assert trained(peer) == pytest.approx(trained(Autoconv(LECTURE, 1, "train", 1)), rel=1e-4)
    peer.infer(4)
    np.testing.assert_array_equal(np.asarray(peer.answers).argmax(1),
                                  peer.predict(workloads.data(LECTURE, 32)[0], 32))


def test_autoconv_s_clock_leaves_the_first_epoch_out(monkeypatch):
    from bench.peers.autoconv import OnGpu

    monkeypatch.setattr(OnGpu, "device", "cpu")
    monkeypatch.setattr("bench.peers.autoconv.version", lambda package: "1")
    peer = OnGpu(LECTURE, 1, "train", 1)
    images, labels = workloads.data(LECTURE, 16)
    peer.load(workloads.weights(LECTURE))
    peer.hold(images, labels, 8)
    begun = time.perf_counter()
    assert 0 < peer.seconds("train", 2, passes=3) < time.perf_counter() - begun
    assert peer.net.history.epoch == [0, 1, 2, 3]
    assert peer.versions()["numba-cuda"] == "1"


# The tests in a process of their own.


def test_tests_are_counted_and_the_first_failures_kept(tmp_path):
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_a.py").write_text("import pytest\npytestmark = pytest.mark.gpu\n"
                                     "def test_good(): pass\ndef test_bad(): assert 1 == 2\n"
                                     "@pytest.mark.skip\ndef test_not_here(): pass\n")
    (tests / "test_b.py").write_text("import no_such_module\n")  # holds none that is marked, so it is left alone
    found = gpu_tests.run(tests, 1, time.perf_counter() + 60)
    assert (found["status"], found["passed"], found["failed"], found["skipped"]) == ("failed", 1, 1, 1)
    assert "assert 1 == 2" in found["failures"][0]["text"]
    (tests / "test_a.py").write_text("import pytest, time\n@pytest.mark.gpu\ndef test_slow(): time.sleep(60)\n")
    assert gpu_tests.run(tests, 1, time.perf_counter() + 3)["status"] == "not ended in time"


# The kernels.


def test_kernels_are_compared_with_the_lower_ceiling(monkeypatch):
    monkeypatch.setattr(device.Device, "elapsed", lambda self, run, repeats: timing.timed(run, repeats), raising=False)
    found = gpu_kernels.measure([("lecture", 2)], 1e9, 1e12, 10**6, "cpu", 1)
    assert {k["kind"] for k in found} >= {"conv forward", "conv input gradient", "conv weight gradient"}
    for k in found:
        assert k["bound"] == "arithmetic"
        assert k["fraction"]["median"] == pytest.approx(k["flops"] / 1e9 / np.median(k["seconds"]))
        assert k["in_l2"] == (k["bytes"] < 10**6)


# The command.


def document():
    """Results as gpu_check writes them, with made-up numbers."""
    def timed(*seconds):
        return {"status": "timed", "seconds": list(seconds)}

    lecture = {"workload": "lecture", "batch_size": 64, "mode": "train", "peers": {
        "autoconv-cuda": timed(1.0, 2.0, 1.0), "torch-cuda": timed(4.0, 8.0, 40.0),
        "torch-cuda-graph": timed(1.2, 2.4, 1.2), "jax-cuda": timed(3.0, 3.0, 3.0),
        "torch-cuda-compile": {"status": "failed", "reason": "no Triton"}}}
    race = {"mode": "accuracy", "workload": "lecture", "batch_size": 64, "peers": {
        "autoconv-cuda": {"seconds_to_target": {"median": 1.4}}, "torch-cuda": {"seconds_to_target": {"median": 9.8}},
        "torch-cuda-graph": {"seconds_to_target": {"median": 7.0}}}}
    return {"results": [lecture, race], "kernels": [{"fraction": {"median": 0.5}}, {"fraction": {"median": 0.8}}],
            "tests": {"status": "passed", "passed": 700, "failed": 0, "skipped": 1},
            "accuracy": {"dataset": "mnist", "test_accuracy": [0.991, 0.992, 0.993]},
            "phases": {"lecture, infer, batch 64": {"status": "failed", "reason": "PeerError: no answer"}}}


def test_the_table_says_what_is_reached():
    found = targets.verdicts(document())
    assert [v.met for v in found] == [
        "aim", "least", "least", *["not measured"] * 5, "least", "aim", "aim"]
    assert found[1].found == "4.00x"  # the median of the rounds, each with its partner
    assert (found[2].found, found[2].against) == ("1.20x", "torch-cuda-graph")
    assert "no answer" in found[4].found
    assert found[-1].found == "5.00x, 1.4 s"
    assert all(v.what in targets.shown(document()) for v in found)


def test_the_table_knows_what_falls_short():
    worse = document()
    worse["results"][0]["peers"]["autoconv-cuda"]["seconds"] = [2.0, 4.0, 2.0]
    worse["results"][1]["peers"]["autoconv-cuda"] = {"status": "timed"}
    worse["tests"].update(status="failed", failed=1)
    worse["kernels"][0]["fraction"]["median"] = 0.39
    worse["accuracy"]["test_accuracy"] = [0.99, 0.99, 0.99]
    found = targets.verdicts(worse)
    assert [found[i].met for i in (0, 1, 2, 8, 9, 10)] == ["no"] * 6
    worse["accuracy"] = {"dataset": "digits", "test_accuracy": [0.99]}
    assert targets.verdicts(worse)[9].met == "not measured"
    assert all(v.met == "not measured" for v in targets.verdicts({}))


def test_without_a_gpu_the_command_says_what_is_missing(capsys, tmp_path):
    file = tmp_path / "x.json"
    if gpu_check.device_cuda.usable():
        pytest.skip("there is a GPU here")
    assert gpu_check.main(["--out", str(file)]) == 1
    assert "cannot be used" in capsys.readouterr().err
    assert not file.exists()


def test_the_command_runs_all_phases_and_keeps_what_each_found(fakes, tmp_path, capsys, monkeypatch):
    fakes(autoconv_cuda="Honest", torch_cuda="Honest", torch_cuda_graph="Broken")
    peers.PEERS["jax-cuda"] = peers.Entry("JAX", "no:One", ("no_such_framework",), (), device="cuda")
    monkeypatch.setattr(gpu_check, "the_gpu", lambda: {"name": "A GPU"})
    monkeypatch.setattr(targets, "SPEEDS", (
        targets.Speed("lecture", 2, "train", ("torch-cuda", "torch-cuda-graph", "jax-cuda"), 1e-6, 1e-5),))
    monkeypatch.setattr(workloads, "ON_GPU", 1.0)
    monkeypatch.setattr(gpu_check, "ROUND_SECONDS", 0.01)
    monkeypatch.setattr(gpu_check.datasets, "where", lambda name: None)
    monkeypatch.setattr(gpu_check, "five_epochs", lambda threads, until: {"dataset": "digits", "test_accuracy": [0.97]})
    monkeypatch.setattr(child, "call", lambda function, *rest: {
        "bench.gpu_kernels:prepare": {"kernels": 9, "seconds": 1.0},
        "bench.gpu_kernels:measure": [{"fraction": {"median": 0.9}}],
        "bench.gpu_ceilings:measure": {"tf32_flops": {"median": 1e14}, "bytes_per_s": {"median": 1e12}, "l2_bytes": 9},
    }[function])
    file = tmp_path / "x.json"
    assert gpu_check.main(["--minutes", "2", "--skip-tests", "--out", str(file)]) == 0
    out, found = capsys.readouterr().out, json.loads(file.read_text())
    assert found["results"][0]["peers"]["torch-cuda"]["status"] == "timed"
    assert found["peers"]["jax-cuda"]["reason"] == "not installed: no_such_framework"
    assert "the kernel is gone" in out
    assert "no MNIST" in found["phases"]["race"]["reason"]
    assert [note["status"] for note in found["phases"].values()] == ["done"] * 6 + ["absent"]
    lines = out.splitlines()
    assert next(line for line in lines if line.startswith("lecture, train")).endswith("aim")
    assert next(line for line in lines if line.startswith("convolution kernels")).endswith("aim")


@pytest.mark.parametrize("wrong", [["--minutes", "0"], ["--minutes", "inf"], ["--out", "/no/such/folder/x.json"]])
def test_a_wrong_argument_is_named(wrong, capsys):
    with pytest.raises(SystemExit) as error:
        gpu_check.main(wrong)
    assert error.value.code == 2
    assert wrong[0] in capsys.readouterr().err
