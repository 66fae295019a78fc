"""Manages GPUs, their memory and their streams.

All work on a GPU goes to one stream, in order. So memory (arena.py) can be reused as soon as no
array refers to it: earlier launches read it before later launches write it.
"""

import atexit
import threading
import weakref
from collections.abc import Callable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import DTypeLike

from ...engine.errors import DeviceError
from .. import trace
from ..arena import Arena, Piece
from ..precision import get_precision
from . import driver, failures, order
from .internals import DRIVER_ERRORS, cuda

if TYPE_CHECKING:
    from .kernels import Launch

SEGMENT = 64 << 20  # minimum number of bytes per allocation from the driver
# reason why a recording is incomplete: a replay of its launches would not repeat the copy
_COPY = "a copy from or to the host's memory"

# its attribute `index` is the number of the GPU that receives this thread's launches
_current = threading.local()


class GpuMemory:
    """A piece of a GPU's memory, as a flat array `data` of one dtype. The piece is freed together
    with this object.

    Without a `piece`, the memory belongs to another package or is a view of `owner`. A package may
    reuse memory as soon as it is released, so `data` is kept until pending launches are complete.
    """

    __slots__ = ("_owner", "_piece", "data", "gpu")

    def __init__(self, gpu: "Gpu", data: Any, piece: Piece | None = None, owner: "GpuMemory | None" = None) -> None:
        self.gpu = gpu
        self.data = data
        self._piece = piece
        self._owner = owner

    def __del__(self) -> None:
        if self._piece is not None:
            self.gpu.arena.give_back(self._piece)
        elif self._owner is None:
            self.gpu.leaving.append(self.data)

    def view(self, dtype: DTypeLike) -> "GpuMemory":
        """Returns the same bytes as elements of another dtype."""
        return GpuMemory(self.gpu, self.data.view(dtype), owner=self)


