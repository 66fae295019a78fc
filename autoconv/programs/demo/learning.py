"""`Session`: trains a net in the worker's thread, and accepts commands meanwhile."""

import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from ...files.json_text import JsonObject
from ...kernels import device as devices
from . import choices
from .curve import Curve
from .reporter import TEST_IMAGES, Reporter
from .views import Views
from .worker import Worker

T = TypeVar("T")
STUCK = 10  # number of the latest points of the curve by which the page decides whether the net learns


def is_stuck(losses: Sequence[float], classes: int) -> bool:
    """Whether a net's crossentropy has not fallen over the last points, and is not below that of guessing."""
    half = STUCK // 2
    return (len(losses) >= STUCK and min(losses) > 0.97 * math.log(classes)
            and sum(losses[-half:]) > 0.98 * sum(losses[-STUCK:-half]))


class Session:
    """Trains one net. Every change increments `version` and wakes the threads in `wait`.

    `phase` is "new", "starting", "learning", "paused", "finished" or "failed". The commands are
    thread-safe. Code that reads the weights must be passed to `do`.
    """

    settings: choices.Settings
    phase: str
    message: str

    def __init__(self, device: str = "cpu", threads: int | None = None) -> None:
        self._device = device
        self._commands = threading.RLock()  # held while a command runs
        self._change = threading.Condition()
        self._worker = Worker()
        self.version = 0
        self.watchers = 0
        self.closed = False
        self.image = 0  # index of the test image on display
        if threads is not None:
            self._worker.do(lambda: devices.set_num_threads(threads))  # a setting of the calling thread
        self._worker.do(lambda: self._make(choices.parse_settings({})))

    # Commands.

    def build_net(self, values: JsonObject) -> None:
        """Builds a new net with the given settings. Raises ValueError for invalid settings."""
        settings = choices.parse_settings(values)
        with self._commands:
            self._worker.stop()
            self._worker.do(lambda: self._make(settings))

    def start(self, values: JsonObject) -> None:
        """Builds a new net and starts its training. Raises ValueError for invalid settings."""
        with self._commands:
            self.build_net(values)
            self._learn()

    def pause(self) -> None:
        """Pauses the training after the current step."""
        with self._commands:
            if self._worker.is_busy:
                self._worker.pause()
                self._set(phase="paused")

    def resume(self) -> None:
        """Resumes the training. A finished net is trained again for the same number of epochs."""
        with self._commands:
            if self._worker.is_busy:
                self._worker.resume()
                self._set(phase="learning")
            else:
                self._learn()

    def step(self) -> None:
        """Runs a single step, then pauses."""
        with self._commands:
            if not self._worker.is_busy:
                self._learn(start_paused=True)
            self._worker.step()
            self._set(phase="paused")

    def set_rate(self, value: Any) -> None:
        """Changes the learning rate for the next steps. Raises ValueError for an invalid rate."""
        rate = choices.check_rate(value)

        def change() -> None:
            self.model.optimizer.learning_rate = rate  # type: ignore[union-attr]
            self.settings = replace(self.settings, learning_rate=rate)
            self._set()

        with self._commands:
            self._worker.do(change)

    def set_optimizer(self, name: Any, rate: Any) -> None:
        """Replaces the optimizer by a new one without state. The weights are unchanged."""
        with self._commands:
            new = replace(self.settings, optimizer=name, learning_rate=choices.check_rate(rate))
            was_busy = self._worker.is_busy
            is_paused = self._worker.is_paused
            self._worker.stop()
            self.settings = new
            choices.compile_net(self.model, new.optimizer, new.learning_rate)
            self._set()
            if was_busy:
                self._learn(is_paused)

    def look_at(self, number: Any) -> None:
        """Displays the test image with this index. Raises ValueError for an invalid index."""
        if type(number) is not int or not 0 <= number < len(self.data.x_test):
            raise ValueError("The index of a test image must be an integer from 0 to "
                             f"{len(self.data.x_test) - 1:,}. Received: {number!r}.")

        def change() -> None:
            self.image = number
            self.take_view()
            self._set()

        with self._commands:
            self._worker.do(change)

    def close(self) -> None:
        """Ends the training thread and wakes the threads in `wait`."""
        with self._commands:
            self.closed = True
            self._set()
            self._worker.close()

    # Access to the state.

    def do(self, function: Callable[[], T]) -> T:
        """Calls a function while no step is running, and returns its result."""
        return self._worker.do(function)

    def state(self) -> JsonObject:
        """Returns the state that the page shows."""
        settings = self.settings
        losses = [loss for _, loss, _ in self.training_curve.read_points()[1][-STUCK:]]
        return {"phase": self.phase, "message": self.message, "net": settings.net,
                "data": settings.data, "optimizer": settings.optimizer,
                "learning_rate": settings.learning_rate, "batch_size": settings.batch_size,
                "epochs": settings.epochs, "step": self.steps, "steps": self.goal,
                "steps_per_epoch": self._steps_per_epoch(), "parameters": self.model.count_params(),
                "images_per_s": self.speed, "image": self.image,
                "label": int(self.data.y_test[self.image]), "classes": self.data.classes,
                "made": self.net_count, "tested": TEST_IMAGES, "test_accuracy": self.test_accuracy,
                "stuck": is_stuck(losses, len(self.data.classes))}

    def wait(self, version: int, seconds: float) -> int:
        """Waits until `self.version` differs from `version`, at most `seconds`. Returns `self.version`."""
        with self._change:
            self._change.wait_for(lambda: self.version != version, seconds)
            return self.version

    def watch(self, change: int) -> None:
        """Changes the number of open windows by `change`."""
        with self._change:
            self.watchers += change

    # Jobs of the worker's thread.

    def _make(self, settings: choices.Settings) -> None:
        """Builds an untrained net."""
        self.data = choices.load(settings.data)
        self.model = choices.build(settings).to(self._device)
        self.views = Views(self.model)
        self.settings = settings
        self.image %= len(self.data.x_test)
        self.training_curve = Curve()  # training loss and accuracy
        self.test_curve = Curve()  # test accuracy
        self.steps = 0
        self.goal = 0
        self.speed = 0.0
        self.test_accuracy: float | None = None
        self.net_count = getattr(self, "net_count", 0) + 1  # number of nets built
        self.take_view()
        self._set("new")

    def _learn(self, start_paused: bool = False) -> None:
        if self.steps >= self.goal:
            self.goal = self.steps + self.settings.epochs * self._steps_per_epoch()
        self._set("paused" if start_paused else "starting")
        self._worker.run(self._train, start_paused)

    def _train(self) -> None:
        data = self.data
        reporter = Reporter(self, self._worker)
        epochs = -(-(self.goal - self.steps) // self._steps_per_epoch())
        try:
            self._worker.run_calls()  # blocks if the training starts paused
            if self._worker.stopping:
                return
            self.model.fit(data.x_train, data.y_train, self.settings.batch_size, epochs, verbose=0, callbacks=reporter)
            reporter.check_loss()
            if not self._worker.stopping:
                self.test(len(data.x_test))
                self._set("finished")
        except Exception as error:  # the page must show every error
            self._set("failed", str(error) or type(error).__name__)

    def _steps_per_epoch(self) -> int:
        return -(-len(self.data.x_train) // self.settings.batch_size)

    def take_view(self) -> None:
        """Records the net's current outputs for the displayed image. Called between two steps."""
        self.view = {"step": self.steps, **self.views.describe(self.data.x_test[self.image])}

    def test(self, count: int) -> None:
        """Measures the accuracy on the first `count` test images. Runs waiting calls in between."""
        right = 0
        for i in range(0, count, TEST_IMAGES):
            answers = self.model.predict_on_batch(self.data.x_test[i : min(i + TEST_IMAGES, count)])
            right += int((answers.argmax(1) == self.data.y_test[i : i + len(answers)]).sum())
            if count > TEST_IMAGES:
                self._worker.run_calls()
        self.test_accuracy = right / count
        self.test_curve.add(self.steps, 1.0, self.test_accuracy)

    def report_progress(self) -> None:
        """Announces a change; called by the training thread."""
        with self._change:
            self._set("learning" if self.phase == "starting" else None)

    def _set(self, phase: str | None = None, message: str = "") -> None:
        """Sets the phase and message, and announces the change."""
        with self._change:
            if phase is not None:
                self.phase = phase
                self.message = message
            self.version += 1
            self._change.notify_all()
