"""A whole `cuda` device whose kernels run in the machine: its memory is the host's, everything else is the package's.

Three things of the runtime are replaced while it lasts: numba.cuda's devices and arrays, the dispatcher that each
kernel is launched by, and what the driver is asked.
"""

import functools
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from autoconv.engine.errors import DeviceError
from autoconv.kernels.cuda import device as device_cuda
from autoconv.kernels.cuda import driver, order

from .counters import Counters
from .launch import CAPABILITY, Aligned, Program, aligned_empty, compiled, run, signature_of
from .translate import POISON

MEMORY = 1 << 33  # bytes that this GPU pretends to have


class HostArray(Aligned):
    """An array of the host's memory with what the runtime asks of Numba's device arrays."""

    def copy_to_device(self, host, stream) -> None:
        self[...] = host

    def copy_to_host(self, host, stream) -> None:
        host[...] = self

    @property
    def device_ctypes_pointer(self):
        return SimpleNamespace(value=self.ctypes.data)


class Dispatcher:
    """A kernel's launcher: `dispatcher[blocks, threads, stream](*arguments)`, as numba.cuda's."""

    def __init__(self, kernel, counters: dict[str, Counters] | None) -> None:
        self.kernel, self.function = kernel, kernel.function
        self.counters = None if counters is None else counters.setdefault(kernel.name, Counters())

    def __getitem__(self, configuration):
        blocks, threads, _, *dynamic = configuration

        def launch(*arguments):
            program = compiled(self.kernel, signature_of(arguments))
            self._keeps_its_word(program, arguments)
            run(program, blocks, threads, arguments, *dynamic, counters=self.counters)

        return launch

    def _keeps_its_word(self, program: Program, arguments: tuple) -> None:
        """A kernel's signature says which arrays it only reads: a graph runs others beside it that do, too."""
        for i in program.written_arguments(arguments):
            assert not self.kernel.reads_only[i], f"{self.kernel.name} writes argument {i}, which it calls const"


class Event:
    """A moment. A launch is done when it returns, so the host's clock tells it."""

    def record(self, stream) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        """Nothing is under way."""

    def query(self) -> bool:
        """Whether it has come: nothing is under way."""
        return True


class Stream(int):
    """What is launched on it is done at once."""

    def synchronize(self) -> None:
        """Nothing is under way."""


class Cuda:
    """What the runtime uses of numba.cuda's devices and arrays, for one GPU."""

    def select_device(self, index: int) -> None:
        assert index == 0

    def stream(self):
        return Stream()

    def current_context(self):
        return SimpleNamespace(get_memory_info=lambda: (MEMORY, MEMORY))

    def event(self, timing=True):
        return Event()

    def pinned_array(self, shape, dtype):
        return np.empty(shape, dtype)

    def event_elapsed_time(self, begin, end) -> float:
        return (end.time - begin.time) * 1e3

    def device_array(self, shape, dtype):
        """Full of what no kernel may read: a NaN, as a float32."""
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        if size > MEMORY:
            raise MemoryError
        raw = aligned_empty(-(-size // 4) * 4)
        raw.view(np.uint32)[:] = POISON[4]
        return raw[:size].view(HostArray).view(dtype).reshape(shape)

    def from_cuda_array_interface(self, interface, owner):
        shown = SimpleNamespace(__array_interface__={**interface, "version": 3}, owner=owner)
        return np.asarray(shown).view(HostArray)


def graph(launches, numbers, there):
    """Launches as a CUDA graph may run them: in an order that keeps to what has to wait for what, and is another one
    than theirs where it can be.
    """
    places = order.places([launch.accesses() for launch in launches])
    before = [[*place.after, *[j for j in range(i) if places[j].stream == place.stream][-1:]]
              for i, place in enumerate(places)]
    last_first: list[int] = []
    while len(last_first) < len(launches):
        last_first.append(max(i for i in range(len(launches)) if i not in last_first
                              and all(j in last_first for j in before[i])))

    def run():
        there.reshape(-1)[: numbers.size] = numbers.reshape(-1)
        for i in last_first:
            launches[i]()

    return run


@contextmanager
def interpreted(counters: dict[str, Counters] | None = None):
    """Within this block device "cuda" is there. What each kernel would cost is added up in `counters`, by its name."""
    from autoconv.kernels.cuda import assembly, kernels, runtime

    assembly.kernels()  # one that was declared within the block would have no dispatcher of its own afterwards

    def check(index: int) -> None:
        if index:
            raise DeviceError(f"There is no GPU number {index}.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "check", check)
        patch.setattr(driver, "name", lambda index: "PTX in NumPy")
        patch.setattr(driver, "capability", lambda index: CAPABILITY)
        patch.setattr(driver, "version", lambda: (13, 0))
        patch.setattr(driver, "count", lambda: 1)
        patch.setattr(driver, "gpu_of", lambda address: 0)
        patch.setattr(driver, "memory", lambda index: MEMORY)
        patch.setattr(device_cuda, "_opened", {})
        patch.setattr(kernels, "prepare", lambda *given: None)  # each is compiled when first launched
        patch.setattr(kernels.CudaKernel, "compiled_before", lambda *given: True)
        patch.setattr(runtime.Gpu, "capture", lambda gpu, *given: graph(*given))
        for name in ("select_device", "stream", "current_context", "device_array", "from_cuda_array_interface", "event",
                     "event_elapsed_time", "pinned_array"):
            patch.setattr(runtime.cuda, name, getattr(Cuda(), name))
        patch.setattr(kernels.CudaKernel, "_dispatcher", property(lambda kernel: Dispatcher(kernel, counters),
                                                              lambda kernel, value: None), raising=False)
        patch.setattr(runtime, "gpu", functools.cache(runtime.gpu.__wrapped__))
        patch.setattr(runtime, "_current", threading.local())
        yield
