"""Several Python threads at once: one number of threads for kernels, the bits of each alone, weights between steps."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numba
import numpy as np
import pytest
from loads import X, Y, bits, net

import autoconv as ac
from autoconv import functional as F
from autoconv import models
from autoconv.kernels.locks import kernel_lock


def in_threads(*works):
    """Runs functions at once, each in a thread of its own. Returns what they gave; raises the first error."""
    results, errors = [None] * len(works), []

    def run(i):
        try:
            results[i] = works[i]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(i,), daemon=True) for i in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(250)
        assert not thread.is_alive()
    if errors:
        raise errors[0]
    return results


@pytest.fixture
def hurried():
    """Python's threads change more often than they do."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="needs two threads")
def test_the_number_of_threads_holds_in_all_python_threads():
    """In those that run already, those that come later, and kernels that are called or replayed there."""
    most, model = ac.get_num_threads(), net()
    x = np.zeros((8, 64, 64, 8), np.float32)
    model.predict_on_batch(X)
    asked, answers = threading.Barrier(2, timeout=60), []

    def running():
        for _ in range(3):
            asked.wait()
            model.predict_on_batch(X)
            answers.append(numba.get_num_threads())
            F.relu(x)
            answers.append(numba.get_num_threads())
            asked.wait()

    def later():
        first = ac.get_num_threads()
        F.relu(x)
        return first, numba.get_num_threads()

    thread = threading.Thread(target=running, daemon=True)
    thread.start()
    try:
        for count in (1, most, 1):
            ac.set_num_threads(count)
            assert (ac.get_num_threads(), numba.get_num_threads()) == (count, count)
            asked.wait()
            asked.wait()
            assert in_threads(later, later) == [(count, count)] * 2
        in_threads(lambda: ac.set_num_threads(most))
        assert ac.get_num_threads() == most
    finally:
        ac.set_num_threads(most)
    assert answers == [1, 1, most, most, 1, 1]


def test_what_numba_is_told_in_a_thread_stays_until_autoconv_is_told_another_number():
    most = ac.get_num_threads()
    ac.set_num_threads(most)
    numba.set_num_threads(1)
    try:
        F.relu(X)
        assert ac.get_num_threads() == 1
        assert in_threads(ac.get_num_threads) == [most]
    finally:
        ac.set_num_threads(most)
    assert numba.get_num_threads() == most


def trained(model, epochs=6):
    """Losses and weights; the order of the samples is fixed, as models take turns in drawing from one generator."""
    history = model.fit(X, Y, batch_size=16, epochs=epochs, verbose=0, shuffle=False)
    return history.history, bits(model)


def test_two_threads_train_two_models_with_the_bits_of_each_alone(hurried):
    alone = [trained(net(1)), trained(net(2, "sgd"))]
    for _ in range(3):
        first, second = net(1), net(2, "sgd")
        assert in_threads(lambda one=first: trained(one), lambda two=second: trained(two)) == alone


@pytest.mark.parametrize("askers", [1, 3])
def test_who_asks_while_a_model_trains_sees_the_weights_between_two_steps(hurried, askers):
    def train(model, after=lambda: None):
        for i in range(40):
            model.train_on_batch(X[i % 4 :: 4], Y[i % 4 :: 4])
            after()

    model, known = net(), []
    known.append(model.predict_on_batch(X).tobytes())
    train(model, lambda: known.append(model.predict_on_batch(X).tobytes()))

    model, ends, seen = net(), threading.Event(), []

    def training():
        try:
            train(model)
        finally:
            ends.set()

    def asking():
        while not ends.is_set():
            seen.append(model.predict_on_batch(X).tobytes())
            seen.append(model.predict(X, batch_size=64, verbose=0).tobytes())
            assert np.isfinite(model.evaluate(X, Y, batch_size=7, verbose=0)).all()

    in_threads(training, *[asking] * askers)
    assert set(seen) <= set(known)
    assert model.predict_on_batch(X).tobytes() == known[-1]


def test_predictions_and_evaluations_while_fit_runs(hurried):
    """Their kernels, steps and data sets come and go beside those of `fit`, which gives the bits of a fit alone."""
    alone, model, ends = trained(net(), 20), net(), threading.Event()

    def training():
        try:
            return trained(model, 20)
        finally:
            ends.set()

    def asking():
        rows, answers = 0, []
        while not ends.is_set():
            rows = rows % 60 + 1
            answers.append((model.predict(X[:rows], batch_size=9, verbose=0), model.evaluate(X, Y, verbose=0)))
        return answers

    after, *answers = in_threads(training, asking, asking)
    assert after == alone
    assert all(np.isfinite(p).all() and np.isfinite(e).all() for found in answers for p, e in found)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs interval timers")
def test_an_interrupt_never_leaves_the_kernels_lock_held():
    interrupts, armed = 0, False

    def interrupt(number, frame):
        if armed:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGVTALRM, interrupt)
    signal.setitimer(signal.ITIMER_VIRTUAL, 1e-3, 1e-3)
    try:
        while interrupts < 40:
            try:
                armed = True
                while True:
                    with kernel_lock, kernel_lock:
                        pass
            except KeyboardInterrupt:
                armed = False
                interrupts += 1
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)

    def taken():
        found = kernel_lock.acquire(timeout=5)
        kernel_lock.release()
        return found

    assert in_threads(taken) == [True]


def test_a_step_that_another_thread_made_out_of_date_is_recorded_anew():
    """Also where that happens while a step asks whether it still holds."""
    model = net()
    model.predict_on_batch(X)
    layer = model.layers[0]
    recorder = next(iter(model._trainer.running.steps._steps.values())).recorder
    kernel, versions = layer.kernel, recorder.versions

    def meanwhile():
        found = versions()
        kernel.data = kernel.data * 2  # as another thread does
        return found

    recorder.versions = meanwhile
    layer.name = "other"  # so that it looks
    model.predict_on_batch(X)
    recorder.versions = versions
    found = model.predict_on_batch(X)
    np.testing.assert_array_equal(found, models.Model(model.inputs, model.outputs).predict_on_batch(X))


@pytest.mark.timeout(600)
def test_all_that_where_the_pool_of_threads_allows_one_at_a_time():
    """Numba's own pool, workqueue, ends the process when two Python threads enter it at once."""
    environment = {**os.environ, "NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2"}
    tests = [f"test_python_threads.py::{name}" for name in (
        "test_the_number_of_threads_holds_in_all_python_threads", "test_predictions_and_evaluations_while_fit_runs")]
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *tests],
                          cwd=Path(__file__).parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
