"""`Gate`: between two steps training stops here, while it is paused and while somebody else wants to compute."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE = 20.0  # seconds that somebody waits for training to reach the gate


class Gate:
    """One thread trains and calls `pass_through` after each step; others compute within `between_steps`.

    So nobody sees weights of which a step has changed only a part, and whoever asks need not win the kernels' lock
    (backend/turns.py) against a thread that takes it again as soon as it gives it back.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._guest = threading.RLock()  # one guest at a time
        self._waiting, self._open, self._stopping = 0, True, False
        self._paused, self._steps = False, 0

    @property
    def paused(self) -> bool:
        return self._paused

    @property
    def stopping(self) -> bool:
        """Whether the training thread was told to end."""
        return self._stopping

    def enter(self, paused: bool = False) -> None:
        """Called by the training thread when it begins."""
        with self._changed:
            self._open, self._stopping, self._paused, self._steps = False, False, paused, 0

    def leave(self) -> None:
        """Called by the training thread when it ends: nobody has to wait for it any more."""
        with self._changed:
            self._open, self._stopping = True, False
            self._changed.notify_all()

    def pass_through(self) -> None:
        """Called by the training thread after each step. Costs nothing where nobody wants anything."""
        if not self._waiting and not self._paused:
            return
        with self._changed:
            self._open = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._waiting and (not self._paused or self._steps or self._stopping))
            self._steps = max(self._steps - 1, 0)
            self._open = False

    @contextmanager
    def between_steps(self) -> Iterator[None]:
        """Within this block no step runs. Raises TimeoutError where training does not come to the end of a step."""
        with self._guest:
            with self._changed:
                self._waiting += 1
                opened = self._changed.wait_for(lambda: self._open, PATIENCE)
            try:
                if not opened:
                    raise TimeoutError("The net is busy: its training step takes too long.")
                yield
            finally:
                with self._changed:
                    self._waiting -= 1
                    self._changed.notify_all()

    def pause(self) -> None:
        with self._changed:
            self._paused = True

    def resume(self) -> None:
        with self._changed:
            self._paused, self._steps = False, 0
            self._changed.notify_all()

    def step(self) -> None:
        """One more step, then it waits again."""
        with self._changed:
            self._paused = True
            self._steps += 1
            self._changed.notify_all()

    def stop(self) -> None:
        """Tells the training thread to end at the next step; `stopping` is true until it has."""
        with self._changed:
            self._stopping, self._paused = True, False
            self._changed.notify_all()
