"""`Pool`: memory for the arrays of a step, used again when nobody holds it any more.

Fresh pages of memory cost more than many kernels do, and a step asks for the same arrays as the one
before it. So memory has an owner, a `Buffer`, which every array and every view of it holds as its
base. When the last one goes, the buffer goes, and its memory is back in the pool. It does not
matter who holds an array: the user, a view of a view, a memoryview, another package, another
thread. No references are counted.
"""

import ctypes
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any

import numpy as np

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
KEPT = 16  # steps: a size that none of so many asked for is let go of when new memory is needed


class Idle(list):
    """The memory of one size that nobody holds, with `kind`, the class of its buffers."""

    __slots__ = ("__weakref__", "itself", "kind", "step")

    def __init__(self, size: int) -> None:
        super().__init__()
        attributes = {"_type_": ctypes.c_uint8, "_length_": size, "__slots__": ("__weakref__", "loan")}
        self.kind: Any = type("Buffer", (ctypes.Array,), attributes)
        self.itself = weakref.ref(self)
        self.step = 0


class Memory:
    """`size` bytes at `address`, on a cache line, and where they lie when nobody holds them."""

    __slots__ = ("_bytes", "address", "idle")

    def __init__(self, size: int, idle: "weakref.ref[Idle]") -> None:
        self._bytes = np.empty(size + ALIGNMENT, np.uint8)
        first = self._bytes.__array_interface__["data"][0]
        self.address = first + -first % ALIGNMENT
        self.idle = idle


class Loan(weakref.ref):
    """What a buffer holds its memory by. Its callback gives the memory back when the buffer goes.

    The buffer alone holds its loan. So the callback runs when the buffer's last reference goes, and never twice. For a
    buffer in a cycle Python's collector does not run it, because an object of that cycle may come back to life in its
    `__del__`, and the buffer with it: such memory goes back to the system, once it is safe.
    """

    __slots__ = ("memory",)

    memory: Memory


def _give_back(loan: Loan) -> None:
    """Python calls this in any thread and in the middle of anything: it takes no lock, and `append` is atomic."""
    idle = loan.memory.idle()
    if idle is not None:  # the pool still keeps memory of this size
        idle.append(loan.memory)


class Pool:
    """Memory that steps use again, by its size in bytes, whatever the shapes and dtypes of the arrays in it.

    A pool keeps what its steps asked for. When a step needs memory that is not there, sizes that none of the last
    `KEPT` steps asked for are let go of first, so steps whose shapes change all the time do not fill it. When the pool
    goes, so does all memory that nobody holds. A copy of a pool starts empty.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, Idle] = {}
        self._step = 0

    def __reduce__(self) -> tuple:
        return Pool, ()

    def empty(self, device: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """An uninitialised C-contiguous array. A device that reuses memory by itself (a GPU) is asked for its own."""
        if device.reuses_memory:
            return device.fresh(shape, dtype)
        size = prod(shape) * np.dtype(dtype).itemsize + ALIGNMENT - 1 & -ALIGNMENT
        idle = self._sizes.get(size)
        if idle is None:
            idle = self._sizes.setdefault(size, Idle(int(size)))
        idle.step = self._step
        try:
            memory = idle.pop()
        except IndexError:
            self._let_go()
            memory = Memory(size, idle.itself)
        buffer = idle.kind.from_address(memory.address)
        buffer.loan = loan = Loan(buffer, _give_back)
        loan.memory = memory
        return np.ndarray(shape, dtype, buffer)

    def begin_step(self) -> None:
        """Tells the pool that another step begins."""
        self._step += 1

    def _let_go(self) -> None:
        for size, idle in list(self._sizes.items()):
            if idle.step < self._step - KEPT:
                self._sizes.pop(size, None)


_pool: ContextVar[Pool | None] = ContextVar("pool", default=None)


@contextmanager
def reusing(pool: Pool) -> Iterator[None]:
    """Within this block, a step, new arrays come from `pool`."""
    pool.begin_step()
    token = _pool.set(pool)
    try:
        yield
    finally:
        _pool.reset(token)


def current_pool() -> Pool | None:
    """The pool of the step that runs, if one does."""
    return _pool.get()


def aligned_empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An uninitialised C-contiguous array on a cache line, in memory that no other array has."""
    dtype = np.dtype(dtype)
    if dtype.hasobject:
        return np.empty(shape, dtype)
    size = prod(shape) * dtype.itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.__array_interface__["data"][0] % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)
