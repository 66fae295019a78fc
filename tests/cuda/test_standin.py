"""The launch path up to the driver, against a stand-in that keeps NVIDIA's rules (ptx/standin): numba-cuda's dispatch,
our own calls, captured graphs, memory, and what a user is told when the driver refuses.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from autoconv.kernels.cuda import driver

if not driver.is_installed():
    pytest.skip("numba-cuda is not installed: pip install 'autoconv[cuda]'", allow_module_level=True)

from standin_cases import KINDS, OPS, STEPS

from ptx import standin

ROOT = Path(__file__).parents[2]
SUPPORT = ROOT / "tests" / "support"
CLOSING = re.compile(r"cu(Event|Stream|Graph|GraphExec)Destroy")  # where such fails, one of them is left

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """The variables of a process that has the stand-in for a driver."""
    if sys.platform != "linux":
        pytest.skip("the stand-in is a library for Linux")
    try:
        folder = standin.build(tmp_path_factory.mktemp("standin"))
    except standin.MissingError as error:
        pytest.skip(f"the stand-in driver cannot be compiled: {error}")
    paths = os.pathsep.join(map(str, [ROOT, SUPPORT, *sys.path]))
    return {**standin.environment(folder), "PYTHONPATH": paths, "NUMBA_NUM_THREADS": "1"}


class Server:
    """A process that runs cases, each in a copy of itself."""

    def __init__(self, environment, *words):
        command = [sys.executable, SUPPORT / "standin_cases.py", *words]
        self.process = subprocess.Popen(command, env=environment, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, case, *arguments):
        self.process.stdin.write(json.dumps([case, arguments]) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        assert "error" not in answer, answer["error"]
        assert not answer["failures"], answer["failures"]
        return answer["result"]

    def close(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(60)


@pytest.fixture(scope="module")
def cold(there):
    """Cases in processes that have not asked the driver yet."""
    server = Server(there)
    yield server
    server.close()


@pytest.fixture(scope="module")
def warm(there):
    """Cases in processes that have trained on the GPU."""
    server = Server(there, "warm")
    yield server
    server.close()


# The rules of captures and handles: what the driver's reference and the programming guide say.

RULES = {
    "waits_for_a_captured_stream": ["STREAM_CAPTURE_UNSUPPORTED", *["STREAM_CAPTURE_INVALIDATED"] * 2],
    "asks_a_captured_stream": ["STREAM_CAPTURE_UNSUPPORTED", "STREAM_CAPTURE_INVALIDATED"],
    "asks_a_captured_event": ["CAPTURED_EVENT", "CAPTURED_EVENT", "STREAM_CAPTURE_INVALIDATED"],
    "waits_for_the_context": ["STREAM_CAPTURE_UNSUPPORTED", "STREAM_CAPTURE_INVALIDATED"],
    "allocates": ["STREAM_CAPTURE_UNSUPPORTED", "STREAM_CAPTURE_INVALIDATED", "CUdeviceptr", "SUCCESS"],
    "uses_the_legacy_stream": ["SUCCESS", "CUgraph", "STREAM_CAPTURE_IMPLICIT", "STREAM_CAPTURE_INVALIDATED"],
    "waits_for_what_is_outside": ["STREAM_CAPTURE_ISOLATION", "STREAM_CAPTURE_INVALIDATED"],
    "waits_for_another_capture": ["STREAM_CAPTURE_MERGE", *["STREAM_CAPTURE_INVALIDATED"] * 2],
    "is_not_joined": ["SUCCESS", "SUCCESS", "STREAM_CAPTURE_UNJOINED"],
    "ends_elsewhere": ["STREAM_CAPTURE_UNMATCHED", "STREAM_CAPTURE_INVALIDATED", "ILLEGAL_STATE"],
    "ends_in_another_thread": ["STREAM_CAPTURE_WRONG_THREAD", "CUgraph"],
    "begins_twice": ["ILLEGAL_STATE", "STREAM_CAPTURE_UNSUPPORTED"],
    "launches_beside": [3, 0],
    "replays": [4, 2, 2, 2, 2],
    "is_destroyed": [*["INVALID_HANDLE"] * 5, "INVALID_VALUE"],
    "memory_of_a_graph_is_freed": ["SUCCESS", "ILLEGAL_ADDRESS", "ILLEGAL_ADDRESS"],
    "is_for_another_gpu": ["CUlibrary", "NO_BINARY_FOR_GPU"],
    "is_unloaded": ["SUCCESS", "SUCCESS", "SUCCESS", "SUCCESS", "ILLEGAL_ADDRESS"],
    "work_is_late": ["NOT_READY", "SUCCESS", 6, "NOT_READY", "SUCCESS", 5],
    "has_no_context": ["INVALID_CONTEXT", "INVALID_CONTEXT"],
    "reaches_another_gpu": [1, 0, "INVALID_DEVICE", "INVALID_VALUE", "INVALID_CONTEXT", "SUCCESS",
                            "PEER_ACCESS_ALREADY_ENABLED", 0, "PEER_ACCESS_UNSUPPORTED"],
    "touches_another_gpu": [0, 1, 1],
    "copies_to_another_gpu": ["SUCCESS", 1, "SUCCESS", 1, "INVALID_HANDLE", "INVALID_HANDLE", "SUCCESS", "SUCCESS", 7,
                              "INVALID_VALUE"],
    "copies_to_another_gpu_in_a_capture": ["SUCCESS", "SUCCESS", 2, "SUCCESS", "SUCCESS", 3],
    "launches_too_much": ["INVALID_VALUE"] * 4,
}


@pytest.mark.parametrize("rule", RULES)
def test_the_stand_in_keeps_the_driver_s_rules(warm, rule):
    assert warm("rule", rule) == RULES[rule]


# What a user does on a GPU.


def test_a_training_by_the_driver_gives_what_the_kernels_give_without_it(warm):
    """Steps one by one, one captured, series of eight; then predictions. Nothing is left but the stream."""
    found = warm("trains")
    assert found["same"]
    calls = found["calls"]
    assert calls["cuStreamBeginCapture"] == calls["cuGraphInstantiate"] == calls["cuGraphExecDestroy"] == 2
    assert 2 <= calls["cuGraphLaunch"] < STEPS  # a series of eight is one launch
    assert dict(zip(KINDS, found["alive"])) == {"streams": 1, "events": 0, "graphs": 0, "graph execs": 0}


@pytest.mark.parametrize("op", OPS)
def test_an_op_and_its_gradients(warm, op):
    assert warm("computes", op)


def test_memory_that_is_copied_out_while_the_caller_goes_on(warm):
    before, there_at_once, there, host = warm("copies_out_while_it_goes_on")
    assert before == [-1] * 4
    assert (there_at_once, there) == (False, True)
    assert host == [1, 2, 3, 4]


def test_numbers_that_are_sent_stay_until_they_are_read(warm):
    """The stand-in reads them as late as it may."""
    assert warm("sends_more_than_the_ring_holds") == list(range(20))


def test_an_epoch_s_calls_of_the_driver(warm):
    """Of sixteen steps and the evaluation of sixteen batches: two graphs of eight steps each, before which numbers go
    to the GPU out of pinned memory, so that the host waits for nothing; and the sums come back once each.
    """
    *_, third, fourth = warm("an_epoch")
    assert third == fourth
    assert third["cuGraphLaunch"] == 4
    assert "pageable copy" not in third
    assert third["cuMemcpyDtoHAsync"] == third["cuStreamSynchronize"] == 2
    assert "cuStreamBeginCapture" not in third


def test_arrays_of_others(warm):
    assert warm("takes_memory_of_others") == [1, 2, 3, 4, 5]


def test_other_threads(warm):
    assert warm("threads") == [[0, 2, 4]] * 60


@pytest.mark.parametrize("capability", [(7, 5), (8, 6), (9, 0)])
def test_other_generations_of_gpus(cold, capability):
    """They get code of their own, though the disk cache has such for 8.0."""
    assert cold("computes_on", *capability) == [0, 2, 4]


def test_two_gpus_in_turn(cold):
    """Each launch goes to the GPU of its arrays. The driver's stack of contexts does not grow."""
    first, second, contexts, error = cold("two_gpus")
    assert first == [40, 41, 42]
    assert second == [80, 81, 82]
    assert contexts <= 1
    assert "cuda:1" in error


