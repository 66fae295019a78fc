"""The command for a GPU at hand, where there is none: phases, deadlines, tables, and its peers on the CPU."""

import contextlib
import json
import re
import time
from pathlib import Path
from types import SimpleNamespace

import fake_peers
import numpy as np
import pytest

from autoconv.engine.costs import timing
from autoconv.kernels import device
from bench import (
    child,
    environment,
    equal_work,
    gpu_check,
    gpu_kernels,
    gpu_phases,
    gpu_tests,
    gpu_threads,
    peers,
    phases,
    process,
    rounds,
    targets,
    turns,
    worker,
    workloads,
)

pytestmark = pytest.mark.slow

LECTURE = workloads.WORKLOADS["lecture"]


def silent(text):
    """Reports nothing."""


@pytest.fixture
def fakes(monkeypatch):
    """Fake peers in the places of autoconv and of PyTorch."""
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"))

    def put(**factories):
        monkeypatch.setattr(peers, "PEERS", {
            name.replace("_", "-"): peers.Entry(name, f"fake_peers:{factory}", (), (), device="cuda")
            for name, factory in factories.items()})

    return put


# Phases.


@pytest.fixture
def start(tmp_path):
    """Begins a run of so many seconds, on an empty document or that one; with `written()` and the lines it `said`."""
    def begin(seconds=250, document=None):
        said = []
        run = phases.Run({} if document is None else document, tmp_path / "x.json", seconds, said.append, silent)
        return SimpleNamespace(run=run, said=said, written=lambda: json.loads((tmp_path / "x.json").read_text()))

    return begin


@pytest.fixture
def clock(monkeypatch):
    """A clock for phases and rounds: `now` is a number of seconds, which only the test changes."""
    clock = SimpleNamespace(now=0.0)
    for module in (phases, turns):
        monkeypatch.setattr(module, "time", SimpleNamespace(perf_counter=lambda: clock.now))
    return clock


def phase(name, work, **more):
    return phases.Phase(name, more.pop("limit", 9), work, **more)


def finds(**found):
    return lambda run, deadline: found


def breaks(run, deadline):
    return 1 / 0


def test_a_phase_that_raises_is_noted_and_the_next_one_runs(start):
    it = start()
    assert not it.run.run_all([phase("broken", breaks), phase("next", finds(found=1))])
    notes = it.written()["phases"]
    assert [notes[name]["status"] for name in ("broken", "next")] == ["failed", "done"]
    assert "ZeroDivisionError" in notes["broken"]["traceback"]
    assert it.written()["found"] == 1
    assert [line.partition(" after")[0] for line in it.said] == ["broken: failed", "next: done"]


def test_a_phase_that_overruns_is_ended_and_the_next_one_runs(start, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"))
    it = start()
    hangs = phase("hangs", lambda run, deadline: child.call("fake_peers:hang", {}, 1, deadline), limit=0.1)
    it.run.run_all([hangs, phase("next", finds(found=1))])
    assert "no answer" in it.written()["phases"]["hangs"]["reason"]
    assert it.written()["found"] == 1


def test_nothing_runs_after_a_gate_that_failed(start):
    it = start()
    assert not it.run.run_all([phase("gate", breaks, gate=True), phase("a", pytest.fail), phase("b", pytest.fail)])
    assert [note["status"] for note in it.written()["phases"].values()] == ["failed", "skipped", "skipped"]
    assert it.said[-1] == "b: skipped, gate failed"


def test_what_a_phase_found_is_kept_where_it_is_not_what_it_must_be(start):
    def fails(run, deadline):
        raise phases.Failure("too few", {"found": 1})

    def absent(run, deadline):
        raise phases.Absent("no data")

    it = start()
    assert not it.run.run_all([phase("fails", fails)])
    assert it.run.run_all([phase("absent", absent)])  # is nobody's fault
    assert it.written()["found"] == 1
    assert [note["reason"] for note in it.written()["phases"].values()] == ["too few", "no data"]


def test_a_phase_gets_its_own_limit_or_what_is_left(start, clock):
    given = []

    def work(run, deadline):
        given.append(deadline)
        clock.now += 4
        return {}

    start(seconds=60).run.run_all([phase("short", work, limit=5), phase("long", work, limit=500)])
    assert given == [5, 60]


def test_what_finds_no_time_left_is_skipped(start):
    it = start(seconds=1)
    assert not it.run.run_all([phase("late", pytest.fail)])
    assert it.written()["phases"]["late"]["status"] == "skipped"


def test_what_is_found_on_the_way_is_written_at_once(start):
    def work(run, deadline):
        run.add(first=1)
        run.add_result({"mode": "infer"})
        assert it.written()["first"] == 1
        assert it.written()["results"] == [{"mode": "infer", "phase": "dies"}]
        return 1 / 0

    it = start()
    it.run.run_all([phase("dies", work)])
    assert it.written()["phases"]["dies"]["reason"].startswith("ZeroDivisionError")
    assert it.written()["first"] == 1


def test_a_phase_that_runs_again_forgets_what_it_found_before(start):
    def work(run, deadline):
        run.add_result({"mode": "train"})
        return {"numbers": [1, 2]}

    first = start()
    first.run.run_all([phase("a", work), phase("b", work)])
    again = start(document=first.written())
    again.run.run_all([phase("a", breaks), phase("c", finds(more=3))])
    assert again.written()["results"] == [{"mode": "train", "phase": "b"}]
    assert [again.written()["phases"][name]["status"] for name in "abc"] == ["failed", "done", "done"]
    assert again.written()["more"] == 3
    late = start(seconds=1, document=again.written())
    late.run.run_all([phase("b", pytest.fail)])
    assert late.written()["phases"]["b"]["status"] == "done"  # it is still what was found


def test_a_child_that_hangs_is_ended(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1] / "support"))
    with pytest.raises(process.PeerError, match="no answer"):
        child.call("fake_peers:hang", {}, 1, time.perf_counter())


