"""The lock under which the CPU's parallel kernels run, and how many threads they get.

Some of Numba's thread pools (workqueue) end the process when two Python threads enter them at once. So whoever starts
a parallel kernel, or replays some, holds this lock: `jit.Kernel` and `Trace` take it by themselves.

Numba has a number of threads for each Python thread. `set_num_threads` speaks to all of them: each takes the number
over before it next starts kernels. OpenMP's threads do not live on in a forked process, and it ends a process that asks
for them, so kernels run in one thread there. A fork waits for the lock: it sees no half of a kernel's work.
"""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from typing import Any


class _Number:
    """A number of threads that was set, `forked` by a fork. Another one is another object, also of the same number."""

    def __init__(self, threads: int, forked: bool = False) -> None:
        self.threads, self.forked = threads, forked


class _Taken(threading.local):
    number: _Number | None = None


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
        __enter__, __exit__ = lock.__enter__, lock.__exit__

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


turn = Lock()
_number: _Number | None = None  # for all threads
_taken = _Taken()  # the one that this thread took over


def share_number(threads: int) -> None:
    """Gives all Python threads so many threads for kernels from now on, this one, which has them, among them."""
    global _number
    _number = _taken.number = _Number(threads)


def take_number() -> None:
    """Called by whoever starts kernels: takes over the number of threads that another Python thread set."""
    if _taken.number is not _number and _number is not None:
        set_num_threads(_number.threads)
        _taken.number = _number


def get_num_threads() -> int:
    """How many threads the kernels have that this Python thread starts."""
    return _numbers_of_numba()[0]()


def set_num_threads(count: int) -> None:
    """Gives them so many, at most as many as Numba started."""
    _numbers_of_numba()[1](count)


@cache
def _numbers_of_numba() -> tuple[Callable[[], int], Callable[[int], None]]:
    """What Numba's get_num_threads and set_num_threads end in, once its threads run. At each call these take a lock
    between processes, which an interrupt may leave held.
    """
    import numba
    from numba.np.ufunc import parallel

    numba.get_num_threads()
    return (getattr(parallel, "_get_num_threads", numba.get_num_threads),
            getattr(parallel, "_set_num_threads", numba.set_num_threads))


def check_number(threads: int) -> None:
    """Raises ValueError for several threads in a forked process that cannot have them."""
    if threads > 1 and _number is not None and _number.forked:
        raise ValueError(f"This process was forked from one in which kernels had run, so it has one thread for them. "
                         f"Received: {threads}. Processes of multiprocessing's 'spawn' or 'forkserver' have all.")


def _in_forked_process() -> None:
    global _number
    try:
        if "numba" in sys.modules and sys.modules["numba"].threading_layer() == "omp":
            _number = _Number(1, forked=True)
    except (ValueError, AttributeError):  # no thread was started yet, or Numba is being imported
        pass
    turn.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=turn.acquire, after_in_parent=turn.release, after_in_child=_in_forked_process)