class Gpu:
    """One GPU: its stream, and the arena that holds all its arrays."""

    def __init__(self, index: int) -> None:
        self.index = index
        # tensor cores that support float32 inputs
        self.has_tensor_cores = driver.capability(index) >= (8, 0)
        self.arena = Arena(self._allocate, SEGMENT)
        # other packages' memory that no array here uses, but pending launches may still read
        self.leaving: list = []
        self._releases: list[weakref.WeakMethod] = []
        self._keeping: Any = None
        self.failures = failures.Failures(self._end)
        self.enter()
        self._context = cuda.current_context()
        self.stream: Any = cuda.stream()

    def __str__(self) -> str:
        return f"GPU number {self.index}"

    def _end(self) -> None:
        """Stops returning memory to the driver after a fatal error, because the driver would
        refuse it and Numba would print an error for each array.
        """
        if self._keeping is None:
            self._keeping = self._context.defer_cleanup()
            self._keeping.__enter__()

    def enter(self) -> None:
        """Makes this GPU the current one for this thread's calls."""
        previous = getattr(_current, "index", None)
        if previous != self.index:
            if previous is not None:
                cuda.current_context().pop()  # the driver keeps a stack of contexts per thread
            cuda.select_device(self.index)
            _current.index = self.index

    def memory(self, size: int, dtype: DTypeLike) -> GpuMemory:
        """Returns uninitialised memory for `size` elements. Raises DeviceError if too little memory
        is free.
        """
        size = max(size, 1)
        dtype = np.dtype(dtype)
        with self.failures:
            self.enter()
            try:
                piece = self._take(size * dtype.itemsize)
            except MemoryError as error:
                free, total = cuda.current_context().get_memory_info()
                raise DeviceError(
                    f"GPU number {self.index} is out of memory: "
                    f"{size * dtype.itemsize / 2**20:,.1f} MiB were requested, "
                    f"{free / 2**20:,.1f} of {total / 2**20:,.1f} MiB are free, "
                    f"{self.arena.allocated_bytes / 2**20:,.1f} MiB are held by autoconv. Use a "
                    "smaller batch_size, or end other programs on this GPU.") from error
            return GpuMemory(self, piece.view(size, dtype), piece)

    def _take(self, size: int) -> Piece:
        try:
            return self.arena.take(size)
        except MemoryError:
            for release in [there for weak in self._releases if (there := weak()) is not None]:
                release()
            return self.arena.take(size)

    def on_low_memory(self, release: Callable[[], object]) -> None:
        """Registers a bound method that frees memory, for as long as the method's object exists.
        The method is called if an allocation fails, before the allocation is tried again.
        """
        self._releases = [weak for weak in self._releases if weak() not in (None, release)]
        self._releases.append(weakref.WeakMethod(release))

    def _allocate(self, size: int) -> Any:
        """Allocates `size` bytes from the driver. Raises MemoryError if the driver cannot."""
        try:
            return cuda.device_array(size, np.uint8)
        except Exception as error:
            if not isinstance(error, MemoryError) and "OUT_OF_MEMORY" not in str(error):
                raise
            # after this wait, the arena may free segments that launches were reading
            self.synchronize()
            raise MemoryError(str(error)) from error

    def memory_left(self) -> int:
        """Returns the number of available bytes, which are either free in the driver or unused in
        the arena's segments.
        """
        with self.failures:
            self.enter()
            free, _ = cuda.current_context().get_memory_info()
        return free + self.arena.count_unused()

    def synchronize(self) -> None:
        """Waits until all launches on this GPU are complete."""
        count = len(self.leaving)
        with self.failures:
            self.enter()
            self.stream.synchronize()
        del self.leaving[:count]

    def settle(self) -> None:
        """Releases other packages' memory that no array here uses any more."""
        if self.leaving:
            self.synchronize()

    def capture(self, launches: list["Launch"], numbers: np.ndarray, target: Any) -> Callable[[], None]:
        """Captures launches as one CUDA graph. Calling the result copies `numbers` to the beginning
        of `target`, and launches the graph. Raises DeviceError if the capture fails.

        In the graph, each launch waits only for earlier launches that touch the same memory.
        """
        from .graph import CudaGraph  # this import needs NVIDIA's bindings

        self.enter()
        places = order.places([launch.accesses() for launch in launches])
        graph = CudaGraph(int(self.stream.handle), launches, places)
        address = pointer(target)
        outbox = self._outbox
        return lambda: self._launch(graph, outbox, numbers, address)

    def _launch(self, graph: Callable[[], None], outbox: Any, numbers: np.ndarray, address: int) -> None:
        with self.failures:
            if numbers.size:
                outbox.send(numbers, address)
            graph()

    @cached_property
    def _outbox(self) -> Any:
        from .outbox import Outbox  # this import needs NVIDIA's bindings

        return Outbox(self)

    def uses_tensor_cores(self, dtype: DTypeLike) -> bool:
        """Whether products in this dtype are computed on tensor cores."""
        return self.has_tensor_cores and np.dtype(dtype) == np.float32 and get_precision() == "tf32"

    def copy_in(self, source: Any, native: Any) -> None:
        """Copies the flat array `source`, from host memory or from this GPU, to `native`, which has
        the same size and dtype.
        """
        trace.stop(_COPY)
        with self.failures:
            self.enter()
            native.copy_to_device(source, stream=self.stream)

    def copy_out(self, native: Any, host: np.ndarray) -> None:
        """Copies `native` to `host`, an array of the same shape and dtype, and waits until the copy
        is complete.
        """
        trace.stop(_COPY)
        with self.failures:
            self.enter()
            native.copy_to_host(host, stream=self.stream)
        self.synchronize()

    def begin_copy_out(self, native: Any, host: np.ndarray) -> Callable[[], bool]:
        """Starts a `copy_out` without waiting. The returned function reports whether the copy is
        complete. `host` must be from `allocate_pinned`, because for other memory the driver
        blocks the caller during the copy.
        """
        trace.stop(_COPY)
        with self.failures:
            self.enter()
            native.copy_to_host(host, stream=self.stream)
            event = cuda.event(timing=False)
            event.record(self.stream)

        def is_complete() -> bool:
            with self.failures:
                return event.query()

        return is_complete

    def allocate_pinned(self, size: int, dtype: DTypeLike) -> np.ndarray:
        """Returns `size` elements of pinned host memory, which the GPU can read and write directly.
        """
        with self.failures:
            self.enter()
            return cuda.pinned_array(size, np.dtype(dtype))


@cache
def gpu(index: int) -> Gpu:
    """Returns GPU number `index`, and opens it on the first call. Raises DeviceError if the GPU
    cannot be used.
    """
    driver.check(index)
    try:
        result = Gpu(index)
    except Exception as error:
        if not failures.code(error) and not isinstance(error, DRIVER_ERRORS):
            raise
        reason = failures.code(error) or str(error).strip(" .:")
        raise DeviceError(f"GPU number {index} cannot be opened: {reason}. Check with nvidia-smi "
                          "that no other program uses this GPU exclusively or fills its memory."
                          ) from error
    # with several GPUs, Numba would unload their shared kernels once per GPU at exit
    if gpu.cache_info().currsize:
        atexit.register(result._end)
    return result


def pointer(native: Any) -> int:
    """Returns the address of an array's first element."""
    return int(native.device_ctypes_pointer.value or 0)
