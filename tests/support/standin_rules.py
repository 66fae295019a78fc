"""The rules that the stand-in keeps as NVIDIA's driver does, by calls of cuda-bindings. A function for each.

Each gives what its calls gave: the name of an error without CUDA_ERROR_, or what was made.
"""

import ctypes
import threading

import numpy as np
from cuda.bindings import driver

from autoconv.kernels import device
from autoconv.kernels.cuda import pointwise
from ptx import cubin, standin


class Cuda:
    """The driver's functions, in a context."""

    def __init__(self):
        self.driver = driver
        device.get("cuda")  # opens it, so that this thread has a context

    def __getattr__(self, name):
        def call(*arguments):
            code, *values = getattr(self.driver, name)(*arguments)
            if int(code):
                return code.name.removeprefix("CUDA_ERROR_")
            return values[0] if len(values) == 1 else tuple(values) or "SUCCESS"

        return call

    def stream(self, blocking=False):
        return self.cuStreamCreate(0 if blocking else 1)

    def event(self, stream=None):
        event = self.cuEventCreate(0)
        if stream is not None:
            assert self.cuEventRecord(event, stream) == "SUCCESS"
        return event

    def begun(self, mode="RELAXED", blocking=False):
        stream = self.stream(blocking)
        mode = getattr(self.driver.CUstreamCaptureMode, f"CU_STREAM_CAPTURE_MODE_{mode}")
        assert self.cuStreamBeginCapture(stream, mode) == "SUCCESS"
        return stream

    def fill(self, stream, memory, value=1):
        return self.cuMemsetD8Async(memory, value, 16, stream)

    def read(self, memory):
        host = np.zeros(16, np.uint8)
        assert self.cuMemcpyDtoH(host.ctypes.data, memory, 16) == "SUCCESS"
        return host[0].item()


def waits_for_a_captured_stream(cuda):
    stream = cuda.begun()
    return cuda.cuStreamSynchronize(stream), cuda.fill(stream, cuda.cuMemAlloc(16)), cuda.cuStreamEndCapture(stream)


def asks_a_captured_stream(cuda):
    stream = cuda.begun()
    return cuda.cuStreamQuery(stream), cuda.cuStreamEndCapture(stream)


def asks_a_captured_event(cuda):
    stream = cuda.begun()
    event = cuda.event(stream)
    return cuda.cuEventQuery(event), cuda.cuEventSynchronize(event), cuda.cuStreamEndCapture(stream)


def waits_for_the_context(cuda):
    stream = cuda.begun()
    return cuda.cuCtxSynchronize(), cuda.cuStreamEndCapture(stream)


def allocates(cuda):
    strict = cuda.begun("GLOBAL")
    refused = cuda.cuMemAlloc(16), cuda.cuStreamEndCapture(strict)
    cuda.begun()  # relaxed
    return *refused, cuda.cuMemAlloc(16), cuda.cuStreamQuery(cuda.stream())


def uses_the_legacy_stream(cuda):
    memory, found = cuda.cuMemAlloc(16), []
    for blocking in (False, True):
        stream = cuda.begun(blocking=blocking)
        found += [cuda.fill(0, memory), cuda.cuStreamEndCapture(stream)]
    return found


def waits_for_what_is_outside(cuda):
    event, stream = cuda.event(cuda.stream()), cuda.begun()
    return cuda.cuStreamWaitEvent(stream, event, 0), cuda.cuStreamEndCapture(stream)


def waits_for_another_capture(cuda):
    one, other = cuda.begun(), cuda.begun()
    event = cuda.event(one)
    return cuda.cuStreamWaitEvent(other, event, 0), cuda.cuStreamEndCapture(one), cuda.cuStreamEndCapture(other)


def is_not_joined(cuda):
    stream, beside = cuda.begun(), cuda.stream()
    joined = cuda.cuStreamWaitEvent(beside, cuda.event(stream), 0)
    return joined, cuda.fill(beside, cuda.cuMemAlloc(16)), cuda.cuStreamEndCapture(stream)


def ends_elsewhere(cuda):
    stream, beside = cuda.begun(), cuda.stream()
    cuda.cuStreamWaitEvent(beside, cuda.event(stream), 0)
    return cuda.cuStreamEndCapture(beside), cuda.cuStreamEndCapture(stream), cuda.cuStreamEndCapture(stream)


def ends_in_another_thread(cuda):
    found, context = [], cuda.cuCtxGetCurrent()
    for mode in ("THREAD_LOCAL", "RELAXED"):
        stream = cuda.begun(mode)
        thread = threading.Thread(target=lambda stream=stream: (
            cuda.cuCtxPushCurrent(context), found.append(cuda.cuStreamEndCapture(stream))))
        thread.start()
        thread.join()
    return found


