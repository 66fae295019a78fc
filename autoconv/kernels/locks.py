"""`kernel_lock`, which must be held while the CPU's parallel kernels run, and locks that an
interrupt never leaves held.

Some of Numba's thread pools (workqueue) end the process if two Python threads enter them at once.
So `kernel_lock` is held while a parallel kernel runs or a trace is replayed: `CpuKernel` and
`Trace` acquire it themselves.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any


class Lock(type(threading.RLock())):  # type: ignore[misc]
    """A reentrant lock that an interrupt never leaves held.

    Python 3.14 may raise KeyboardInterrupt after the method that acquired a lock has returned, and
    before the `with` block that releases the lock has begun. So `__enter__` is written in Python:
    no interrupt is raised after it returns. `__exit__` is C code: no interrupt is raised before it
    runs.
    """

    def __enter__(self) -> bool:
        try:
            return self.acquire()
        except BaseException:
            with suppress(RuntimeError):  # the lock was not acquired yet
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
def release_on_exit(*locks: Any) -> Iterator[None]:
    """Releases these locks after the `with` block if this thread did not hold them before. For code
    of another package that takes reentrant locks: an interrupt there may leave the locks held.
    """
    free = [lock for lock in locks if not lock._is_owned()]
    try:
        yield
    finally:
        for lock in free:
            while lock._is_owned():
                lock.release()


kernel_lock = Lock()
