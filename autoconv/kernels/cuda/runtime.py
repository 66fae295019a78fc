"""GPUs, their memory and streams.

All work on a GPU goes to one stream, in order. So memory (arena.py) can be handed out again as soon
as nobody holds it: what was launched before reads it before what is launched after writes it.
"""

import atexit
import threading
import weakref
from collections.abc import Callable
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ...engine.errors import DeviceError
from .. import trace
from ..precision import get_precision
from . import driver, failures, order
from .arena import Arena, Piece
from .internals import DRIVER_ERRORS, cuda

if TYPE_CHECKING:
    from .kernels import Launch

SEGMENT = 64 << 20  # bytes that are asked of the driver at once, at least
_COPY = "a copy from or to the host's memory"  # which a replay of launches would not do

_current = threading.local()  # the number of the GPU that this thread's launches go to


class GpuMemory:
    """A piece of a GPU's memory, as a flat array `data` of one dtype. Given back when nobody holds it any more.

    Where there is no `piece`, the memory is another package's, which may use it again as soon as it has it back: so it
    is kept until what was launched is done; or it is a part of `of`.
    """

    __slots__ = ("_of", "_piece", "data", "gpu")

    def __init__(self, gpu: "Gpu", data: Any, piece: Piece | None = None, of: "GpuMemory | None" = None) -> None:
        self.gpu = gpu
        self.data = data
        self._piece = piece
        self._of = of

    def __del__(self) -> None:
        if self._piece is not None:
            self.gpu.arena.give_back(self._piece)
        elif self._of is None:
            self.gpu.leaving.append(self.data)

    def view(self, dtype: Any) -> "GpuMemory":
        """The same bytes as items of another dtype."""
        return GpuMemory(self.gpu, self.data.view(dtype), of=self)


