"""GPUs, their memory and streams, and how a kernel is declared, compiled and launched.

All work on a GPU goes to one stream, in order. So memory (arena.py) can be handed out again as soon as nobody holds it:
what was launched before reads it before what is launched after writes it.
"""

import atexit
import math
import re
import threading
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from types import ModuleType
from typing import Any

import numpy as np

from ...errors import DeviceError
from .. import caching, trace
from ..compilers import Compilers
from ..locks import Lock, given_back
from ..precision import get_precision
from . import driver, failures, internals, order, store
from .arena import Arena, Piece
from .internals import DRIVER_ERRORS, capability, cuda, pretended
from .order import Access

THREADS = 256  # of a block, where each has an item of its own
SEGMENT = 64 << 20  # bytes that are asked of the driver at once, at least
_COPY = "a copy from or to the host's memory"  # which a replay of launches would not do

# A helper that is compiled into the kernels that call it: always, as a thread's own arrays then stay in registers.
inline = cuda.jit(device=True, forceinline=True)

_launching = Lock()  # two threads that first launch a kernel at once would have Numba load it twice

_current = threading.local()  # the number of the GPU that this thread's launches go to


class Memory:
    """A piece of a GPU's memory, as a flat array `data` of one dtype. Given back when nobody holds it any more.

    Where there is no `piece`, the memory is another package's, which may use it again as soon as it has it back: so it
    is kept until what was launched is done; or it is a part of `of`.
    """

    __slots__ = ("_of", "_piece", "data", "gpu")

    def __init__(self, gpu: "Gpu", data: Any, piece: Piece | None = None, of: "Memory | None" = None) -> None:
        self.gpu, self.data, self._piece, self._of = gpu, data, piece, of

    def __del__(self) -> None:
        if self._piece is not None:
            self.gpu.arena.give_back(self._piece)
        elif self._of is None:
            self.gpu.leaving.append(self.data)

    def view(self, dtype: Any) -> "Memory":
        """The same bytes as items of another dtype."""
        return Memory(self.gpu, self.data.view(dtype), of=self)


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

    def memory(self, size: int, dtype: Any) -> Memory:
        """Memory for `size` items, whose values mean nothing. Raises DeviceError where there is not enough."""
        size, dtype = max(size, 1), np.dtype(dtype)
        with self.failures:
            self.enter()
            try:
                piece = self._taken(size * dtype.itemsize)
            except MemoryError as error:
                raise DeviceError(self._too_little(size * dtype.itemsize)) from error
            return Memory(self, piece.view(size, dtype), piece)

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
            if not _out_of_memory(error):
                raise
            self.synchronize()  # the arena may now let go of segments that launched kernels still read
            raise MemoryError(str(error)) from error

    def _too_little(self, asked: int) -> str:
        free, total = cuda.current_context().get_memory_info()
        return (f"GPU number {self.index} is out of memory: {asked / 2**20:,.1f} MiB were asked for, "
                f"{free / 2**20:,.1f} of {total / 2**20:,.1f} MiB are free, {self.arena.held / 2**20:,.1f} MiB are "
                "autoconv's. Use a smaller batch_size, or end other programs on this GPU.")

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
        """Launches as one captured CUDA graph. A call copies `numbers` to where `there` begins, and launches it. Raises
        DeviceError where that fails.

        In the graph each waits only for those before it that touch the same memory.
        """
        from .graph import CudaGraph  # its import needs NVIDIA's bindings

        self.enter()
        places = order.places([launch.accesses() for launch in launches])
        graph, to = CudaGraph(int(self.stream.handle), launches, places), pointer(there)
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
        """As `copy_out`, without waiting; the result tells whether it is there. `host` must be `pinned`: to other
        memory the driver copies while the caller waits.
        """
        trace.stop(_COPY)
        with self.failures:
            self.enter()
            native.copy_to_host(host, stream=self.stream)
            there = cuda.event(timing=False)
            there.record(self.stream)
        return lambda: self._has_come(there)

    def _has_come(self, event: Any) -> bool:
        with self.failures:
            return event.query()

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


class OnGpu:
    """What a kernel takes as an array: `native` is Numba's view of it, `gpu` where it is."""

    __slots__ = ()

    @property
    def native(self) -> Any:
        raise NotImplementedError

    @property
    def gpu(self) -> Gpu:
        raise NotImplementedError


