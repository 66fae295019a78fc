"""`Session`: the net that learns, in a thread of its own, and what one may do with it meanwhile."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from . import choices
from .curve import Curve
from .gate import Gate
from .reporter import TESTED, Reporter
from .views import Views

ENDING = 30.0  # seconds that a training thread may need for its last step


class Session:
    """One net. Every change raises `version` and wakes those who wait in `wait`.

    Its phases: "new", "starting", "learning", "paused", "finished", "failed". Commands may come from any thread; what
    reads the weights does so within `between_steps`.
    """

    chosen: choices.Settings
    phase: str
    message: str

    def __init__(self, device: str = "cpu") -> None:
        self._device = device
        self._commands = threading.RLock()  # one command at a time
        self._changed = threading.Condition()
        self._gate = Gate()
        self._thread: threading.Thread | None = None
        self.version, self.watchers, self.closed = 0, 0, False
        self.image = 0  # which test image is looked at
        self._make(choices.settings({}))

    # Commands.

    def anew(self, given: Mapping[str, Any]) -> None:
        """A new net of these settings, which has learned nothing. Raises ValueError for settings that cannot be."""
        chosen = choices.settings(given)
        with self._commands:
            self._stop()
            self._make(chosen)

    def start(self, given: Mapping[str, Any]) -> None:
        """A new net of these settings begins to learn. Raises ValueError for settings that cannot be."""
        with self._commands:
            self.anew(given)
            self._learn()

    def pause(self) -> None:
        """After the step that runs now."""
        with self._commands:
            if self._runs():
                self._gate.pause()
                self._set(phase="paused")

    def resume(self) -> None:
        """Goes on; a net that had finished learns for as many epochs again."""
        with self._commands:
            if self._runs():
                self._gate.resume()
                self._set(phase="learning")
            else:
                self._learn()

    def step(self) -> None:
        """A single step, then it waits."""
        with self._commands:
            if not self._runs():
                self._learn(paused=True)
            self._gate.step()
            self._set(phase="paused")

    def set_rate(self, value: Any) -> None:
        """Another learning rate from the next step on."""
        rate = choices.checked_rate(value)
        with self._commands, self._gate.between_steps():
            self.model.optimizer.learning_rate = rate  # type: ignore[union-attr]
            self.chosen = replace(self.chosen, learning_rate=rate)
            self._set()

    def set_optimizer(self, name: Any, rate: Any) -> None:
        """Another optimizer, which starts anew; the weights stay."""
        chosen = replace(self.chosen, optimizer=name, learning_rate=choices.checked_rate(rate))
        with self._commands:
            ran, paused = self._runs(), self._gate.paused
            self._stop()
            self.chosen = chosen
            choices.compile_net(self.model, chosen.optimizer, chosen.learning_rate)
            self._set()
            if ran:
                self._learn(paused)

    def look_at(self, number: Any) -> None:
        """Another of the test images."""
        if type(number) is not int or not 0 <= number < len(self.data.x_test):
            raise ValueError(f"There are {len(self.data.x_test):,} test images. Received the number {number!r}.")
        with self._commands, self._gate.between_steps():
            self.image = number
            self.take_view()
            self._set()

    def close(self) -> None:
        """Ends the training thread and lets go of those who wait."""
        with self._commands:
            self.closed = True
            self._stop()
            self._set()

    # What can be seen.

    @contextmanager
    def between_steps(self) -> Iterator[Any]:
        """Within this block no step runs; gives the `Views` of the net."""
        with self._gate.between_steps():
            yield self.views

    def state(self) -> dict[str, Any]:
        """Where it stands, as the page shows it."""
        chosen = self.chosen
        return {
            "phase": self.phase, "message": self.message, "net": chosen.net, "data": chosen.data,
            "optimizer": chosen.optimizer, "learning_rate": chosen.learning_rate, "batch_size": chosen.batch_size,
            "epochs": chosen.epochs, "step": self.steps, "steps": self.goal, "steps_per_epoch": self._steps_per_epoch(),
            "parameters": self.model.count_params(), "images_per_s": self.speed, "image": self.image,
            "label": int(self.data.y_test[self.image]), "classes": self.data.classes, "made": self.made,
            "tested": TESTED, "test_accuracy": self.test_accuracy,
        }

    def wait(self, version: int, seconds: float) -> int:
        """Waits until there is a newer version than this one, or so long. Returns the present one."""
        with self._changed:
            self._changed.wait_for(lambda: self.version != version, seconds)
            return self.version

    def watch(self, more: int) -> None:
        """So many more, or fewer, want to see what the net does."""
        with self._changed:
            self.watchers += more

    # The thread that trains.

    def _make(self, chosen: choices.Settings) -> None:
        """A net that has learned nothing."""
        self.data = choices.load(chosen.data)
        self.model = choices.build(chosen).to(self._device)
        self.views, self.chosen = Views(self.model), chosen
        self.image %= len(self.data.x_test)
        self.learned, self.tests = Curve(), Curve()  # loss and accuracy in training; accuracy on test images
        self.steps, self.goal, self.speed = 0, 0, 0.0
        self.test_accuracy: float | None = None
        self.made = getattr(self, "made", 0) + 1  # how many nets there were
        self.take_view()
        self._set("new")

    def _learn(self, paused: bool = False) -> None:
        if self.steps >= self.goal:
            self.goal = self.steps + self.chosen.epochs * self._steps_per_epoch()
        self._gate.enter(paused)
        self._set("paused" if paused else "starting")
        self._thread = threading.Thread(target=self._train, name="autoconv demo: training", daemon=True)
        self._thread.start()

    def _train(self) -> None:
        data, reporter = self.data, Reporter(self, self._gate)
        epochs = -(-(self.goal - self.steps) // self._steps_per_epoch())
        try:
            self._gate.pass_through()  # it may begin paused
            if self._gate.stopping:
                return
            self.model.fit(data.x_train, data.y_train, self.chosen.batch_size, epochs, verbose=0, callbacks=reporter)
            reporter.check_loss()
            if not self._gate.stopping:
                self.test(len(data.x_test))
                self._set("finished")
        except Exception as error:  # whatever it is, the page must say it: nobody waits for this thread
            self._set("failed", str(error) or type(error).__name__)
        finally:
            self._gate.leave()

    def _stop(self) -> None:
        """Ends the training thread after its step."""
        thread, self._thread = self._thread, None
        if thread is not None and thread.is_alive():
            self._gate.stop()
            thread.join(ENDING)
            if thread.is_alive():
                raise TimeoutError("The training step that runs now does not end.")

    def _runs(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _steps_per_epoch(self) -> int:
        return -(-len(self.data.x_train) // self.chosen.batch_size)

    def take_view(self) -> None:
        """What the net makes of the image now; the training thread calls it, or somebody between two steps."""
        self.view = {"step": self.steps, **self.views.described(self.data.x_test[self.image])}

    def test(self, count: int) -> None:
        """The accuracy on the first test images, in pieces so that others may compute in between."""
        right = 0
        for i in range(0, count, TESTED):
            answers = self.model.predict_on_batch(self.data.x_test[i : min(i + TESTED, count)])
            right += int((answers.argmax(1) == self.data.y_test[i : i + len(answers)]).sum())
            if count > TESTED:
                self._gate.pass_through()
        self.test_accuracy = right / count
        self.tests.add(self.steps, 1.0, self.test_accuracy)

    def reached(self) -> None:
        """Called by the training thread when there is something new to see."""
        with self._changed:
            self._set("learning" if self.phase == "starting" else None)

    def _set(self, phase: str | None = None, message: str = "") -> None:
        """Says that something has changed."""
        with self._changed:
            if phase is not None:
                self.phase, self.message = phase, message
            self.version += 1
            self._changed.notify_all()