HOST = {"cuMemcpyDtoHAsync", "cuMemcpyHtoDAsync", "cuStreamSynchronize"}


def test_to_another_gpu_goes_from_memory_to_memory(cold):
    """One copy a tensor, for which the host waits for nothing: neither before it nor behind it."""
    values, calls, staged = cold("moves", 3)
    assert values == [[1, 2, 3, 4]] * 3
    assert (calls["cuMemcpyPeerAsync"], calls["cuCtxEnablePeerAccess"], calls["cuEventCreate"]) == (3, 1, 2)
    assert not HOST & set(calls)
    assert staged == 0


def test_a_copy_waits_for_what_uses_its_memory(cold):
    """What is moved may get memory that launches on its new GPU still read. The old one's may be written to at once."""
    assert cold("moves_into_memory_that_is_read") == [[8, 8, 8], [1, 1, 1], [1, 1, 1]]


def test_views_empty_arrays_and_assignments_between_gpus(cold):
    assert cold("moves_parts") == [[[0, 2], [1, 3]], [], [9, 2, 9], 5]


def test_a_training_that_moves_to_another_gpu_goes_on_as_if_it_had_not(cold):
    same, calls = cold("a_training_moves")
    assert same
    assert calls["cuMemcpyPeerAsync"] >= 4  # weights and slots


