"""A `cuda` device whose kernels run in the emulator. Its memory is host memory; everything else is autoconv's own code.

While the device exists, three parts of the runtime are replaced: numba.cuda's devices and arrays, the dispatcher that
launches each kernel, and the queries to the driver.
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

MEMORY = 1 << 33  # bytes of memory that this GPU reports


class HostArray(Aligned):
    """A host array with the methods of Numba's device arrays that the runtime uses."""

    def copy_to_device(self, host, stream) -> None:
        self[...] = host

    def copy_to_host(self, host, stream) -> None:
        host[...] = self

    @property
    def device_ctypes_pointer(self):
        return SimpleNamespace(value=self.ctypes.data)


class Dispatcher:
    """Launches a kernel: `dispatcher[blocks, threads, stream](*arguments)`, as in numba.cuda."""

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
        """Checks that a kernel writes no array that it declares const: a graph may run other readers at that time."""
        for i in program.written_arguments(arguments):
            assert not self.kernel.reads_only[i], f"{self.kernel.name} writes argument {i}, which it declares const"


class Event:
    """A point in time. A launch is complete when it returns, so the host's clock is used."""

    def record(self, stream) -> None:
        self.time = time.perf_counter()

    def synchronize(self) -> None:
        """Does nothing: no work is ever pending."""

    def query(self) -> bool:
        """Returns True: no work is ever pending."""
        return True


class Stream(int):
    """A stream whose launches complete immediately."""

    def synchronize(self) -> None:
        """Does nothing: no work is ever pending."""


class Cuda:
    """The parts of numba.cuda's devices and arrays that the runtime uses, for one GPU."""

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
        """Allocates an array filled with a NaN pattern that no kernel may read."""
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
    """Returns a function that runs launches as a CUDA graph may: in an order that respects their dependencies, but
    differs from the recorded order if possible.
    """
    places = order.places([launch.accesses() for launch in launches])
    before = [[*place.dependencies, *[j for j in range(i) if places[j].stream == place.stream][-1:]]
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
    """Provides the device "cuda" within this block. Adds each kernel's costs to `counters`, keyed by its name."""
    from autoconv.kernels.cuda import assembly, kernels, runtime

    assembly.kernels()  # a kernel first declared within the block would have no dispatcher afterwards

    def check(index: int) -> None:
        if index:
            raise DeviceError(f"There is no GPU number {index}.")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "check", check)
        patch.setattr(driver, "name", lambda index: "PTX in NumPy")
        patch.setattr(driver, "capability", lambda index: CAPABILITY)
        patch.setattr(driver, "version", lambda: (13, 0))
        patch.setattr(driver, "count", lambda: 1)
        patch.setattr(driver, "find_gpu", lambda address: 0)
        patch.setattr(driver, "memory", lambda index: MEMORY)
        patch.setattr(device_cuda, "_opened", {})
        patch.setattr(kernels, "prepare", lambda *given: None)  # each kernel is compiled at its first launch
        patch.setattr(kernels.CudaKernel, "is_compiled", lambda *given: True)
        patch.setattr(runtime.Gpu, "capture", lambda gpu, *given: graph(*given))
        for name in ("select_device", "stream", "current_context", "device_array", "from_cuda_array_interface", "event",
                     "event_elapsed_time", "pinned_array"):
            patch.setattr(runtime.cuda, name, getattr(Cuda(), name))
        patch.setattr(kernels.CudaKernel, "_dispatcher", property(lambda kernel: Dispatcher(kernel, counters),
                                                              lambda kernel, value: None), raising=False)
        patch.setattr(runtime, "gpu", functools.cache(runtime.gpu.__wrapped__))
        patch.setattr(runtime, "_current", threading.local())
        yield
