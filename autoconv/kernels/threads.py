"""Manages the number of threads that kernels use. `Team` replays recordings on fewer threads while
other programs need the processors.

Numba stores a separate number of threads for each Python thread. In autoconv, all Python threads
use the latest number that any of them set. Each adopts this number before it next starts kernels.
OpenMP's threads do not survive a fork, and OpenMP ends a forked process that uses them. So with
OpenMP, kernels run on one thread in a forked process. A fork waits for the kernel lock, so the
child process never sees a half-finished kernel.

A parallel loop ends when its slowest thread ends. If another program occupies one thread's
processor, all threads wait for that thread in every loop, and a step is faster on fewer threads.
The elapsed time is the only measure of this effect that works on every system. A search runs some
replays on fewer or more threads and keeps the fastest number of threads. After a search that finds
no better number, the next search starts much later, or earlier if replays become slow. Results have
the same bits for any number of threads.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from .locks import kernel_lock

# A search measures replays for PHASE seconds per number of threads. Between searches, the speed of
# replays is checked after every WINDOW seconds of replays.
PHASE, WINDOW = 0.02, 0.05
# A recording is no longer timed after more than SURE replays of less than BRIEF seconds each.
BRIEF, SURE = 1e-4, 16
# A search adopts a smaller number of threads if replays take less than LESS times the present time,
# and a larger number if they take less than MORE times the present time.
LESS, MORE = 0.9, 0.98
# Replays are slow if they take more than SLOW times the usual time, or if they receive less than
# IDLE times the usual processor time.
SLOW, IDLE = 1.3, 0.75
# The next regular search starts after ALL times the time that the last search lost, or FEWER times
# that time if some threads are unused. If replays are slow, it starts after ASKED times that time.
ALL, FEWER, ASKED = 300.0, 60.0, 30.0
# The next search starts CHANGED seconds after a change to fewer threads, and at least LEAST seconds
# after a search that kept the number of threads.
CHANGED, LEAST = 0.1, 0.5
FORGOTTEN = 3.0  # after this many seconds without a replay, the user's own number is restored


class _Number:
    """A setting of the number of threads. `is_forked` is True if a fork caused the setting. Each
    setting is a new object, even if the number stays the same.
    """

    def __init__(self, threads: int, is_forked: bool = False) -> None:
        self.threads = threads
        self.is_forked = is_forked


class _ThreadState(threading.local):
    number: _Number | None = None


_number: _Number | None = None  # the latest setting, which applies to all Python threads
_thread_state = _ThreadState()  # the setting that each Python thread has adopted


def share_number(threads: int) -> None:
    """Sets the number of kernel threads for all Python threads. The calling Python thread must have
    set this number for itself already.
    """
    global _number
    _number = _thread_state.number = _Number(threads)


def take_number() -> None:
    """Adopts the number of threads that another Python thread has set. Must be called before
    kernels start.
    """
    if _thread_state.number is not _number and _number is not None:
        set_num_threads(_number.threads)
        _thread_state.number = _number


def get_num_threads() -> int:
    """Returns the number of threads for the kernels that this Python thread starts."""
    return _numbers_of_numba()[0]()


def set_num_threads(count: int) -> None:
    """Sets the number of threads for the kernels that this Python thread starts. The number must
    not exceed the number of threads that Numba started.
    """
    _numbers_of_numba()[1](count)


@cache
def _numbers_of_numba() -> tuple[Callable[[], int], Callable[[int], None]]:
    """Starts Numba's threads and returns Numba's private functions that get and set the number of
    threads. Numba's public functions acquire an inter-process lock at each call, and an interrupt
    may leave that lock held.
    """
    import numba
    from numba.np.ufunc import parallel

    numba.get_num_threads()
    return (getattr(parallel, "_get_num_threads", numba.get_num_threads),
            getattr(parallel, "_set_num_threads", numba.set_num_threads))


def check_number(threads: int) -> None:
    """Raises ValueError if `threads` is above 1 in a forked process limited to one thread."""
    if threads > 1 and _number is not None and _number.is_forked:
        raise ValueError("This process was forked from a process in which kernels had run, so its kernels can use "
                         f"only 1 thread. Received: {threads} threads. To use more threads, start the process with "
                         "multiprocessing's method 'spawn' or 'forkserver'.")


def _limit_child() -> None:
    global _number
    try:
        if "numba" in sys.modules and sys.modules["numba"].threading_layer() == "omp":
            _number = _Number(1, is_forked=True)
    except (ValueError, AttributeError):
        # Numba has not started its threads yet, or is still being imported
        pass
    kernel_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=kernel_lock.acquire, after_in_parent=kernel_lock.release,
                        after_in_child=_limit_child)


class Pace:
    """The usual duration of a recording's replays, in seconds. The duration is valid as long as
    `changes` equals the team's count of changes.
    """

    __slots__ = ("brief", "changes", "replays", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.changes = -1
        self.replays = 0
        self.brief = False

    def add(self, seconds: float, changes: int) -> None:
        if changes != self.changes:
            self.seconds = seconds
            self.changes = changes
            self.replays = 0
        self.seconds += (seconds - self.seconds) / 8
        self.replays += 1


class Phase(NamedTuple):
    """A search's measurement of one number of threads. `seconds` is the total duration of the
    replays, and `times` is this total divided by the usual duration of the same replays.
    """

    threads: int
    seconds: float
    times: float


class Team:
    """Chooses the number of threads for replays. The choice never exceeds the user's own number
    (NUMBA_NUM_THREADS or `set_num_threads`), which is restored after each replay. The caller of
    `begin` and `end` must hold the `kernel_lock`.

    clock: returns the time in seconds. usage: returns the processor seconds of all threads of the
    process. get, put: read and set the number of threads of the calling Python thread.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter, usage: Callable[[], float] = time.process_time,
                 get: Callable[[], int] = get_num_threads, put: Callable[[int], None] = set_num_threads) -> None:
        self._clock = clock
        self._usage = usage
        self._get = get
        self._put = put
        # count of changes to the number of threads; a `Pace` from before the last change is invalid
        self.changes = -1
        self._last = 0.0  # time when the last replay ended
        self._settle(None)

    def _settle(self, fewer: int | None) -> None:
        """Adopts this number of threads, or the user's own number if `fewer` is None, and restarts
        the measurements.
        """
        self.fewer = self._choice = fewer
        self.changes += 1
        # usual processor seconds per thread and elapsed second; None until a window measures them
        self._share: float | None = 1.0
        # time of the next regular search, and the earliest time of a search due to slow replays
        self._due = self._soonest = 0.0
        self._ahead: list[int] = []  # the numbers of threads that this search still has to try
        self._phases: list[Phase] = []
        self._restart()

    def _restart(self) -> None:
        self._seconds = self._usual = 0.0
        self._window_start = self._clock(), self._usage()

    def begin(self) -> tuple[float, int | None]:
        """Sets the number of threads before a replay. Returns the start time, and the user's own
        number if the replay uses another number. `end` needs this pair as its argument `entry`.
        """
        now = self._clock()
        limit = None
        if now - self._last > FORGOTTEN and self.fewer is not None:
            self._settle(None)
        elif now - self._last > FORGOTTEN:
            self._restart()
        elif self.fewer is not None:
            limit = self._get()
            self._put(min(self.fewer, limit))
        return now, limit

    def end(self, entry: tuple[float, int | None], pace: Pace) -> None:
        """Restores the user's number after a replay and records the replay's duration in the
        recording's `pace`.
        """
        now, (start, limit) = self._clock(), entry
        if limit is not None:
            self._put(limit)
        if pace.changes != self.changes:
            pace.add(now - start, self.changes)
        elif self.fewer is None and pace.seconds < BRIEF:
            pace.add(now - start, self.changes)
            pace.brief = pace.replays > SURE
        else:
            self._count(now, now - start, pace)
        self._last = now

    def _count(self, now: float, seconds: float, pace: Pace) -> None:
        self._seconds += seconds
        self._usual += pace.seconds
        if self._ahead:
            if self._seconds >= PHASE:
                self._end_phase(now)
            return
        pace.add(seconds, self.changes)
        if self._seconds >= WINDOW:
            self._end_window(now, seconds)

    def _end_window(self, now: float, seconds: float) -> None:
        """Ends a window of replays. Starts a search if a search is due, or if replays are slow or
        receive less processor time than usual.
        """
        wall = now - self._window_start[0]
        spent = self._usage() - self._window_start[1]
        limit = self._get()
        count = min(self._choice or limit, limit)
        share = spent / wall / count
        if not self._due:
            self._due = now + (CHANGED if self._choice else ALL / 2 * max(PHASE, seconds))
        if self._share is None:
            self._share = share
        is_slow = self._seconds > SLOW * self._usual or share < IDLE * self._share
        if now >= self._due or (is_slow and now >= self._soonest):
            self._plan_search(now, count, limit, round(share * count))
        self._restart()

    def _plan_search(self, now: float, count: int, limit: int, free: int) -> None:
        """Plans a search over several numbers of threads: the current number, its two neighbours, a
        half, three quarters and twice the current number, the number of processors that were free,
        and the user's own number. The search measures the current number first and last.
        """
        near = {count - 1, count - count // 4, count // 2, count + 1, 2 * count, free, limit}
        candidates = sorted({min(n, limit) for n in near if n > 0} - {count})
        if candidates:
            self._ahead, self._phases = [count, *candidates, count], []
            self.fewer = count
        else:
            self._due = self._soonest = now + 1

    def _end_phase(self, now: float) -> None:
        self._phases.append(Phase(self._ahead.pop(0), self._seconds, self._seconds / self._usual))
        if self._ahead:
            self.fewer = self._ahead[0]
        else:
            self._decide(now)
        self._restart()

    def _decide(self, now: float) -> None:
        """Adopts the best number of threads that a search found. The search measured the current
        number twice, first and last. The shorter of these two times is used, so that a single slow
        moment does not decide the result.
        """
        first, *candidates, last = self._phases
        present = min(first.times, last.times)
        gains = {phase.threads: phase.times / (LESS if phase.threads < first.threads else MORE) for phase in candidates}
        best = min(gains, key=gains.__getitem__)
        if gains[best] < present:
            self._settle(None if best >= self._get() else best)
            return
        cost = sum(max(0.0, phase.seconds * (1 - present / phase.times)) for phase in candidates)
        self.fewer = self._choice
        self._share = None
        self._due = now + max(LEAST, cost * (FEWER if self._choice else ALL))
        self._soonest = now + cost * ASKED


team = Team()