def test_data_that_are_on_another_gpu_move_to_the_model_s(cold):
    assert cold("trains_on_data_of_another_gpu")


@pytest.mark.parametrize(("settings", "failing"), [
    ({"peers": 0}, []), ({}, ["cuCtxEnablePeerAccess", 217]), ({}, ["cuCtxEnablePeerAccess", 711])])
def test_gpus_that_do_not_reach_each_other_copy_through_the_host(cold, settings, failing):
    values, calls, _ = cold("moves", 3, settings, *failing)
    assert values == [[1, 2, 3, 4]] * 3
    assert "cuMemcpyPeerAsync" not in calls
    assert calls["cuMemcpyHtoDAsync"] == 3


def test_another_package_may_have_made_a_gpu_reachable(cold):
    values, calls, staged = cold("moves", 1, {}, "cuCtxEnablePeerAccess", 704)
    assert (values, calls["cuMemcpyPeerAsync"], staged) == ([[1, 2, 3, 4]], 1, 1)


@pytest.mark.parametrize("call", ["cuDeviceCanAccessPeer", "cuCtxEnablePeerAccess", "cuMemcpyPeerAsync",
                                  "cuEventRecord", "cuStreamWaitEvent"])
def test_a_copy_to_another_gpu_that_fails(cold, call):
    """A sentence; the next one works."""
    error, values = cold("a_move_fails", call)
    assert re.match(r"DeviceError: .*NVIDIA's driver .*(CUDA_ERROR_INVALID_VALUE|error 1)", error)
    assert values == [[1, 2, 3, 4]] * 2


# What a user is told.


def test_whatever_call_fails_the_user_gets_a_sentence_and_can_go_on(warm):
    """Every function of the driver that a training calls, once at its first call and once amid the others."""
    found = warm("every_call_fails", 1)
    assert {"cuLaunchKernelEx", "cuGraphLaunch", "cuStreamEndCapture"} <= {case["call"] for case in found}
    for case in found:
        closing = bool(CLOSING.fullmatch(case["call"]))
        assert sum(case["left"]) == closing, case
        assert not case["later"], case
        assert not case["error"] or re.match(r"DeviceError: NVIDIA's driver .*CUDA_ERROR_INVALID_VALUE", case["error"])
        assert closing or bool(case["error"]) != bool(case["warned"]), case
        assert all(re.match(r"No CUDA graph could be made .* in more time", text) for text in case["warned"]), case


@pytest.mark.parametrize(("call", "nth"), [("cuStreamEndCapture", 1), ("cuLaunchKernelEx", 34)])
def test_a_step_that_cannot_be_captured_gives_the_same_by_single_launches(warm, call, nth):
    same, error, warned = warm("a_capture_fails", call, nth)
    assert same
    assert not error
    assert len(warned) == 1
    assert "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED" in warned[0]


@pytest.mark.parametrize(("part", "code", "name"), [(0, 700, "ILLEGAL_ADDRESS"), (0.75, 719, "LAUNCH_FAILED")])
def test_a_kernel_that_fails_ends_the_gpu_for_this_process(warm, part, code, name):
    """Launched alone, and in a graph."""
    error, later, on_the_cpu = warm("a_kernel_fails", part, code)
    for text in (error, later):
        assert re.match(rf"DeviceError: A kernel failed on the GPU \(CUDA_ERROR_{name}\), .* start Python again", text)
    assert on_the_cpu == [2, 2, 2]


