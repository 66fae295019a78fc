"""`kernel_lock`, under which the CPU's parallel kernels run, and locks that an interrupt never leaves held.

Some of Numba's thread pools (workqueue) end the process when two Python threads enter them at once. So whoever starts
a parallel kernel, or replays some, holds `kernel_lock`: `CpuKernel` and `Trace` take it by themselves.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Lock(type(threading.RLock())):  # type: ignore[misc]
    """A reentrant lock that an interrupt never leaves held.

    Python 3.14 may raise KeyboardInterrupt after the method that acquired a lock has returned, and before the `with`
    block that releases it has begun. So `__enter__` is written in Python: no interrupt is raised after it returns.
    `__exit__` is C code: no interrupt is raised before it runs.
    """

    def __enter__(self) -> bool:
        try:
            return self.acquire()
        except BaseException:
            with suppress(RuntimeError):  # not acquired yet
                self.release()
            raise


def interruptible_condition() -> threading.Condition:
    """Returns a condition whose lock an interrupt never leaves held."""
    lock = Lock()

    class Condition(threading.Condition):
        __enter__ = lock.__enter__
        __exit__ = lock.__exit__

    return Condition(lock)


@contextmanager
def given_back(*locks: Any) -> Iterator[None]:
    """For a block in which another package takes reentrant locks of its own: an interrupt there may leave them held."""
    free = [lock for lock in locks if not lock._is_owned()]
    try:
        yield
    finally:
        for lock in free:
            while lock._is_owned():
                lock.release()


kernel_lock = Lock()