class Kernel:
    """A function compiled for a GPU's threads; how many of them run it, `launch` is told.

    `signature` is Numba's, with T for the floating type, for what is compiled ahead; other types are compiled when
    they come. An array that the function only reads is `const T[::1]`: launches that have no array in common, or only
    read it, may run at the same time.
    """

    dtypes: tuple[str, ...] = ("float32", "float64")  # what it is for ...
    tensor_cores: bool | None = None  # ... and whether only where such are used, or only where not

    def __init__(self, function: Callable, signature: str, name: str) -> None:
        self.name = f"{function.__module__.rpartition('.')[2]}.{name}"
        self.function, self.__doc__ = function, function.__doc__
        self.signature, self.reads_only = signature.replace("const ", ""), _constant(signature)
        self.typed = [part.strip(" (").startswith("T") for part in _parameters(self.signature)]
        self._dispatcher = cuda.jit(function, lto=False)  # machine code of the very PTX that the tests read and run
        if function.__module__.startswith(f"{__package__}."):  # the cache knows these sources alone
            internals.keep(self._dispatcher, self._load, self._save)
        self._ready: set[np.dtype] = set()

    def launch(self, blocks: int | tuple[int, ...], threads: int, arguments: tuple) -> None:
        """Runs it on the GPU of its arrays, in the order of that GPU's stream."""
        launch, recorder = Launch(self, blocks, threads, arguments), trace.current()
        if isinstance(recorder, trace.DryRun):
            if len(launch.dtypes) < 2:  # else it is compiled when it comes
                recorder.found[self, launch.dtype] = None
            return
        if recorder is not None:
            recorder.add(launch.gpu, launch, ())
        launch()

    def types(self, dtype: Any) -> tuple:
        """Numba's types of its parameters for one floating type."""
        return internals.types_of(re.sub(r"\bT\b", str(np.dtype(dtype)), self.signature))

    def compile(self, dtype: Any) -> None:
        """Compiles for one floating type and the current GPU, or loads that from the disk cache, so that the first
        launch need not wait.
        """
        dtype = np.dtype(dtype)
        if dtype not in self._ready:
            with given_back(*internals.COMPILER_LOCKS):
                self._dispatcher.compile(self.types(dtype))
        self._ready.add(dtype)

    def serves(self, dtype: Any, tensor_cores: bool) -> bool:
        """Whether it is ever launched for this dtype, where tensor cores are used or not."""
        return str(np.dtype(dtype)) in self.dtypes and self.tensor_cores in (None, tensor_cores)

    def compiled_before(self, dtype: Any) -> bool:
        """Whether this process or the disk cache has it, for the current GPU."""
        return np.dtype(dtype) in self._ready or store.has(self.name, self.types(dtype), _target())

    def compile_for(self, dtype: Any, gpu: tuple[int, int]) -> None:
        """Compiles into the disk cache, for a compute capability such as (8, 0). Needs no GPU and no driver. Raises
        RuntimeError where it cannot be kept.
        """
        types = self.types(dtype)
        with pretended(gpu):
            if not self._save(types, internals.compiled(self.function, types, self._dispatcher.targetoptions)):
                raise RuntimeError(f"The compiled kernel {self.name} cannot be kept.")

    def _load(self, types: tuple) -> Any:
        """A compiled kernel of the disk cache, for the current GPU; None where it is not there."""
        data = store.read(self.name, types, _target())
        return None if data is None else internals.restored(data)

    def _save(self, types: tuple, made: Any) -> bool:
        """Keeps a compiled kernel, if this version of numba-cuda can do that."""
        data = internals.dumped(made)
        if data is not None:
            store.write(self.name, types, _target(), data)
        return data is not None


