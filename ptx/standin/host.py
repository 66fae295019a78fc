"""The Python side of the stand-in: reads loaded cubins and runs launched kernels."""

import ctypes
import gc
import itertools
import struct
import traceback
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from .. import cubin
from ..errors import PtxError
from ..launch import CAPABILITY, Aligned, Program, compiled, run
from .build import NAME

_Words = ctypes.POINTER(ctypes.c_uint)
_LOAD = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
_RUN = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, _Words, _Words, ctypes.c_uint, ctypes.c_void_p, ctypes.c_int)
INVALID_IMAGE, NO_BINARY_FOR_GPU, ILLEGAL_ADDRESS, LAUNCH_FAILED = 200, 209, 700, 719


class Standin:
    """The stand-in that this process uses as its driver.

    `failures` lists the errors of kernels. While `idle` is true, kernels do nothing.
    """

    def __init__(self) -> None:
        self.library = ctypes.CDLL(NAME)
        self.library.standin_reason.restype = self.library.standin_name.restype = ctypes.c_char_p
        self.library.standin_used.restype = ctypes.c_size_t
        self.library.standin_kernel.restype = ctypes.c_void_p
        self.idle = False
        self.failures: list[str] = []
        self._loaded: dict[int, tuple[cubin.Kernel, bytes]] = {}  # keyed by kernel handle
        self._known: dict[int, tuple[Program, tuple, list[bool]]] = {}
        self._callbacks = _LOAD(self._load), _RUN(self._run)
        self.library.standin_host(*self._callbacks)

    @property
    def reason(self) -> str:
        """The reason of the driver's last error, in words."""
        return self.library.standin_reason().decode()

    @property
    def capability(self) -> tuple[int, int]:
        """The compute capability of the GPUs."""
        return tuple(ctypes.c_int.in_dll(self.library, f"standin_{name}").value for name in ("major", "minor"))

    def set(self, **values: int) -> None:
        """Configures the driver: the number of `gpus`, their `memory` in bytes, `major` and `minor` of their compute
        capability, whether they can access the memory of their `peers`, and the CUDA `version`, such as 13000. Call
        this before the first call of the driver.
        """
        for name, value in values.items():
            kind = ctypes.c_size_t if name == "memory" else ctypes.c_int
            kind.in_dll(self.library, f"standin_{name}").value = value

    def fail(self, call: str, code: int, nth: int = 1) -> None:
        """Makes the nth call of a driver function from now on return this error. "kernel" is the run of a kernel."""
        self.library.standin_fail(call.encode(), nth, int(code))

    def calls(self, call: str) -> int:
        """Returns the number of calls of a driver function."""
        return self.library.standin_calls(call.encode())

    def called(self) -> dict[str, int]:
        """Returns the number of calls of each driver function that was called."""
        names = iter(lambda: self.library.standin_name(next(numbers)), None)
        numbers = itertools.count()
        return {name: count for name in sorted(map(bytes.decode, names)) if (count := self.calls(name))}

    def alive(self, kind: str) -> int:
        """Returns the number of existing "streams", "events", "graphs", "graph execs" or "libraries"."""
        return self.library.standin_alive(kind.encode())

    def used(self, gpu: int = 0) -> int:
        """Returns the number of allocated bytes of a GPU's memory."""
        return self.library.standin_used(gpu)

    # Callbacks of the driver.

    def _load(self, library: int, image: int) -> int:
        try:
            data = ctypes.string_at(image, cubin.length(ctypes.string_at(image, 64)))
            (major, minor), (gpu, least) = cubin.capability(data), self.capability
            if major != gpu or minor > least:
                return NO_BINARY_FOR_GPU
            for kernel in cubin.kernels(data):
                count = len(kernel.parameters)
                offsets, sizes = ((ctypes.c_int * count)(*column) for column in zip(*kernel.parameters, strict=True))
                handle = self.library.standin_kernel(
                    ctypes.c_void_p(library), kernel.name.encode(), kernel.registers, kernel.shared, kernel.local, 1024,
                    count, offsets, sizes)
                self._loaded[handle] = kernel, data
        except Exception:
            self.failures.append(traceback.format_exc())
            return INVALID_IMAGE
        return 0

    def _run(self, handle: int, grid: Any, block: Any, shared: int, parameters: int, gpu: int) -> int:
        gc.disable()  # a collected object would call the driver during this call
        try:
            program, types, reads_only = self._known.get(handle) or self._find(handle)
            loaded = self._loaded[handle][0]
            size = max((offset + size for offset, size in loaded.parameters), default=0)
            arguments = _arguments(types, ctypes.string_at(parameters, size), loaded.parameters)
            for array in (a for a in arguments if isinstance(a, np.ndarray)):
                self._reachable(array, gpu, loaded.name)
            for i in program.written_arguments(tuple(arguments)):
                assert not reads_only[i], f"{loaded.name} writes argument {i}, which it declares const"
            if not self.idle:
                run(program, tuple(grid[:3]), tuple(block[:3]), arguments, shared)
        except Exception as error:
            self.failures.append(f"{type(error).__name__}: {error}" if isinstance(error, PtxError)
                                 else traceback.format_exc())
            return ILLEGAL_ADDRESS if isinstance(error, PtxError | MemoryError) else LAUNCH_FAILED
        finally:
            gc.enable()
        return 0

    def _find(self, handle: int) -> tuple[Program, tuple, list[bool]]:
        """Returns the program of a loaded kernel: the kernel whose cubin in numba-cuda equals the loaded one."""
        from autoconv.kernels.cuda import assembly

        loaded, data = self._loaded[handle]
        for kernel in assembly.kernels().values():
            for types, made in kernel._dispatcher.overloads.items():
                if made.entry_name == loaded.name and bytes(made.library.get_cubin().code) == data:
                    program = compiled(kernel, types, CAPABILITY)
                    expected = [(program.offsets[name], size) for name, size in _sizes(program)]
                    assert expected == loaded.parameters, f"{loaded.name}: its PTX has other parameters"
                    self._known[handle] = program, types, kernel.reads_only
                    return self._known[handle]
        raise LookupError(f"No kernel of autoconv was compiled to {loaded.name}.")

    def _reachable(self, array: np.ndarray, gpu: int, name: str) -> None:
        address = ctypes.c_size_t(array.ctypes.data)
        if array.size and not self.library.standin_reaches(address, ctypes.c_size_t(array.nbytes), gpu):
            freed = self.library.standin_was_freed(address)
            raise MemoryError(f"{name} was given {array.nbytes} bytes at {address.value:#x}, which "
                              f"{'were freed' if freed else f'GPU {gpu} cannot access'}.")


