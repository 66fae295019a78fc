"""Defines `Pool`, which reuses the memory of a step's arrays once no array refers to it any more.

Allocating fresh memory pages takes longer than many kernels, and each step needs arrays of the same
sizes as the previous step. So each block of memory is owned by a `Buffer`, and every array or view
of the block keeps that buffer alive as its base. When the last array is freed, the buffer is freed
too, and its memory returns to the pool. Any reference keeps the buffer alive, also one from a view
of a view, a memoryview, the user's code, another package or another thread. The pool itself counts
no references.
"""

import ctypes
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

ALIGNMENT = 64  # number of bytes in a cache line, and in the widest vector registers
# before a pool allocates memory, it frees the block sizes that were unused for this many steps
KEPT = 16
WASTE = 2  # an array may occupy a free block of less than this many times its size


class Idle(list):
    """A list of the free memory blocks of one size. `kind` is the buffers' ctypes class."""

    __slots__ = ("__weakref__", "itself", "kind", "step")

    def __init__(self, size: int) -> None:
        super().__init__()
        attributes = {"_type_": ctypes.c_uint8, "_length_": size, "__slots__": ("__weakref__", "loan")}
        self.kind: Any = type("Buffer", (ctypes.Array,), attributes)
        self.itself = weakref.ref(self)
        self.step = 0


class Memory:
    """A memory block of `size` bytes at `address`, aligned to a cache line. `idle` is a weak
    reference to the list that the block returns to when it is free.
    """

    __slots__ = ("_bytes", "address", "idle")

    def __init__(self, size: int, idle: "weakref.ref[Idle]") -> None:
        self._bytes = np.empty(size + ALIGNMENT, np.uint8)
        first = self._bytes.__array_interface__["data"][0]
        self.address = first + -first % ALIGNMENT
        self.idle = idle


class Loan(weakref.ref):
    """A weak reference from a buffer to itself. It stores the buffer's `memory`, which its callback
    returns to the pool when the buffer is freed.

    Only the buffer refers to its loan, so the callback runs exactly once, when the last reference
    to the buffer is deleted. If the buffer is in a reference cycle, Python's garbage collector does
    not run the callback, because a `__del__` method in the cycle may revive the buffer. The memory
    of such a buffer is returned to the system instead, once that is safe.
    """

    __slots__ = ("memory",)

    memory: Memory


def _give_back(loan: Loan) -> None:
    """Returns a loan's memory to its pool. Python may call this function in any thread and at any
    point, so the function acquires no lock. It needs none, because `list.append` is atomic.
    """
    idle = loan.memory.idle()
    if idle is not None:  # None if the pool no longer keeps blocks of this size
        idle.append(loan.memory)


class Pool:
    """A pool of memory blocks that steps reuse. Blocks are keyed by size in bytes, whatever the
    shapes and dtypes of the arrays.

    A pool keeps the memory that its steps requested. Before it allocates a new block, it frees the
    blocks of all sizes that none of the last `KEPT` steps requested. So the pool does not keep
    growing if shapes differ from step to step. When the pool is freed, all its unused blocks are
    freed too. A copy of a pool starts empty.
    """

    def __init__(self) -> None:
        self._sizes: dict[int, Idle] = {}
        self._step = 0

    def __reduce__(self) -> tuple:
        return Pool, ()

    def empty(self, device: Any, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """Returns an uninitialised C-contiguous array on `device`. If the device reuses memory
        itself, as a GPU does, the device allocates the array and the pool is not used.
        """
        return device.fresh(shape, dtype) if device.reuses_memory else self.array(shape, dtype)

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """Returns an uninitialised C-contiguous array in the host's memory."""
        size = prod(shape) * np.dtype(dtype).itemsize + ALIGNMENT - 1 & -ALIGNMENT
        idle = self._sizes.get(size)
        if idle is None:
            idle = self._sizes.setdefault(size, Idle(int(size)))
        idle.step = self._step
        try:
            memory = (idle or self._larger(size)).pop()
        except IndexError:
            for old_size, blocks in list(self._sizes.items()):
                if blocks.step < self._step - KEPT:
                    self._sizes.pop(old_size, None)
            memory = Memory(size, idle.itself)
        buffer = idle.kind.from_address(memory.address)
        buffer.loan = loan = Loan(buffer, _give_back)
        loan.memory = memory
        return np.ndarray(shape, dtype, buffer)

    def _larger(self, size: int) -> list[Memory]:
        """Returns the free blocks of the smallest size that is larger than `size`, but not too large. May be empty."""
        fitting = [n for n, blocks in list(self._sizes.items()) if blocks and size < n < WASTE * size]
        if not fitting:
            return []
        blocks = self._sizes[min(fitting)]
        blocks.step = self._step
        return blocks

    def begin_step(self) -> None:
        """Notifies the pool that a new step begins."""
        self._step += 1


_pool: ContextVar[Pool | None] = ContextVar("pool", default=None)


@contextmanager
def reusing(pool: Pool | None) -> Iterator[None]:
    """Allocates new arrays from `pool` inside the `with` block, which counts as one step; from no pool for None."""
    if pool is not None:
        pool.begin_step()
    token = _pool.set(pool)
    try:
        yield
    finally:
        _pool.reset(token)


def current_pool() -> Pool | None:
    """Returns the pool of the running step, or None outside a step."""
    return _pool.get()


def scratch(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Returns an uninitialised array for intermediate results. In a step, its memory comes from the step's pool."""
    pool = current_pool()
    return aligned_empty(shape, dtype) if pool is None else pool.array(shape, dtype)


def without_loan(array: np.ndarray) -> np.ndarray:
    """Returns an array in the same memory. If this is a pool's memory, the pool lends it again as soon as `array` is
    freed, even if the returned array still exists.
    """
    base: Any = array
    while isinstance(base, np.ndarray):
        base = base.base
    loan = getattr(base, "loan", None)
    if loan is None:
        return array
    block = loan.memory._bytes
    offset = array.__array_interface__["data"][0] - block.__array_interface__["data"][0]
    return np.ndarray(array.shape, array.dtype, block, offset, array.strides)


def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
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
