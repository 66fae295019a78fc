"""Long runs: what steps, predictions, models and interrupts leave behind. `pytest -s -m soak` says what it measured."""

import gc
import os
import random
import signal
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
from loads import X, Y, held, net, resident, say

import autoconv
from autoconv import callbacks, layers
from autoconv import functional as F

pytestmark = pytest.mark.slow

LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="looks into /proc")
ROOM = 5_000_000  # bytes that a process may grow by


def quick_and_long(quick, long):
    """The same test with few rounds, and with many where soak is asked for."""
    return [quick, pytest.param(long, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])]


@LINUX
@pytest.mark.parametrize("steps", quick_and_long(2_000, 50_000))
def test_training_steps_take_no_memory(steps):
    model, seen = net(), []

    class Look(callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 0 or epoch == self.params["epochs"] - 1:
                seen.append(resident())

    def train(count):
        model.fit(X, Y, batch_size=16, epochs=count // 8, verbose=0)
        for i in range(count // 2):
            model.train_on_batch(X[i % 7 : i % 7 + 16], Y[i % 7 : i % 7 + 16])

    train(1_000)
    before = resident()
    model.fit(X, Y, batch_size=16, epochs=(steps - 1_000) // 8, verbose=0, callbacks=Look())
    for i in range((steps - 1_000) // 2):
        model.train_on_batch(X[i % 7 : i % 7 + 16], Y[i % 7 : i % 7 + 16])
    grown = resident() - before
    say(f"{steps} steps: {grown / 1e6:.2f} MB more after the first 1000; within fit {(seen[-1] - seen[0]) / 1e6:.2f}")
    assert grown < ROOM
    assert all(np.isfinite(w).all() for w in model.get_weights())


@LINUX
@pytest.mark.parametrize("calls", quick_and_long(150, 10_000))
def test_predictions_of_changing_sizes_take_no_memory(calls):
    model, sizes = net(), random.Random(0)
    data = np.resize(X, (400, *X.shape[1:]))

    def predict(count):
        for i in range(count):
            rows = data[: sizes.randint(1, len(data))]
            if i % 3:
                assert model.predict(rows, batch_size=sizes.randint(1, 100), verbose=0).shape == (len(rows), 5)
            else:
                model.predict_on_batch(rows)

    predict(calls // 10)
    data = data[:399]  # of the first ones none had the largest size
    model.predict_on_batch(data)
    before = resident()
    predict(calls - calls // 10)
    grown = resident() - before
    say(f"{calls} predictions: {grown / 1e6:.2f} MB more after the first tenth")
    assert grown < ROOM


@LINUX
@pytest.mark.parametrize("count", quick_and_long(12, 500))
def test_models_that_are_dropped_leave_nothing(count, tmp_path):
    def life(seed):
        model = net(seed, ("adam", "sgd", "rmsprop")[seed % 3])
        model.fit(X, Y, verbose=0, validation_split=0.2)
        model.predict(X[: seed % 50 + 1], verbose=0)
        model.evaluate(X, Y, verbose=0)
        model.train_on_batch(X[:9], Y[:9])
        F.relu(model(X[:3], training=True)).sum().backward()
        model.save(tmp_path / "net.safetensors")
        return weakref.ref(model), weakref.ref(model.weights[0])

    for seed in range(max(6, count // 5)):  # until the allocator has what it keeps
        life(seed)
    before, memory = held(), resident()
    left = [life(seed) for seed in range(count)]
    after, grown = held(), resident() - memory
    say(f"{count} models: {grown / 1e6:.2f} MB more; {after}")
    assert not any(model() or weight() for model, weight in left)
    maps = after.pop("maps") - before.pop("maps")
    assert after == before
    assert maps < 5  # of the allocator's
    assert grown < ROOM


class Interrupts(callbacks.Callback):
    """Ctrl-C so many seconds of this process's work after a step begins, or after `fit` does (step -1)."""

    def __init__(self, step, seconds):
        super().__init__()
        self.step, self.seconds, self.begun = step, seconds, -1

    def __enter__(self):
        def interrupt(number, frame):
            raise KeyboardInterrupt

        self.before = signal.signal(signal.SIGVTALRM, interrupt)  # pytest-timeout has the other clocks
        self.on_train_batch_begin(0)
        return self

    def on_train_batch_begin(self, batch, logs=None):
        if self.begun == self.step:
            signal.setitimer(signal.ITIMER_VIRTUAL, self.seconds)
        self.begun += 1

    def __exit__(self, *_):
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, self.before)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # in a weak reference's callback
@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
@pytest.mark.parametrize("count", quick_and_long(12, 180))
def test_an_interrupt_at_any_moment_of_fit_leaves_whole_steps(count):
    """What trains has the bits of the last whole step, all weights are finite, and the model trains on, and predicts
    in another thread, so no lock is held.
    """
    def trained(model):
        return b"".join(weight.numpy().tobytes() for weight in model.trainable_weights)

    def train(model, watch):
        model.fit(X, Y, batch_size=16, epochs=12, verbose=0, validation_data=(X, Y), callbacks=watch)

    model, states, moments, steps = net(), [], random.Random(1), []
    states.append(trained(model))
    train(model, callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: states.append(trained(model))))
    for _ in range(count):
        model = net()
        with Interrupts(moments.randrange(-1, 48), moments.uniform(1e-6, 2e-3)) as interrupts:
            try:
                train(model, interrupts)
            except KeyboardInterrupt:
                signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        steps.append(int(model.optimizer.iterations))
        assert trained(model) in states[steps[-1] : steps[-1] + 2]  # between the update and its count
        assert all(np.isfinite(w).all() for w in model.get_weights())
        model.fit(X, Y, verbose=0)
        assert model.optimizer.iterations == steps[-1] + 2
        other = threading.Thread(target=model.predict_on_batch, args=(X,), daemon=True)
        other.start()
        other.join(30)
        assert not other.is_alive()
    say(f"{count} interrupts, after {sorted(steps)} steps of 48")
    if count > 100:
        assert len(set(steps)) > 6, "the interrupts came all at the same steps"


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
@pytest.mark.parametrize("count", quick_and_long(1, 36))
def test_ctrl_c_at_any_moment_of_a_command_is_one_line(count):
    moments, ends = random.Random(2), set()
    command = [sys.executable, "-m", "autoconv", "train", "digits", "--limit", "512", "--epochs", "1000"]
    for _ in range(count):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
            time.sleep(moments.uniform(0.3, 1.5))
            process.send_signal(signal.SIGINT)
            try:
                said = process.communicate(timeout=60)[1]
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        if "Traceback" in said and str(Path(autoconv.__file__).parent) not in said:
            continue  # in Python's own start
        ends.add((process.returncode, said))
    assert ends <= {(130, "Interrupted.\n")}


@LINUX
def test_who_reads_the_variables_of_frames_costs_no_memory():
    """A debugger, a tool for coverage: on old versions of Python what they read stays until the frame ends."""
    def traced(work):
        before = sys.gettrace()

        def look(frame, event, argument):
            frame.f_locals  # noqa: B018
            return look

        sys.settrace(look)
        try:
            work()
        finally:
            sys.settrace(before)

    images, labels = np.zeros((64, 32, 32, 3), np.float32), np.arange(64) % 5
    convolution = layers.Conv2D(32, 3)
    model = net()

    def work(steps):
        for _ in range(steps):
            F.relu(convolution(images)).sum().backward()
            model.fit(X, labels, verbose=0)

    work(3)
    traced(lambda: work(3))
    gc.collect()
    before = resident()
    traced(lambda: work(12))
    assert resident() - before < ROOM  # the activations of one step are 15 MB