def begins_twice(cuda):
    stream = cuda.begun()
    mode = cuda.driver.CUstreamCaptureMode.CU_STREAM_CAPTURE_MODE_RELAXED
    return cuda.cuStreamBeginCapture(stream, mode), cuda.cuStreamBeginCapture(0, mode)


def launches_beside(cuda):
    """Work on a stream that never joined is done at once, and is no part of the graph."""
    stream, beside, memory = cuda.begun(), cuda.stream(), cuda.cuMemAlloc(16)
    cuda.fill(beside, memory, 3)
    cuda.cuStreamSynchronize(beside)
    graph = cuda.cuStreamEndCapture(stream)
    return cuda.read(memory), cuda.cuGraphGetNodes(graph)[1]


def replays(cuda):
    """A graph does what was captured when it is launched, each time; its nodes in any order that they allow."""
    stream, beside, memory = cuda.begun(), cuda.stream(), [cuda.cuMemAlloc(16) for _ in range(2)]
    cuda.cuStreamWaitEvent(beside, cuda.event(stream), 0)
    for value in (1, 2):
        cuda.fill(stream, memory[0], value)
        cuda.fill(beside, memory[1], value)
    cuda.cuStreamWaitEvent(stream, cuda.event(beside), 0)
    graph = cuda.cuStreamEndCapture(stream)
    whole, found = cuda.cuGraphInstantiate(graph, 0), [cuda.cuGraphGetNodes(graph)[1]]
    for _ in range(2):
        for place in memory:
            cuda.fill(0, place, 9)
        cuda.cuGraphLaunch(whole, 0)
        found += [cuda.read(place) for place in memory]
    return found


def is_destroyed(cuda):
    stream, event, graph = cuda.stream(), cuda.event(), cuda.cuStreamEndCapture(cuda.begun())
    whole, memory = cuda.cuGraphInstantiate(graph, 0), cuda.cuMemAlloc(16)
    for name, what in (("Stream", stream), ("Event", event), ("Graph", graph), ("GraphExec", whole)):
        assert getattr(cuda, f"cu{name}Destroy")(what) == "SUCCESS"
    cuda.cuMemFree(memory)
    return (cuda.fill(stream, memory), cuda.cuEventQuery(event), cuda.cuGraphInstantiate(graph, 0),
            cuda.cuGraphLaunch(whole, 0), cuda.cuStreamDestroy(stream), cuda.cuMemFree(memory))


def memory_of_a_graph_is_freed(cuda):
    stream, memory = cuda.begun(), cuda.cuMemAlloc(16)
    cuda.fill(stream, memory)
    whole = cuda.cuGraphInstantiate(cuda.cuStreamEndCapture(stream), 0)
    cuda.cuMemFree(memory)
    return cuda.cuGraphLaunch(whole, stream), cuda.cuStreamSynchronize(stream), cuda.cuStreamCreate(0)


def work_is_late(cuda):
    """It runs when somebody waits; pinned memory is read then, other memory with the call."""
    stream, memory = cuda.stream(), cuda.cuMemAlloc(16)
    pinned, plain, found = cuda.cuMemHostAlloc(16, 0), np.full(16, 5, np.uint8), []
    seen = np.ctypeslib.as_array((ctypes.c_uint8 * 16).from_address(pinned))
    for host, array in ((pinned, seen), (plain.ctypes.data, plain)):
        array[:] = 5
        cuda.cuMemcpyHtoDAsync(memory, host, 16, stream)
        array[:] = 6
        found += [cuda.cuStreamQuery(stream), cuda.cuStreamQuery(stream), cuda.read(memory)]
    return found


def has_no_context(cuda):
    cuda.cuCtxPopCurrent()
    return cuda.cuMemAlloc(16), cuda.cuCtxPopCurrent()


def two(cuda):
    """The contexts of two GPUs, of which the first is the current one, and memory of each."""
    standin.attach().set(gpus=2)
    first, second = cuda.cuCtxGetCurrent(), cuda.cuDevicePrimaryCtxRetain(1)
    here = cuda.cuMemAlloc(16)
    cuda.cuCtxPushCurrent(second)
    there = cuda.cuMemAlloc(16)
    cuda.cuCtxPopCurrent()
    return first, second, here, there


def reaches_another_gpu(cuda):
    """What a context must be told before, and only once; itself, flags, GPUs that cannot."""
    first, second, *_ = two(cuda)
    found = [cuda.cuDeviceCanAccessPeer(*pair) for pair in ((0, 1), (0, 0), (0, 2))]
    found += [cuda.cuCtxEnablePeerAccess(*given) for given in ((second, 1), (first, 0), (second, 0), (second, 0))]
    cuda.cuCtxPushCurrent(second)
    standin.attach().set(peers=0)
    return *found, cuda.cuDeviceCanAccessPeer(1, 0), cuda.cuCtxEnablePeerAccess(first, 0)