FAILING = """
import numpy as np
from ptx import standin
from autoconv.tensor import tensor
driver = standin.attach()
x = tensor(np.ones(3, np.float32), device="cuda")
(x + x).numpy()
driver.fail("kernel", 700)
try:
    (x + x).numpy()
except RuntimeError as error:
    print(type(error).__name__)
raise SystemExit(3)
"""


def test_a_program_of_its_own_ends_in_peace_after_a_kernel_failed(there, tmp_path):
    """`python -m ptx.standin program.py`. What numba-cuda would give back to the driver at the end, it leaves: it
    printed a traceback for each module.
    """
    (tmp_path / "program.py").write_text(FAILING)
    command = [sys.executable, "-m", "ptx.standin", tmp_path / "program.py"]
    done = subprocess.run(command, env=there, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (3, "DeviceError\n", "")


SHARING = """
import numpy as np
from ptx import standin
from autoconv.tensor import tensor
standin.attach().set(gpus=2)
for device in "cuda", "cuda:1":
    x = tensor(np.ones(3, np.float32), device=device)
    print((x + x).tolist())
"""


def test_a_program_on_two_gpus_ends_in_peace(there, tmp_path):
    """numba-cuda would unload the kernels that both run once for each of them, which the driver refuses: as soon as
    there are more than so many.
    """
    (tmp_path / "program.py").write_text(SHARING)
    command = [sys.executable, "-m", "ptx.standin", tmp_path / "program.py"]
    at_once = {**there, "NUMBA_CUDA_MAX_PENDING_DEALLOCS_COUNT": "0"}
    done = subprocess.run(command, env=at_once, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[2.0, 2.0, 2.0]\n" * 2, "")


OPENING = {
    "no GPU": ({"gpus": 0}, [], "the NVIDIA driver finds no GPU. Check that nvidia-smi lists one"),
    "an old driver": ({"version": 11080}, [], r"the NVIDIA driver is too old: it runs CUDA 11.8, and CUDA 1\d.0 is"),
    "an old GPU": ({"major": 7, "minor": 0}, [], r"stand-in GPU 0 is too old: it has compute capability 7.0, and 7.5"),
    "no start": ({}, ["cuInit", 999], r"the NVIDIA driver does not start \(error 999\)"),
    "no capability": ({}, ["cuDeviceGetAttribute", 1], "cuDeviceGetAttribute of NVIDIA's driver failed with error 1"),
    "held by another": ({}, ["cuDevicePrimaryCtxRetain", 46], "cannot be opened: CUDA_ERROR_DEVICE_UNAVAILABLE. Check"),
    "full": ({}, ["cuDevicePrimaryCtxRetain", 2], "cannot be opened: CUDA_ERROR_OUT_OF_MEMORY. Check with nvidia-smi"),
    "no stream": ({}, ["cuStreamCreate", 2], "cannot be opened: CUDA_ERROR_OUT_OF_MEMORY. Check with nvidia-smi"),
    "no context": ({}, ["cuCtxPushCurrent", 201], "cannot be opened: CUDA_ERROR_INVALID_CONTEXT. Check"),
    "no copy": ({}, ["cuMemcpyHtoDAsync", 1], r"refused cuMemcpyHtoDAsync \(CUDA_ERROR_INVALID_VALUE\). Check"),
}


@pytest.mark.parametrize("what", OPENING)
def test_a_gpu_that_cannot_be_had(cold, what):
    """The first use of it says why. The second one works, where the trouble has passed."""
    settings, failing, match = OPENING[what]
    (_, error), (later, again) = cold("opens", settings, *failing)
    assert re.match(f"DeviceError: .*{match}", error)
    assert later == [1, 1, 1] if failing and failing[0] != "cuInit" else again == error


def test_what_was_recorded_gives_way_where_memory_is_short(cold):
    """Before that is an error. It is recorded again when it is wanted, where there is room."""
    first, held, again, told, refused = cold("recordings_give_way")
    assert (first, held, again, told) == ([8192, 16], [50 << 18], [4096, 16], "")
    assert "70.0 MiB were requested" in refused


def test_memory_that_runs_out(cold):
    """The arena asks for less, gives back what nobody holds, and says how much there is."""
    told, fits, used = cold("memory_runs_out")
    assert re.match(r"DeviceError: GPU number 0 is out of memory: 70.0 MiB were requested, 36.0 of 100.0 MiB are free, "
                    r"64.0 MiB are held by autoconv. Use a smaller batch_size", told)
    assert fits
    assert used == 90
