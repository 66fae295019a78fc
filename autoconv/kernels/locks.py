"""Defines `kernel_lock`, which must be held while the CPU's parallel kernels run, and locks that a
KeyboardInterrupt never leaves held.

Numba's thread pool `workqueue` ends the process if two Python threads enter it at once. So
`CpuKernel` holds `kernel_lock` while a parallel kernel runs, and `Trace` holds the lock while it
replays sections.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Lock(type(threading.RLock())):  # type: ignore[misc]
    """A reentrant lock that a KeyboardInterrupt never leaves held.

    With `threading.RLock`, Python 3.14 may raise KeyboardInterrupt after `__enter__` has acquired
    the lock and before the `with` block begins, so the lock is never released. In this class,
    `__enter__` is a Python function, and no interrupt is raised between its return and the block.
    The inherited `__exit__` is a C function, and no interrupt is raised before it runs.
    """

    def __enter__(self) -> bool:
        try:
            return self.acquire()
        except BaseException:
            with suppress(RuntimeError):  # raised if the lock was not acquired yet
                self.release()
            raise


def interruptible_condition() -> threading.Condition:
    """Returns a condition variable whose lock a KeyboardInterrupt never leaves held."""
    lock = Lock()

    class Condition(threading.Condition):
        __enter__ = lock.__enter__
        __exit__ = lock.__exit__

    return Condition(lock)


@contextmanager
def release_on_exit(*locks: Any) -> Iterator[None]:
    """Releases these reentrant locks after the `with` block, except locks that this thread held
    before the block. The block calls another package's code that acquires the locks. An interrupt
    in that code may leave the locks held.
    """
    free = [lock for lock in locks if not lock._is_owned()]
    try:
        yield
    finally:
        for lock in free:
            while lock._is_owned():
                lock.release()


kernel_lock = Lock()