def test_a_child_returns_what_the_function_does():
    deadline = time.perf_counter() + 250
    assert child.call("json:dumps", {"obj": [1]}, 1, deadline) == "[1]"
    with pytest.raises(process.PeerError, match="ModuleNotFoundError") as error:
        child.call("no_such_module:run", {}, 1, deadline)
    assert "Traceback" in str(error.value.__cause__)


# Rounds until a deadline.


class FakeProcess(contextlib.nullcontext):
    """A process of a peer on the test's clock: each round takes a second, and the one numbered `stuck` never ends."""

    def __init__(self, clock, stuck=None):
        super().__init__(self)
        self.clock, self.stuck, self.asked = clock, stuck, 0

    def ask(self, what, timeout):
        self.asked += 1
        if self.asked == self.stuck:
            self.clock.now += timeout
            raise process.PeerError("no answer")
        self.clock.now += 1
        return {"round": self.asked}


def test_rounds_end_at_the_deadline_with_as_many_of_each(clock):
    begun = {}
    found, failed = turns.run_rounds(
        ["one", "two"], lambda name: begun.setdefault(name, FakeProcess(clock)), lambda name, peer: None,
        10**6, 10**6, "label", silent, start_together=True, deadline=6.5)
    assert (found, failed) == ({name: [{"round": 2}, {"round": 3}] for name in begun}, {})  # the first does not count
    assert sum(peer.asked for peer in begun.values()) == clock.now == 7


def test_rounds_that_ended_in_time_count(clock):
    stuck = {"one": None, "two": 4}
    found, failed = turns.run_rounds(
        ["one", "two"], lambda name: FakeProcess(clock, stuck[name]), lambda name, peer: None,
        10**6, 10**6, "label", silent, start_together=True, deadline=7.5)
    assert (found, failed) == ({name: [{"round": 2}, {"round": 3}] for name in stuck}, {})
    assert clock.now == 7.5 + turns.GRACE


def test_without_time_for_a_round_nobody_is_timed(fakes):
    fakes(one="Honest")
    plan = rounds.Plan(3, 3, 1, 2, 0.05, start_together=True, deadline=time.perf_counter())
    assert rounds.compare(["one"], "lecture", 2, "infer", plan, silent)["peers"]["one"]["status"] == "failed"


def test_a_round_takes_as_many_passes_as_make_it_long_enough(monkeypatch):
    class TenMilliseconds(fake_peers.Honest):
        def seconds(self, mode, steps, passes=1):
            return 0.01 * steps * passes

    said = {}
    monkeypatch.setattr("sys.stdin", ["warm-up", "round"])
    worker.throughput(TenMilliseconds(LECTURE, 1, "infer", 1), {"mode": "infer", "steps": 2, "batch_size": 2,
                      "seconds": 0.19}, SimpleNamespace(say=lambda event, **facts: said.update({event: facts})))
    assert said["warm"]["steps"] == 2 * 10  # ten passes of 20 ms
    assert said["round"]["seconds"] == pytest.approx(0.01)


