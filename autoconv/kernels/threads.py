"""How many threads kernels get. `Team`: how many replay a recording, fewer than all while other
programs need the processors.

Numba has a number of threads for each Python thread. `set_num_threads` speaks to all of them: each
takes the number over before it next starts kernels. OpenMP's threads do not live on in a forked
process, and it ends a process that asks for them, so kernels run in one thread there. A fork waits
for the kernels' lock: it sees no half of a kernel's work.

A parallel loop ends when its last thread does. Where another program runs on one thread's
processor, all wait for that thread, again and again, and a step is faster on fewer threads. What
tells so on every system is the clock. A look does some replays on fewer threads, or on more, and
the fastest number stays. Looks are rare where they found nothing, and come at once where replays
become slow. Results are the same bits for any number of threads.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from .locks import kernel_lock

PHASE, WINDOW = 0.02, 0.05  # seconds of replays by which a number is judged in a look, and the present one else
BRIEF, SURE = 1e-4, 16  # seconds: work that takes less on all threads, in so many replays, is left alone from then on
LESS, MORE = 0.9, 0.98  # a lower number stays if it takes less than this share of the time, and a higher one
SLOW, IDLE = 1.3, 0.75  # times the usual duration, and the usual share of the processors, that ask for a look
# Seconds up to the next look, for each second that the last one cost: where all is well with all threads, with fewer of
# them, and where replays are slow; after a change, in which the next look may go on.
ALL, FEWER, ASKED = 300.0, 60.0, 30.0
CHANGED, LEAST = 0.1, 0.5  # seconds up to the next look after a change, and at least after none
FORGOTTEN = 3.0  # seconds without a replay, after which a lower number is given up


class _Number:
    """A number of threads that was set, `forked` by a fork. Another one is another object, also of the same number."""

    def __init__(self, threads: int, forked: bool = False) -> None:
        self.threads = threads
        self.forked = forked


class _Taken(threading.local):
    number: _Number | None = None


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
    """What Numba's get_num_threads and set_num_threads end in, once its threads run. At each call
    these take a lock between processes, which an interrupt may leave held.
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
    kernel_lock.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=kernel_lock.acquire, after_in_parent=kernel_lock.release,
                        after_in_child=_in_forked_process)


class Pace:
    """How long the replays of some work take, which is always the same: `seconds`, since the last of `changes`."""

    __slots__ = ("brief", "changes", "replays", "seconds")

    def __init__(self) -> None:
        self.seconds = 0.0
        self.changes = -1
        self.replays = 0
        self.brief = False

    def add(self, taken: float, changes: int) -> None:
        if changes != self.changes:
            self.seconds = taken
            self.changes = changes
            self.replays = 0
        self.seconds += (taken - self.seconds) / 8
        self.replays += 1


class Phase(NamedTuple):
    """What a look found for a number of threads: the seconds of its replays, and times their usual duration."""

    threads: int
    seconds: float
    times: float


class Team:
    """The number of threads for replays: at most the user's own (NUMBA_NUM_THREADS, `set_num_threads`), which comes
    back after each of them. Whoever replays holds the `kernel_lock`.

    clock, spent: seconds that passed, and those of all threads of the process. get, put: the user's number.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter, spent: Callable[[], float] = time.process_time,
                 get: Callable[[], int] = get_num_threads, put: Callable[[int], None] = set_num_threads) -> None:
        self._clock = clock
        self._spent = spent
        self._get = get
        self._put = put
        self.changes = -1  # of the number of threads so far; a pace from before the last one no longer holds
        self._last = 0.0  # when the last replay ended
        self._settle(None)

    def _settle(self, fewer: int | None) -> None:
        """So many threads from now on, None for the user's own number, of which no duration is known yet."""
        self.fewer = self._chosen = fewer
        self.changes += 1
        self._share: float | None = 1.0  # of a processor that a thread gets; None for what the next window finds
        self._due = self._soonest = 0.0  # when the next look comes, and when it may where replays are slow
        self._ahead: list[int] = []  # the numbers of this look that are still to be tried
        self._found: list[Phase] = []
        self._restart()

    def _restart(self) -> None:
        self._seconds = self._usual = 0.0
        self._begun = self._clock(), self._spent()

    def begin(self) -> tuple[float, int | None]:
        """Called before a replay, but for brief work while `fewer` is None. `end` takes what it
        returns: the time, and the user's number where the replay has another one.
        """
        now = self._clock()
        own = None
        if now - self._last > FORGOTTEN and self.fewer is not None:
            self._settle(None)
        elif now - self._last > FORGOTTEN:
            self._restart()
        elif self.fewer is not None:
            own = self._get()
            self._put(min(self.fewer, own))
        return now, own

    def end(self, entered: tuple[float, int | None], pace: Pace) -> None:
        """Called after a replay of the work of that pace."""
        now, (begun, own) = self._clock(), entered
        if own is not None:
            self._put(own)
        if pace.changes != self.changes:
            pace.add(now - begun, self.changes)
        elif self.fewer is None and pace.seconds < BRIEF:
            pace.add(now - begun, self.changes)
            pace.brief = pace.replays > SURE
        else:
            self._count(now, now - begun, pace)
        self._last = now

    def _count(self, now: float, taken: float, pace: Pace) -> None:
        self._seconds += taken
        self._usual += pace.seconds
        if self._ahead:
            if self._seconds >= PHASE:
                self._end_phase(now)
            return
        pace.add(taken, self.changes)
        if self._seconds >= WINDOW:
            self._end_window(now, taken)

    def _end_window(self, now: float, taken: float) -> None:
        """Begins a look where one is due, or where replays are slow or get less of the processors than before."""
        wall = now - self._begun[0]
        spent = self._spent() - self._begun[1]
        own = self._get()
        count = min(self._chosen or own, own)
        share = spent / wall / count
        if not self._due:
            self._due = now + (CHANGED if self._chosen else ALL / 2 * max(PHASE, taken))
        if self._share is None:
            self._share = share
        asked = self._seconds > SLOW * self._usual or share < IDLE * self._share
        if now >= self._due or (asked and now >= self._soonest):
            self._look(now, count, own, round(share * count))
        self._restart()

    def _look(self, now: float, count: int, own: int, free: int) -> None:
        """Next come the present number, its neighbours, half and twice of it, as many threads as
        had a processor, all of them, and the present number again.
        """
        near = {count - 1, count - count // 4, count // 2, count + 1, 2 * count, free, own}
        others = sorted({min(n, own) for n in near if n > 0} - {count})
        if others:
            self._ahead, self._found = [count, *others, count], []
            self.fewer = count
        else:
            self._due = self._soonest = now + 1

    def _end_phase(self, now: float) -> None:
        self._found.append(Phase(self._ahead.pop(0), self._seconds, self._seconds / self._usual))
        if self._ahead:
            self.fewer = self._ahead[0]
        else:
            self._decide(now)
        self._restart()

    def _decide(self, now: float) -> None:
        """The best number of a look stays. The present one came first and last: one bad moment decides nothing."""
        first, *others, last = self._found
        present = min(first.times, last.times)
        gains = {phase.threads: phase.times / (LESS if phase.threads < first.threads else MORE) for phase in others}
        best = min(gains, key=gains.__getitem__)
        if gains[best] < present:
            self._settle(None if best >= self._get() else best)
            return
        cost = sum(max(0.0, phase.seconds * (1 - present / phase.times)) for phase in others)
        self.fewer = self._chosen
        self._share = None
        self._due = now + max(LEAST, cost * (FEWER if self._chosen else ALL))
        self._soonest = now + cost * ASKED


team = Team()