def _target() -> tuple:
    """What numba-cuda compiles for on the current GPU."""
    return internals.target(capability())


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel with all that it takes to run it."""

    kernel: Kernel
    blocks: int | tuple[int, ...]
    threads: int
    arguments: tuple

    @property
    def gpu(self) -> Gpu:
        return next(a.gpu for a in self.arguments if isinstance(a, OnGpu))

    @property
    def dtypes(self) -> set[np.dtype]:
        """The types of the arguments whose type the signature calls T. Several, where the types are others than its."""
        return {a.dtype for a, is_typed in zip(self.arguments, self.kernel.typed) if is_typed and isinstance(a, OnGpu)}

    @property
    def dtype(self) -> np.dtype:
        """What T stands for, where it stands for one type; float32 where the kernel has none."""
        return next(iter(self.dtypes), np.dtype(np.float32))

    def __call__(self, handle: int | None = None) -> None:
        """Runs it on the GPU's stream, or on the one of this handle."""
        gpu = self.gpu
        with gpu.failures, _launching:
            gpu.enter()
            natives = [a.native if isinstance(a, OnGpu) else a for a in self.arguments]
            stream = gpu.stream if handle is None else cuda.external_stream(handle)
            self.kernel._dispatcher[self.blocks, self.threads, stream](*natives)

    def accesses(self) -> list[Access]:
        """The memory it touches, and whether it may write there."""
        found = []
        for argument, reads_only in zip(self.arguments, self.kernel.reads_only, strict=True):
            if isinstance(argument, OnGpu):
                start = pointer(argument.native)
                found.append((start, start + argument.native.size * argument.native.dtype.itemsize, not reads_only))
        return found


class ItemKernel(Kernel):
    """A function that runs once for each of `count` items: `kernel(count, *arguments)`.

    Its first parameter is that count; a thread's item is `i = global_index()` (ptx.py), `if i < count`.
    """

    def __call__(self, count: int, *arguments: Any) -> None:
        if count:
            self.launch(-(-count // THREADS), THREADS, (count, *arguments))


class BlockKernel(Kernel):
    """A function whose blocks of `threads` threads work together: `kernel(blocks, *arguments)`.

    `blocks` is the grid, a tuple of one to three numbers.
    """

    def __init__(self, function: Callable, signature: str, name: str, threads: int, dtypes: tuple[str, ...],
                 tensor_cores: bool | None) -> None:
        super().__init__(function, signature, name)
        self.threads, self.dtypes, self.tensor_cores = threads, dtypes, tensor_cores

    def __call__(self, blocks: tuple[int, ...], *arguments: Any) -> None:
        if math.prod(blocks):
            self.launch(blocks, self.threads, arguments)


def _constant(signature: str) -> list[bool]:
    """Which of the parameters a signature calls const."""
    return [part.strip(" (").startswith("const ") for part in _parameters(signature)]


def _parameters(signature: str) -> list[str]:
    """The types of a signature, one by one."""
    return re.split(r",(?![^\[(]*[\])])", signature[1:-1])


def kernel(signature: str, name: str = "") -> Callable[[Callable], ItemKernel]:
    """Makes a function an `ItemKernel`. `name` where its own says too little: one function may make several kernels."""
    return lambda function: ItemKernel(function, signature, name or function.__name__)


def block_kernel(signature: str, threads: int, name: str = "", dtypes: tuple[str, ...] = Kernel.dtypes,
                 tensor_cores: bool | None = None) -> Callable[[Callable], BlockKernel]:
    """Makes a function a `BlockKernel` for blocks of so many threads, and for what `Kernel.serves` says."""
    return lambda function: BlockKernel(function, signature, name or function.__name__, threads, dtypes, tensor_cores)


def kernels_of(module: ModuleType) -> dict[str, Kernel]:
    """The kernels of a file, those that it takes from other files included."""
    return {k.name: k for value in vars(module).values() for k in _kernels_in(value)}


def _kernels_in(value: Any) -> Iterator[Kernel]:
    """A kernel, or those in a tuple."""
    if isinstance(value, Kernel):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _kernels_in(item)


def prepare(wanted: list[tuple[Kernel, np.dtype]], report: Callable[[int, int], None]) -> None:
    """Makes kernels ready for the current GPU, each for its dtype.

    Calls `report(done, total)` where some must be compiled, and after each one.
    """
    missing = [(k, dtype) for k, dtype in wanted if not k.compiled_before(dtype)]
    if missing:
        report(0, len(missing))
    folder = store.folder() if len(missing) > 1 else None
    elsewhere = folder is not None and caching.has_space(folder)
    if elsewhere:
        names = [f"{k.name}:{dtype}" for k, dtype in missing]
        _compilers(*map(str, capability())).compile(names, report)
    done = 0
    for k, dtype in wanted:
        k.compile(dtype)
        if (k, dtype) in missing and not elsewhere:
            done += 1
            report(done, len(missing))


@cache
def _compilers(*capability: str) -> Compilers:
    return Compilers(f"{__package__}.compiling", *capability)


def _out_of_memory(error: Exception) -> bool:
    return isinstance(error, MemoryError) or "OUT_OF_MEMORY" in str(error)