def touches_another_gpu(cuda):
    """A kernel does, before its context is told and after it."""
    _, second, _, there = two(cuda)
    driver = standin.attach()
    reached = [driver.library.standin_reaches(ctypes.c_size_t(int(there)), ctypes.c_size_t(16), gpu) for gpu in (0, 1)]
    cuda.cuCtxEnablePeerAccess(second, 0)
    return *reached, driver.library.standin_reaches(ctypes.c_size_t(int(there)), ctypes.c_size_t(16), 0)


def copies_to_another_gpu(cuda):
    """In the order of its stream; an event has another GPU's stream wait for it. Through the host until it is told."""
    first, second, here, there = two(cuda)
    stream, staged, found = cuda.stream(), standin.attach(), []
    for _ in range(2):
        cuda.fill(stream, here, 7)
        found.append(cuda.cuMemcpyPeerAsync(there, second, here, first, 16, stream))
        found.append(staged.calls("staged copy"))
        cuda.cuCtxEnablePeerAccess(second, 0)
    event = cuda.event(stream)
    cuda.cuCtxPushCurrent(second)
    other = cuda.stream()
    found += [cuda.cuMemcpyPeerAsync(there, second, here, first, 16, stream), cuda.cuEventRecord(event, other),
              cuda.cuStreamWaitEvent(other, event, 0), cuda.cuStreamSynchronize(other), cuda.read(there)]
    return *found, cuda.cuMemcpyPeerAsync(here, second, there, first, 16, other)


def copies_to_another_gpu_in_a_capture(cuda):
    """It becomes a node, and runs when the graph does."""
    first, second, here, there = two(cuda)
    stream = cuda.begun()
    found = [cuda.fill(stream, here, 3), cuda.cuMemcpyPeerAsync(there, second, here, first, 16, stream)]
    graph = cuda.cuStreamEndCapture(stream)
    whole = cuda.cuGraphInstantiate(graph, 0)
    found += [cuda.cuGraphGetNodes(graph)[1], cuda.cuGraphLaunch(whole, stream), cuda.cuStreamSynchronize(stream)]
    cuda.cuCtxPushCurrent(second)
    return *found, cuda.read(there)


def launches_too_much(cuda):
    """A kernel's registers, threads, blocks and shared memory, against a card's."""
    config, function = cuda.driver.CUlaunchConfig(), _loaded(cuda)[1]
    found = []
    for grid, block, shared in (((1, 1, 1), (1025, 1, 1), 0), ((1, 65536, 1), (1, 1, 1), 0), ((1, 1, 1), (0, 1, 1), 0),
                                ((1, 1, 1), (1, 1, 1), 49153)):
        config.gridDimX, config.gridDimY, config.gridDimZ = grid
        config.blockDimX, config.blockDimY, config.blockDimZ = block
        config.sharedMemBytes = shared
        found.append(cuda.cuLaunchKernelEx(config, function, 0, 0))
    return found


def is_unloaded(cuda):
    """A graph's kernel is unloaded before the graph runs."""
    library, function = _loaded(cuda)
    stream, config, memory = cuda.begun(), cuda.driver.CUlaunchConfig(), cuda.cuMemAlloc(16)
    (config.gridDimX, config.gridDimY, config.gridDimZ), config.blockDimX = (1, 1, 1), 32
    config.blockDimY = config.blockDimZ = 1
    config.hStream = stream
    words = [4, 0, *[0, 0, 4, 4, int(memory), 4, 4] * 2]
    types = (ctypes.c_int64,) * len(words)
    launched = cuda.cuLaunchKernelEx(config, function, (tuple(words), types), 0)
    whole = cuda.cuGraphInstantiate(cuda.cuStreamEndCapture(stream), 0)
    first = cuda.cuGraphLaunch(whole, stream), cuda.cuStreamSynchronize(stream)
    cuda.cuLibraryUnload(library)
    return launched, *first, cuda.cuGraphLaunch(whole, stream), cuda.cuStreamSynchronize(stream)


def is_for_another_gpu(cuda):
    """Code for compute capability 8.0 on 8.0; told as if it were for 9.0."""
    code = bytearray(_code())
    at = 49 if code[8] >= 8 else 48  # the flags of an ELF file
    other = bytes(code[:at]) + bytes([90]) + bytes(code[at + 1 :])
    return [cuda.cuLibraryLoadData(image, [], [], 0, [], [], 0) for image in (bytes(code), other)]


def _loaded(cuda):
    """A kernel of autoconv's, loaded anew: y = max(x, 0)."""
    code = _code()
    library = cuda.cuLibraryLoadData(code, [], [], 0, [], [], 0)
    (entry,) = cubin.kernels(code)
    return library, cuda.driver.CUfunction(int(cuda.cuLibraryGetKernel(library, entry.name.encode())))


def _code():
    """The cubin of a kernel of autoconv's."""
    pointwise.KERNELS["relu"].compile("float32")
    (made,) = pointwise.KERNELS["relu"]._dispatcher.overloads.values()
    return bytes(made.library.get_cubin().code)
