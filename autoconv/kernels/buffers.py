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
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .arena import Arena

ALIGNMENT = 64  # number of bytes in a cache line, and in the widest vector registers
# before a pool allocates memory, it frees the block sizes that were unused for this many steps
KEPT = 16
SEGMENT = 1 << 22  # minimum number of bytes that a pool for recorded work allocates at a time


@lru_cache(maxsize=4096)
def buffer_class(size: int) -> Any:
    """Returns the ctypes class of buffers of `size` bytes."""
    attributes = {"_type_": ctypes.c_uint8, "_length_": size, "__slots__": ("__weakref__", "loan")}
    return type("Buffer", (ctypes.Array,), attributes)


class Idle(list):
    """A list of the free memory blocks of one size."""

    __slots__ = ("__weakref__", "itself", "step")

    def __init__(self) -> None:
        super().__init__()
        self.itself = weakref.ref(self)
        self.step = 0


class Memory:
    """A memory block of `size` bytes, aligned to a cache line. `idle` is a weak reference to the list
    that the block returns to when it is free.
    """

    __slots__ = ("block", "idle")

    def __init__(self, size: int, idle: "weakref.ref[Idle]") -> None:
        self.block = aligned_empty((size,), np.uint8)
        self.idle = idle

    def give_back(self) -> None:
        idle = self.idle()
        if idle is not None:  # None if the pool no longer keeps blocks of this size
            idle.append(self)


class ArenaBlock:
    """A memory block that is a piece of an arena's segment."""

    __slots__ = ("_arena", "_piece", "block")

    def __init__(self, size: int, arena: Arena) -> None:
        self._arena = arena
        self._piece = arena.take(size)
        self.block = self._piece.view(size, np.dtype(np.uint8))

    def give_back(self) -> None:
        self._arena.give_back(self._piece)


class Loan(weakref.ref):
    """A weak reference from a buffer to itself. It stores the buffer's `memory`, which its callback
    returns to the pool when the buffer is freed.

    Only the buffer refers to its loan, so the callback runs exactly once, when the last reference
    to the buffer is deleted. If the buffer is in a reference cycle, Python's garbage collector does
    not run the callback, because a `__del__` method in the cycle may revive the buffer. The memory
    of such a buffer is returned to the system instead, once that is safe; an arena's, with its pool.
    """

    __slots__ = ("memory",)

    memory: Memory | ArenaBlock

    def give_back(self) -> None:
        """Returns the memory to its pool. Python may call this method in any thread and at any point, so it
        acquires no lock. It needs none, because `list.append` is atomic.
        """
        self.memory.give_back()


def _lend(memory: Memory | ArenaBlock, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Returns an array in this memory."""
    buffer = buffer_class(memory.block.size).from_address(memory.block.__array_interface__["data"][0])
    buffer.loan = loan = Loan(buffer, Loan.give_back)
    loan.memory = memory
    return np.ndarray(shape, dtype, buffer)


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
        return type(self), ()

    def empty(self, device: Any, shape: tuple[int, ...], dtype: DTypeLike) -> Any:
        """Returns an uninitialised C-contiguous array on `device`. If the device reuses memory
        itself, as a GPU does, the device allocates the array and the pool is not used.
        """
        return device.fresh(shape, dtype) if device.reuses_memory else self.array(shape, dtype)

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        """Returns an uninitialised C-contiguous array in the host's memory."""
        size = int(max(1, prod(shape) * np.dtype(dtype).itemsize) + ALIGNMENT - 1 & -ALIGNMENT)
        idle = self._sizes.get(size)
        if idle is None:
            idle = self._sizes.setdefault(size, Idle())
        idle.step = self._step
        try:
            memory = idle.pop()
        except IndexError:
            for old_size, blocks in list(self._sizes.items()):
                if blocks.step < self._step - KEPT:
                    self._sizes.pop(old_size, None)
            memory = Memory(size, idle.itself)
        return _lend(memory, shape, dtype)

    def outside_recordings(self) -> "Pool | None":
        """Returns the pool for arrays that are not part of a recording."""
        return self

    def begin_step(self) -> None:
        """Notifies the pool that a new step begins."""
        self._step += 1


class RecordingPool(Pool):
    """A pool for recorded work. Its arrays have many different sizes and are requested only once, so they
    are pieces of a few large segments. To find a piece takes longer than in another pool.

    Several recordings may use the same pool, if no replay starts while another one is running: each
    replay then overwrites the arrays of the others. `is_busy` is set during a run of such work.
    """

    def __init__(self) -> None:
        super().__init__()
        self.is_busy = False
        self._arena = Arena(lambda size: aligned_empty((size,), np.uint8), SEGMENT, doubling=True)

    def array(self, shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
        size = max(1, prod(shape) * np.dtype(dtype).itemsize)
        return _lend(ArenaBlock(int(size), self._arena), shape, dtype)

    def outside_recordings(self) -> None:
        return None


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
    block = loan.memory.block
    offset = array.__array_interface__["data"][0] - block.__array_interface__["data"][0]
    return np.ndarray(array.shape, array.dtype, block, offset, array.strides)


def aligned_empty(shape: tuple[int, ...], dtype: DTypeLike) -> np.ndarray:
    """Returns an uninitialised C-contiguous array, aligned to a cache line, in memory that no other
    array uses.
    """
    dtype = np.dtype(dtype)
    if dtype.hasobject:
        return np.empty(shape, dtype)
    memory = np.empty(prod(shape) * dtype.itemsize + ALIGNMENT, np.uint8)
    return np.ndarray(shape, dtype, memory, -ctypes.addressof(ctypes.c_char.from_buffer(memory.data)) % ALIGNMENT)