def test_who_trains_otherwise_than_most_is_wrong():
    found = equal_work.find_outliers("lecture", {"a": 2.30, "b": 2.31, "c": 2.60, "d": float("nan")})
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

    monkeypatch.setattr(pytorch_cuda, "capture_graph", captured)
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


@pytest.mark.parametrize("name", ["Eager", "CudaGraph"])
def test_pytorch_on_a_gpu_does_the_same_work(name, monkeypatch):
    peer = stand_in(name, monkeypatch)
    from bench.peers import pytorch

    assert trained(peer) == pytest.approx(trained(pytorch.eager(LECTURE, 1, "train", 1)), rel=1e-4)
    assert 1 < peer.mean_loss < 4
    assert not any(np.array_equal(a, b) for a, b in zip(workloads.weights(LECTURE), peer.weights()))


@pytest.mark.parametrize("name", ["Eager", "CudaGraph"])
def test_pytorch_on_a_gpu_heeds_the_rate_of_each_step(name, monkeypatch):
    peer = stand_in(name, monkeypatch)
    trained(peer, rate=0.0)
    assert all(np.array_equal(a, b) for a, b in zip(workloads.weights(LECTURE), peer.weights()))


@pytest.mark.parametrize("name", ["Eager", "CudaGraph"])
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


SOME_TESTS = """
import time, warnings
import pytest
pytestmark = pytest.mark.gpu
def test_good(): warnings.warn("a name of another package", FutureWarning)
def test_bad(): assert 1 == 2
def test_warning(): warnings.warn("something is wrong")
@pytest.mark.skip
def test_not_here(): pass
"""
SANITIZER = """#!/bin/sh
echo "========= Invalid __global__ read of size 4 bytes"
shift 2
exec "$@"
"""


def test_tests_are_counted_and_the_file_that_fails_runs_under_the_sanitizer(tmp_path, monkeypatch):
    tests, log = tmp_path / "tests", tmp_path / "x.tests.log"
    tests.mkdir()
    (tests / "test_a.py").write_text(SOME_TESTS)
    (tests / "test_b.py").write_text("import no_such_module\n")  # holds none that is marked, so it is left alone
    (program := tmp_path / gpu_tests.SANITIZER).write_text(SANITIZER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    found = gpu_tests.run(tests, 1, log, time.perf_counter() + 250)
    assert (found["status"], found["passed"], found["failed"], found["skipped"]) == ("failed", 1, 2, 1)
    assert "assert 1 == 2" in found["failures"][0]["text"]
    assert "test_good PASSED" in log.read_text()
    once_more = found["sanitizer"]
    assert (once_more["status"], once_more["exit"], once_more["file"]) == ("ended", 1, "tests/test_a.py")
    assert once_more["errors"] == ["========= Invalid __global__ read of size 4 bytes"]
    assert "test_bad FAILED" in (tmp_path / once_more["log"]).read_text()


def test_tests_that_do_not_end_are_ended(tmp_path):
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_a.py").write_text(
        "import pytest, time\n@pytest.mark.gpu\ndef test_slow(): time.sleep(600)\n")
    found = gpu_tests.run(tmp_path / "tests", 1, tmp_path / "log", time.perf_counter() + 2)
    assert found["status"] == "not ended in time"


@pytest.mark.parametrize("processors", [1, 2, 5, 16])
def test_workers_times_threads_are_the_processors(processors, tmp_path, monkeypatch):
    """With a worker for each two of them."""
    def ended(command, threads, log, deadline):
        log.write_text("")
        Path(command[command.index("--junitxml") + 1]).write_text("<testsuite><testcase/></testsuite>")
        given.append((int(command[command.index("-n") + 1]) if "-n" in command else 1, threads))
        return True, 0

    given = []
    pytest.importorskip("xdist")
    monkeypatch.setattr(gpu_tests, "_run_limited", ended)
    gpu_tests.run(tmp_path, processors, tmp_path / "log", time.perf_counter() + 60)
    workers, threads = given[0]
    assert processors - workers < workers * threads <= processors


# The kernels.


def test_kernels_are_compared_with_the_lower_ceiling(monkeypatch):
    monkeypatch.setattr(device.Device, "measure_time", lambda _, run, n: timing.time_call(run, n), raising=False)
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
            "phases": {"inference": {"status": "failed", "reason": "PeerError: no answer"}}}


