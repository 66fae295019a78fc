"""`Pool`: memory for the arrays of a step, reused once no array refers to it any more.

Fresh memory pages cost more than many kernels do, and each step needs the same arrays as the
previous one. So each block of memory is owned by a `Buffer`, which every array and every view of
the block keeps alive as its base. When the last array is freed, the buffer is freed too, and its
memory returns to the pool. This holds whatever refers to the array: the user's code, a view of a
view, a memoryview, another package or another thread. The pool counts no references itself.
"""

import ctypes
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any

import numpy as np

ALIGNMENT = 64  # bytes: a cache line, and the width of the widest vector registers
# steps: when new memory is needed, sizes that none of the last `KEPT` steps used are freed
KEPT = 16


class Idle(list):
    """The free memory blocks of one size, and `kind`, the class of the buffers of this size."""

    __slots__ = ("__weakref__", "itself", "kind", "step")

    def __init__(self, size: int) -> None:
        super().__init__()
        attributes = {"_type_": ctypes.c_uint8, "_length_": size, "__slots__": ("__weakref__", "loan")}
        self.kind: Any = type("Buffer", (ctypes.Array,), attributes)
        self.itself = weakref.ref(self)
        self.step = 0


class Memory:
    """`size` bytes at `address`, aligned to a cache line, and the `idle` list that they return to
    when free.
    """

    __slots__ = ("_bytes", "address", "idle")

    def __init__(self, size: int, idle: "weakref.ref[Idle]") -> None:
        self._bytes = np.empty(size + ALIGNMENT, np.uint8)
        first = self._bytes.__array_interface__["data"][0]
        self.address = first + -first % ALIGNMENT
        self.idle = idle


class Loan(weakref.ref):
    """A buffer's weak reference to itself, which holds the buffer's memory. Its callback returns
    the memory to the pool when the buffer is freed.

    Only the buffer holds its loan, so the callback runs when the last reference to the buffer goes,
    and never twice. For a buffer in a reference cycle, Python's collector does not run the
    callback, because a `__del__` method in that cycle may revive the buffer: such memory is
    returned to the system instead, once that is safe.
    """

    __slots__ = ("memory",)

    memory: Memory


def _give_back(loan: Loan) -> None:
    """Returns a loan's memory to its pool. Python may call this in any thread and at any point, so
    it takes no lock; `append` is atomic.
    """
    idle = loan.memory.idle()
    if idle is not None:  # the pool still keeps memory of this size
        idle.append(loan.memory)


class Pool:
    """Memory that steps reuse, keyed by size in bytes, whatever the shapes and dtypes of the
    arrays.

    A pool keeps the memory that its steps requested. When a step needs new memory, sizes that none
    of the last `KEPT` steps requested are freed first, so steps with ever-changing shapes do not
    fill the pool. When the pool is freed, all its unused memory is freed too. A copy of a pool
    starts empty.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, Idle] = {}
        self._step = 0

    def __reduce__(self) -> tuple:
        return Pool, ()

    def empty(self, device: Any, shape: tuple[int, ...], dtype: Any) -> Any:
        """Returns an uninitialised C-contiguous array. A device that reuses memory itself (a GPU)
        allocates it instead of the pool.
        """
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
            for old_size, blocks in list(self._sizes.items()):
                if blocks.step < self._step - KEPT:
                    self._sizes.pop(old_size, None)
            memory = Memory(size, idle.itself)
        buffer = idle.kind.from_address(memory.address)
        buffer.loan = loan = Loan(buffer, _give_back)
        loan.memory = memory
        return np.ndarray(shape, dtype, buffer)

    def begin_step(self) -> None:
        """Notifies the pool that the next step begins."""
        self._step += 1


_pool: ContextVar[Pool | None] = ContextVar("pool", default=None)


@contextmanager
def reusing(pool: Pool) -> Iterator[None]:
    """Allocates new arrays from `pool` inside the `with` block, which is one step."""
    pool.begin_step()
    token = _pool.set(pool)
    try:
        yield
    finally:
        _pool.reset(token)


def current_pool() -> Pool | None:
    """Returns the pool of the running step, or None outside a step."""
    return _pool.get()


def aligned_empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """Returns an uninitialised C-contiguous array, aligned to a cache line, in memory that no other
    array uses.
    """
    dtype = np.dtype(dtype)
    if dtype.hasobject:
        return np.empty(shape, dtype)
    size = prod(shape) * dtype.itemsize
    raw = np.empty(size + ALIGNMENT, np.uint8)
    start = -raw.__array_interface__["data"][0] % ALIGNMENT
    return raw[start : start + size].view(dtype).reshape(shape)