@cache
def attach() -> Standin:
    """Returns the stand-in that this process loaded as its driver, and makes its kernels run from now on."""
    return Standin()


def _sizes(program: Program) -> Iterator[tuple[str, int]]:
    from ..parser import SIZES

    return ((name, SIZES[kind]) for kind, name in program.kernel.parameters)


def _arguments(types: tuple, blob: bytes, layout: list[tuple[int, int]]) -> list:
    """Converts a launch's parameters back to arguments. Arrays are views of the memory to which they point."""
    words = iter([blob[offset : offset + size] for offset, size in layout])
    found = [_argument(type_, words) for type_ in types]
    assert next(words, None) is None
    return found


def _argument(type_: Any, words: Iterator[bytes]) -> Any:
    """Reads one argument: an array, a tuple, or a number."""
    from numba.cuda import types

    if isinstance(type_, types.Array):
        _, _, size, itemsize, start = (struct.unpack("<q", next(words))[0] for _ in range(5))
        shape = [struct.unpack("<q", next(words))[0] for _ in range(type_.ndim)]
        strides = [struct.unpack("<q", next(words))[0] for _ in range(type_.ndim)]
        array = _memory(start, size * itemsize).view(np.dtype(str(type_.dtype))).reshape(shape)
        assert size == 0 or list(array.strides) == strides, (type_, shape, strides)
        return array
    if isinstance(type_, types.BaseTuple):
        return tuple(_argument(item, words) for item in type_)
    return np.frombuffer(next(words), np.dtype("bool" if type_ == types.boolean else str(type_)))[0]


def _memory(start: int, size: int) -> np.ndarray:
    if not size:
        return np.empty(0, np.uint8).view(Aligned)
    return np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(start)).view(Aligned)