def test_the_table_says_what_is_reached():
    found = targets.verdicts(document())
    assert [v.status for v in found] == [
        "aim", "least", "least", *["not measured"] * 5, "least", "aim", "aim"]
    assert found[1].result == "4.00x"  # the median of the rounds, each with its partner
    assert (found[2].result, found[2].against) == ("1.20x", "torch-cuda-graph")
    assert "no answer" in found[4].result
    assert found[-1].result == "5.00x, 1.4 s"
    assert all(v.goal in targets.format_table(document()) for v in found)


def test_the_table_knows_what_falls_short():
    worse = document()
    worse["results"][0]["peers"]["autoconv-cuda"]["seconds"] = [2.0, 4.0, 2.0]
    worse["results"][1]["peers"]["autoconv-cuda"] = {"status": "timed"}
    worse["tests"].update(status="failed", failed=1)
    worse["kernels"][0]["fraction"]["median"] = 0.39
    worse["accuracy"]["test_accuracy"] = [0.99, 0.99, 0.99]
    found = targets.verdicts(worse)
    assert [found[i].status for i in (0, 1, 2, 8, 9, 10)] == ["no"] * 6
    worse["accuracy"] = {"dataset": "digits", "test_accuracy": [0.99]}
    assert targets.verdicts(worse)[9].status == "not measured"
    assert all(v.status == "not measured" for v in targets.verdicts({}))


def test_a_peer_that_is_measured_in_a_phase_of_its_own_counts_as_well():
    """Beside rounds of autoconv of that phase."""
    more = document()
    more["results"].append({"workload": "lecture", "batch_size": 64, "mode": "train", "peers": {
        "autoconv-cuda": {"status": "timed", "seconds": [2.0, 2.0]},
        "torch-cuda-compile": {"status": "timed", "seconds": [1.0, 1.0]}}})
    assert targets.verdicts(more)[2][1:3] == ("torch-cuda-compile", "0.50x")
    more["results"][-1]["peers"]["autoconv-cuda"] = {"status": "failed", "reason": "no memory"}
    assert targets.verdicts(more)[2][1:3] == ("torch-cuda-graph", "1.20x")


# The plan.


def test_each_phase_fits_into_ten_minutes_and_all_into_the_default():
    plan = gpu_check.PLAN
    assert plan[0].name == "smoke"
    assert plan[0].gate
    assert plan[0].limit <= 60
    assert len({p.name for p in plan}) == len(plan)
    assert max(p.limit for p in plan) + gpu_check.RESERVE < 600
    minutes = gpu_check.arguments(["--out", "x.json"], plan).minutes
    assert sum(p.limit for p in plan if p.usual) + gpu_check.RESERVE <= 60 * minutes < 60 * 30


