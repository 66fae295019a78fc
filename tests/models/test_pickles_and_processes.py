"""Models and other processes: pickled, in pools that are spawned, in children that are forked after kernels ran."""

import multiprocessing
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from loads import HERE, X, Y, bits, net

from autoconv import callbacks, layers, models, optimizers, utils

ELSEWHERE = """
import pickle, sys
import numpy as np
from loads import X, Y, bits
found = []
for model in pickle.load(sys.stdin.buffer):
    before = model.predict(X, verbose=0).tobytes()
    model.fit(X, Y, batch_size=16, epochs=2, verbose=0, shuffle=False)
    found.append((before, bits(model), int(model.optimizer.iterations), model.history.history))
pickle.dump(found, sys.stdout.buffer)
"""


def several():
    """A graph with two branches, a schedule, and a layer that draws from the process's generator."""
    utils.set_random_seed(4)
    x = layers.Input((12, 12, 2))
    a, b = layers.Conv2D(4, 3, activation="relu")(x), layers.Conv2D(4, 3)(x)
    y = layers.Dense(5)(layers.Flatten()(layers.Add()([a, layers.BatchNormalization()(b)])))
    model = models.Model(x, layers.Softmax()(y))
    rate = optimizers.schedules.CosineDecay(0.05, 30)
    model.compile(optimizers.SGD(rate, momentum=0.9), "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def test_models_pickled_after_fit_go_on_in_another_process():
    """With the same bits: predictions, and training with what the optimizer holds."""
    pickled, expected = [net(), several()], []
    for model in pickled:
        model.fit(X, Y, batch_size=16, epochs=2, verbose=0, validation_data=(X, Y), callbacks=callbacks.EarlyStopping())
        model.predict(X, verbose=0)
        model.train_on_batch(X, Y)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    done = subprocess.run([sys.executable, "-c", ELSEWHERE], input=pickle.dumps(pickled), env=environment,
                          capture_output=True)
    assert done.returncode == 0, done.stderr.decode()
    for model in pickled:
        before = model.predict(X, verbose=0).tobytes()
        model.fit(X, Y, batch_size=16, epochs=2, verbose=0, shuffle=False)
        expected.append((before, bits(model), int(model.optimizer.iterations), model.history.history))
    assert pickle.loads(done.stdout) == expected


def predicted(model, x):
    return model.predict(x, batch_size=4, verbose=0), os.getpid()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["spawn", pytest.param("forkserver", marks=pytest.mark.soak)])
def test_a_pool_predicts_in_four_processes(way):
    if way not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {way}")
    model = net()
    model.fit(X, Y, verbose=0)
    parts = [X[i::8] for i in range(8)]
    with multiprocessing.get_context(way).Pool(4) as pool:
        found = pool.starmap(predicted, [(model, part) for part in parts], chunksize=1)
        pool.close()
        pool.join()
    for (rows, process), part in zip(found, parts):
        np.testing.assert_array_equal(rows, model.predict(part, batch_size=4, verbose=0))
        assert process != os.getpid()


FORKED = """
import os, sys, threading, time, traceback, warnings
import numba
import numpy as np
import autoconv as ac
from loads import X, Y, bits, net
warnings.simplefilter("ignore", DeprecationWarning)  # of a fork beside other threads, since Python 3.12

model, images = net(), np.ones((8, 64, 64, 4), np.float32)
model.fit(X, Y, verbose=0)
ac.functional.relu(images)
before, stop = model.predict(X, verbose=0), threading.Event()
other = threading.Thread(target=lambda: [net().train_on_batch(X, Y) for _ in iter(stop.is_set, True)], daemon=True)
other.start()  # the fork comes while kernels run

def child():
    assert np.array_equal(model.predict(X, verbose=0), before)
    ac.functional.relu(images)
    model.fit(X, Y, batch_size=16, epochs=2, verbose=0, shuffle=False)
    assert ac.get_num_threads() == (1 if numba.threading_layer() == "omp" else 2)
    if ac.get_num_threads() == 1:
        try:
            ac.set_num_threads(2)
        except ValueError as error:
            assert "forked from a process in which kernels had run" in str(error)
    return bits(model)

for _ in range(5):
    reading, writing = os.pipe()
    process = os.fork()
    if not process:
        code = 1
        try:
            os.write(writing, child())
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    os.close(writing)
    limit = time.monotonic() + 60
    while not (ended := os.waitpid(process, os.WNOHANG))[0] and time.monotonic() < limit:
        time.sleep(0.01)
    assert ended[0], "it hangs"
    assert ended[1] == 0, ended
    found = open(reading, "rb").read()
stop.set()
other.join()
assert ac.get_num_threads() == 2  # here all is as it was
model.fit(X, Y, batch_size=16, epochs=2, verbose=0, shuffle=False)
assert bits(model) == found
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_a_child_that_is_forked_after_kernels_ran_computes_the_same(layer):
    """OpenMP would end it, so there it computes in one thread."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]), "NUMBA_NUM_THREADS": "2",
                   "NUMBA_THREADING_LAYER": layer}
    done = subprocess.run([sys.executable, "-c", FORKED], env=environment, capture_output=True, text=True, timeout=280)
    if "No threading layer could be loaded" in done.stderr:
        pytest.skip(f"Numba has no {layer} here")
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
