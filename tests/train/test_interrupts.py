"""Ctrl-C at any place of a training step: the step counts for nothing, and training goes on as if it had not begun."""

import threading

import numpy as np
import pytest
from numba.core.compiler_lock import global_compiler_lock
from numba.np.ufunc import parallel

from autoconv import get_num_threads, layers, models, optimizers, utils
from autoconv.kernels import device, trace
from autoconv.kernels.cpu.jit import kernel
from autoconv.kernels.locks import Lock, interruptible_condition

X = np.random.default_rng(0).random((4, 8, 12, 12, 2), np.float32)
Y = np.arange(8) % 5


class EagerDense(layers.Dense):
    """A layer with which steps are not recorded."""

    recordable = False


def net(recorded):
    utils.set_random_seed(5)
    dense = layers.Dense if recorded else EagerDense
    return models.Sequential([
        layers.Input((12, 12, 2)), layers.Conv2D(4, 3, activation="relu"), layers.MaxPooling2D(), layers.Dropout(0.2),
        layers.DepthwiseConv2D(3, activation="tanh"), layers.Flatten(), layers.Dropout(0.3, seed=2),
        dense(5, "softmax"),
    ])


class Calls:
    """Counts the kernels that run, recorded, replayed or neither, and interrupts before the one that is asked for."""

    def __init__(self, monkeypatch):
        self.count, self.stop = 0, None
        kernel, add = device.get("cpu").module("jit").CpuKernel, trace.Section.add
        call = kernel.__call__

        def counting(function):
            def counted(*args):
                self.tick()
                return function(*args)

            return counted

        def called(of, *args):
            if not isinstance(trace.current(), trace.DryRun):
                self.tick()
            return call(of, *args)

        monkeypatch.setattr(kernel, "__call__", called)
        monkeypatch.setattr(trace.Section, "add", lambda section, owner, function, arguments: add(
            section, owner, counting(function), arguments))

    def tick(self):
        if self.count == self.stop:
            self.stop = None
            raise KeyboardInterrupt
        self.count += 1


def compiled(recorded, optimizer):
    model = net(recorded)
    model.compile(optimizer(), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


@pytest.mark.parametrize("recorded", [True, False], ids=["recorded", "eager"])
@pytest.mark.parametrize("optimizer", [
    lambda: optimizers.Adam(0.01), lambda: optimizers.SGD(optimizers.schedules.CosineDecay(0.1, 8), momentum=0.9),
    lambda: optimizers.SGD(0.1, clipnorm=0.1),
], ids=["Adam", "SGD momentum", "SGD clipnorm"])
@pytest.mark.parametrize("at", [0, 2], ids=["first step", "third step"])
def test_an_interrupted_step_counts_for_nothing(recorded, optimizer, at, monkeypatch):
    calls = Calls(monkeypatch)
    model, logs = compiled(recorded, optimizer), []
    for i, x in enumerate(X):
        calls.count = calls.count if i != at else 0
        logs.append(model.train_on_batch(x, Y))
        if i == at:
            in_step = calls.count
    wanted = model.get_weights()
    assert in_step > 10

    for stop in range(0, in_step, 1 if at and recorded else 4):
        model, found = compiled(recorded, optimizer), []
        for i, x in enumerate(X):
            if i == at:
                before = model.get_weights()
                calls.count, calls.stop = 0, stop
                with pytest.raises(KeyboardInterrupt):
                    model.train_on_batch(x, Y)
                assert model.optimizer.iterations == at
                assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before))
            found.append(model.train_on_batch(x, Y))
        assert found == logs, stop
        assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), wanted)), stop


def test_an_interrupted_fit_leaves_whole_steps(monkeypatch):
    """What it leaves predicts, is finite, and trains on."""
    calls = Calls(monkeypatch)
    for stop in (50, 77, 91):
        model = compiled(True, lambda: optimizers.Adam(0.01))
        calls.count, calls.stop = 0, stop
        with pytest.raises(KeyboardInterrupt):
            model.fit(X[0], Y, batch_size=3, epochs=50, verbose=0)
        steps = int(model.optimizer.iterations)
        assert steps > 0
        assert all(np.isfinite(w).all() for w in model.get_weights())
        model.fit(X[0], Y, batch_size=3, epochs=2, verbose=0)
        assert model.optimizer.iterations == steps + 6
        assert np.isfinite(model.evaluate(X[0], Y, verbose=0)).all()


def test_an_interrupt_while_numba_takes_its_lock_leaves_it_free(monkeypatch):
    """So another thread compiles afterwards."""
    lock, acquire = type(global_compiler_lock), type(global_compiler_lock).acquire

    @kernel("(T[::1], int64)")
    def times(x, factor):
        for i in range(x.size):
            x[i] *= factor

    def interrupted(self):
        acquire(self)
        monkeypatch.undo()
        raise KeyboardInterrupt

    monkeypatch.setattr(lock, "acquire", interrupted)
    with pytest.raises(KeyboardInterrupt):
        times(np.ones(3, np.float32), 2)
    x = np.ones(3, np.float32)
    other = threading.Thread(target=times, args=(x, 2), daemon=True)
    other.start()
    other.join(60)
    assert x.tolist() == [2, 2, 2]


def test_a_lock_has_the_whole_interface_of_a_reentrant_lock():
    """The standard library reads methods of a lock that differ between Pythons: `locked` since 3.14."""
    with Lock() as acquired:
        assert acquired is True
    assert {name for name in dir(threading.RLock()) if not hasattr(Lock(), name)} == set()
    assert {name for name in vars(threading.Condition()) if not hasattr(interruptible_condition(), name)} == set()


def test_threads_wait_for_a_condition_and_are_told():
    condition, found = interruptible_condition(), []

    def wait():
        with condition, condition:  # its lock is reentrant
            found.append(condition.wait_for(lambda: bool(found), 60))

    other = threading.Thread(target=wait, daemon=True)
    other.start()
    with condition:
        found.append("told")
        condition.notify_all()
    other.join(60)
    assert found == ["told", True]


def test_nobody_waits_for_numbas_lock_to_learn_the_number_of_threads():
    """It is one between processes, which an interrupt may leave held."""
    get_num_threads()
    found = []
    with parallel._backend_init_process_lock:
        other = threading.Thread(target=lambda: found.append(get_num_threads()), daemon=True)
        other.start()
        other.join(60)
    assert len(found) == 1