def test_the_page_has_the_plan_as_it_is_and_commands_that_fit():
    page = (environment.ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
    table = re.findall(r"^\| (`[\w-]+`(?:, `[\w-]+`)*) \| (\d+)(?: each)? \|", page, re.MULTILINE)
    assert [(name.strip("`"), float(limit)) for names, limit in table for name in names.split(", ")] == [
        (p.name, p.limit) for p in gpu_check.PLAN]
    assert f"within {gpu_check.arguments([], gpu_check.PLAN).minutes} minutes" in page
    calls = [gpu_check.arguments(line.split(), gpu_check.PLAN)
             for line in re.findall(r"^    python -m bench\.gpu_check (.*--only .*)$", page, re.MULTILINE)]
    assert [p.name for call in calls for p in call.only] == [p.name for p in gpu_check.PLAN]
    for call in calls:
        assert sum(p.limit for p in call.only) + gpu_check.RESERVE <= 60 * call.minutes < 600


def test_the_plan_measures_every_row_beside_all_that_it_is_compared_with(start, monkeypatch):
    monkeypatch.setattr(gpu_phases, "_present", lambda run, name: True)
    monkeypatch.setattr(rounds, "compare", lambda names, workload, batch_size, mode, *_: {
        "workload": workload, "batch_size": batch_size, "mode": mode,
        "peers": {name: {"status": "timed", "seconds": [1.0], "images_per_s": {"median": 9.0}} for name in names}})
    names = {name for against in targets.rows().values() for name in (targets.OURS, *against)}
    it = start(document={"threads": 2, "peers": {name: {} for name in names}})
    rows = {targets.phase_name(*row) for row in targets.rows()} | {"torch-compile"}
    assert it.run.run_all([p for p in gpu_check.PLAN if p.name in rows])
    found = {}
    for entry in it.written()["results"]:
        row = entry["workload"], entry["batch_size"], entry["mode"]
        assert targets.OURS in entry["peers"]
        found.setdefault(row, set()).update(set(entry["peers"]) - {targets.OURS})
    assert found == {row: set(against) for row, against in targets.rows().items()}


def test_a_row_that_autoconv_fails_in_is_a_failure_and_the_next_one_is_measured(start, fakes, monkeypatch):
    monkeypatch.setattr(workloads, "ON_GPU", 1.0)
    monkeypatch.setattr(gpu_phases, "ROUND_SECONDS", 0.01)
    monkeypatch.setattr(targets, "SPEEDS", [targets.Speed("lecture", n, "train", (), 1, 2) for n in (1, 2)])
    fakes(autoconv_cuda="Broken")
    it = start(document={"threads": 1, "peers": {targets.OURS: {"status": "present"}}})
    assert not it.run.run_all([phase("both", gpu_phases.nets(*targets.rows()), limit=200)])
    assert [entry["batch_size"] for entry in it.written()["results"]] == [1, 2]
    assert "the kernel is gone" in it.written()["phases"]["both"]["reason"]


def test_a_check_that_crashes_leaves_the_other_one_its_word(start, monkeypatch):
    def call(function, given, *_):
        if given["check"] == "tiles":
            raise process.PeerError("its process ended: Segmentation fault")
        return {"wrong": [], "graph": {"captured": True, "nodes": 9}}

    monkeypatch.setattr(child, "call", call)
    it = start(document={"threads": 1})
    assert not it.run.run_all([gpu_check.PLAN[0]])
    assert "Segmentation fault" in it.written()["phases"]["smoke"]["reason"]
    assert "the step is 9 kernels, captured as one graph" in it.said


def test_threads_are_powers_of_two_up_to_the_processors():
    assert [gpu_threads.counts(n) for n in (1, 2, 6, 16)] == [[1], [1, 2], [1, 2, 4, 6], [1, 2, 4, 8, 16]]


def test_the_processor_s_threads_are_timed_one_after_the_other(start, fakes, monkeypatch):
    fakes(autoconv="Honest")
    monkeypatch.setattr(gpu_threads, "BATCH_SIZES", (2,))
    monkeypatch.setattr(gpu_threads.machine, "processors", lambda: 2)
    it = start(document={"threads": 2})
    assert it.run.run_all([phase("threads", gpu_threads.measure, limit=200)])
    assert [(each["threads"], each["status"]) for each in it.written()["scaling"]] == [(1, "timed"), (2, "timed")]
    assert "times one thread" in it.said[1]


# The command.


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    """Runs the command with these phases as a machine with a GPU of that name would. Gives its exit code, what it
    printed, and the document.
    """
    file = tmp_path / "x.json"

    def run(plan, *given, gpu="A GPU"):
        monkeypatch.setattr(gpu_check, "describe_gpu", lambda: {"name": gpu})
        code = gpu_check.main([*given, "--out", str(file)], plan)
        return code, capsys.readouterr().out, json.loads(file.read_text())

    return run


def test_several_calls_fill_one_document(command):
    plan = [phase("a", finds(a=1)), phase("b", finds(b=2)), phase("c", breaks), phase("d", finds(d=4), usual=False)]
    code, out, found = command(plan, "--only", "b")
    assert (code, found["b"], list(found["phases"])) == (0, 2, ["b"])
    assert "Not run: a, c, d. To continue: python -m bench.gpu_check" in out
    code, out, found = command(plan, "--only", "d", "a")
    assert (code, found["a"], found["b"], found["d"]) == (0, 1, 2, 4)
    assert [call["only"] for call in found["calls"]] == [["b"], ["a", "d"]]  # in the plan's order
    code, out, found = command(plan)
    assert (code, found["phases"]["c"]["status"]) == (1, "failed")
    assert found["calls"][2]["only"] == ["a", "b", "c"]
    assert "ZeroDivisionError" in out
    assert "Not run" not in out


def test_a_file_of_another_gpu_or_of_something_else_is_left_as_it_is(command, tmp_path, capsys):
    plan = [phase("a", finds(a=1))]
    command(plan)
    before = (tmp_path / "x.json").read_text()
    with pytest.raises(SystemExit, match=r"measured on A GPU, but this is Another. Pass another file with --out."):
        command(plan, gpu="Another")
    assert (tmp_path / "x.json").read_text() == before
    for text in ("no JSON", "[]", '{"schema": 1}'):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(SystemExit):
            command(plan)
        assert "--out" in capsys.readouterr().err
        assert (tmp_path / "x.json").read_text() == text


def test_a_failing_gate_ends_the_command(command):
    code, out, found = command([phase("smoke", breaks, gate=True), phase("a", pytest.fail)])
    assert code == 1
    assert "smoke: failed" in out
    assert found["phases"]["a"] == {"status": "skipped", "reason": "smoke failed"}


def test_phases_are_asked_for_by_name(capsys):
    with pytest.raises(SystemExit) as error:
        gpu_check.main(["--only", "smoke", "lecture64"])
    assert error.value.code == 2
    assert "Unknown phase: 'lecture64'. Did you mean 'lecture-64'?" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        gpu_check.main(["--help"])
    said = capsys.readouterr().out
    assert all(p.name in said for p in gpu_check.PLAN)


def test_without_a_gpu_the_command_says_what_is_missing(capsys, tmp_path):
    file = tmp_path / "x.json"
    if gpu_check.device_cuda.usable():
        pytest.skip("there is a GPU here")
    assert gpu_check.main(["--out", str(file)]) == 1
    said = capsys.readouterr()
    assert "cannot be used" in said.err
    assert f"numpy {np.__version__}" in said.out
    assert not file.exists()


def test_the_command_runs_all_phases_and_keeps_what_each_found(fakes, command, monkeypatch):
    fakes(autoconv_cuda="Honest", torch_cuda="Honest", torch_cuda_graph="Broken")
    peers.PEERS["jax-cuda"] = peers.Entry("JAX", "no:One", ("no_such_framework",), (), device="cuda")
    monkeypatch.setattr(targets, "SPEEDS", (
        targets.Speed("lecture", 2, "train", ("torch-cuda", "torch-cuda-graph", "jax-cuda"), 1e-6, 1e-5),))
    monkeypatch.setattr(workloads, "ON_GPU", 1.0)
    monkeypatch.setattr(gpu_phases, "ROUND_SECONDS", 0.01)
    monkeypatch.setattr(gpu_phases.datasets, "locate", lambda name: None)
    monkeypatch.setattr(gpu_tests, "run", lambda *given: {"status": "passed", "passed": 7, "failed": 0, "skipped": 1})
    kernel = {"workload": "lecture", "kind": "conv forward", "layer": "1x1", "bound": "arithmetic", "gflops": 9.0,
              "fraction": {"median": 0.9}}
    monkeypatch.setattr(child, "call", lambda function, *rest: {
        "bench.gpu_smoke:run": {"wrong": []},
        "bench.gpu_kernels:prepare": {"kernels": 9, "seconds": 1.0},
        "bench.gpu_kernels:measure": [kernel],
        "bench.gpu_ceilings:measure": {"tf32_flops": {"median": 1e14}, "bytes_per_s": {"median": 1e12}, "l2_bytes": 9},
    }[function])
    kept = {p.name: p for p in gpu_check.PLAN if p.name in ("smoke", "compiling", "tests", "kernels", "race")}
    net = phase("lecture-2", gpu_phases.nets(("lecture", 2, "train")), limit=200)
    code, out, found = command([*list(kept.values())[:3], net, *list(kept.values())[3:]], "--minutes", "4")
    assert code == 0, out
    assert found["results"][0]["peers"]["torch-cuda"]["status"] == "timed"
    assert found["peers"]["jax-cuda"]["reason"] == "not installed: no_such_framework"
    assert "the kernel is gone" in out
    assert "MNIST is missing" in found["phases"]["race"]["reason"]
    assert [note["status"] for note in found["phases"].values()] == ["done"] * 5 + ["absent"]
    last = {line.partition("  ")[0]: line for line in out.splitlines()}
    assert last["lecture, train, batch 2"].endswith("aim")
    assert last["convolution kernels, the slowest"].endswith("aim")


@pytest.mark.parametrize("wrong", [["--minutes", "0"], ["--minutes", "inf"], ["--out", "/no/such/folder/x.json"]])
def test_a_wrong_argument_is_named(wrong, capsys):
    with pytest.raises(SystemExit) as error:
        gpu_check.main(wrong)
    assert error.value.code == 2
    assert wrong[0] in capsys.readouterr().err