class Gpu:
    """One GPU: its stream, and the arena that all its arrays lie in."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.has_tensor_cores = driver.capability(index) >= (8, 0)  # that take float32
        self.arena = Arena(self._allocate, SEGMENT)
        self.leaving: list = []  # other packages' memory that nobody here holds, but launched kernels may still read
        self._givers: list[weakref.WeakMethod] = []
        self._keeping: Any = None
        self.failures = failures.Failures(self._end)
        self.enter()
        self._context = cuda.current_context()
        self.stream: Any = cuda.stream()

    def __str__(self) -> str:
        return f"GPU number {self.index}"

    def _end(self) -> None:
        """Nothing on it is given back to the driver, which would refuse: Numba would print that for each array."""
        if self._keeping is None:
            self._keeping = self._context.defer_cleanup()
            self._keeping.__enter__()

    def enter(self) -> None:
        """Makes this GPU the one that this thread's calls go to."""
        before = getattr(_current, "index", None)
        if before != self.index:
            if before is not None:
                cuda.current_context().pop()  # the driver keeps a stack of them for each thread
            cuda.select_device(self.index)
            _current.index = self.index

    def memory(self, size: int, dtype: Any) -> GpuMemory:
        """Memory for `size` items, whose values mean nothing. Raises DeviceError where there is not enough."""
        size = max(size, 1)
        dtype = np.dtype(dtype)
        with self.failures:
            self.enter()
            try:
                piece = self._taken(size * dtype.itemsize)
            except MemoryError as error:
                free, total = cuda.current_context().get_memory_info()
                raise DeviceError(
                    f"GPU number {self.index} is out of memory: {size * dtype.itemsize / 2**20:,.1f} MiB were asked "
                    f"for, {free / 2**20:,.1f} of {total / 2**20:,.1f} MiB are free, {self.arena.held / 2**20:,.1f} "
                    "MiB are autoconv's. Use a smaller batch_size, or end other programs on this GPU.") from error
            return GpuMemory(self, piece.view(size, dtype), piece)

    def _taken(self, size: int) -> Piece:
        try:
            return self.arena.take(size)
        except MemoryError:
            for give_back in [there for weak in self._givers if (there := weak()) is not None]:
                give_back()
            return self.arena.take(size)

    def when_short(self, give_back: Callable[[], object]) -> None:
        """Has a method called before memory that cannot be had is an error, as long as its object lives."""
        self._givers = [weak for weak in self._givers if weak() not in (None, give_back)]
        self._givers.append(weakref.WeakMethod(give_back))

    def _allocate(self, size: int) -> Any:
        """So many bytes from the driver: plain device memory. Raises MemoryError where it has not got them."""
        try:
            return cuda.device_array(size, np.uint8)
        except Exception as error:
            if not isinstance(error, MemoryError) and "OUT_OF_MEMORY" not in str(error):
                raise
            self.synchronize()  # the arena may now let go of segments that launched kernels still read
            raise MemoryError(str(error)) from error

    def memory_left(self) -> int:
        """Bytes that can still be had: from the driver, and from the arena, which keeps what it once got."""
        with self.failures:
            self.enter()
            free, _ = cuda.current_context().get_memory_info()
        return free + self.arena.unused()

    def synchronize(self) -> None:
        """Waits until all that was launched is done."""
        left = len(self.leaving)
        with self.failures:
            self.enter()
            self.stream.synchronize()
        del self.leaving[:left]

    def settle(self) -> None:
        """Lets other packages have back the memory that nobody here holds any more."""
        if self.leaving:
            self.synchronize()

    def capture(self, launches: list["Launch"], numbers: np.ndarray, there: Any) -> Callable[[], None]:
        """Launches as one captured CUDA graph. A call copies `numbers` to where `there` begins, and
        launches it. Raises DeviceError where that fails.

        In the graph each waits only for those before it that touch the same memory.
        """
        from .graph import CudaGraph  # its import needs NVIDIA's bindings

        self.enter()
        places = order.places([launch.accesses() for launch in launches])
        graph = CudaGraph(int(self.stream.handle), launches, places)
        to = pointer(there)
        outbox = self._outbox
        return lambda: self._launch(graph, outbox, numbers, to)

    def _launch(self, graph: Callable[[], None], outbox: Any, numbers: np.ndarray, to: int) -> None:
        with self.failures:
            if numbers.size:
                outbox.send(numbers, to)
            graph()

    @cached_property
    def _outbox(self) -> Any:
        from .outbox import Outbox  # its import needs NVIDIA's bindings

        return Outbox(self)

    def uses_tensor_cores(self, dtype: Any) -> bool:
        """Whether numbers of this dtype are multiplied on tensor cores."""
        return self.has_tensor_cores and np.dtype(dtype) == np.float32 and get_precision() == "tf32"

    def copy_in(self, source: Any, native: Any) -> None:
        """From the host's memory, or this GPU's: a flat array of the same size and dtype."""
        trace.stop(_COPY)
        with self.failures:
            self.enter()
            native.copy_to_device(source, stream=self.stream)

    def copy_out(self, native: Any, host: np.ndarray) -> None:
        """Into the host's memory, of the same shape and dtype; waits until it is there."""
        trace.stop(_COPY)
        with self.failures:
            self.enter()
            native.copy_to_host(host, stream=self.stream)
        self.synchronize()

    def begin_copy_out(self, native: Any, host: np.ndarray) -> Callable[[], bool]:
        """As `copy_out`, without waiting; the result tells whether it is there. `host` must be
        `pinned`: to other memory the driver copies while the caller waits.
        """
        trace.stop(_COPY)
        with self.failures:
            self.enter()
            native.copy_to_host(host, stream=self.stream)
            there = cuda.event(timing=False)
            there.record(self.stream)

        def has_come() -> bool:
            with self.failures:
                return there.query()

        return has_come

    def pinned(self, size: int, dtype: Any) -> np.ndarray:
        """So many items of the host's memory that the GPU reads and writes by itself."""
        with self.failures:
            self.enter()
            return cuda.pinned_array(size, np.dtype(dtype))


@cache
def gpu(index: int) -> Gpu:
    """GPU number `index`, opened. Raises DeviceError where it cannot be used."""
    driver.check(index)
    try:
        made = Gpu(index)
    except Exception as error:
        if not failures.code(error) and not isinstance(error, DRIVER_ERRORS):
            raise
        reason = failures.code(error) or str(error).strip(" .:")
        raise DeviceError(f"GPU number {index} cannot be opened: {reason}. Check with nvidia-smi that no other program "
                          "has it for itself, or all of its memory.") from error
    if gpu.cache_info().currsize:  # at the end Numba would unload the kernels that GPUs share once for each of them
        atexit.register(made._end)
    return made


def pointer(native: Any) -> int:
    """The address of an array's first item."""
    return int(native.device_ctypes_pointer.value or 0)
