"""Training gives the same weights, bit for bit, for any number of threads and in every run.

Also in the first one, which compiles the kernels that the others load.
"""

import os
import subprocess
import sys

import pytest

TRAINING = """
import hashlib
import numba
from autoconv import datasets, layers, models, utils

utils.set_random_seed(3)
(x, y), _ = datasets.digits.load_data()
model = models.Sequential([
    layers.Input((28, 28, 1)),
    layers.Conv2D(17, 3, activation="relu"),
    layers.MaxPooling2D(),
    layers.BatchNormalization(),
    layers.DepthwiseConv2D(3, padding="same"),
    layers.BatchNormalization(),
    layers.ReLU(),
    layers.MaxPooling2D(),
    layers.Conv2D(33, 3, strides=2, padding="same", activation="relu"),
    layers.AveragePooling2D(2),
    layers.Flatten(),
    layers.Dropout(0.3),
    layers.Dense(100, activation="tanh"),
    layers.Dense(10, activation="softmax"),
])
model.compile("rmsprop", "sparse_categorical_crossentropy")
model.fit(x[:330, ..., None] / 255.0, y[:330], batch_size=48, epochs=2, verbose=0)
digest = hashlib.sha256()
for weight in model.get_weights():
    digest.update(weight.tobytes())
print(numba.get_num_threads(), digest.hexdigest())
"""


def trained(threads):
    """(The number of threads it had, the SHA-256 of the weights) of a training in a process of its own."""
    environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads),
                   "OMP_WAIT_POLICY": "passive"}  # more threads than processors must not wait in circles
    done = subprocess.run([sys.executable, "-c", TRAINING], env=environment, capture_output=True, text=True, check=True)
    threads_used, digest = done.stdout.split()
    return int(threads_used), digest


@pytest.mark.timeout(900)  # where nothing is compiled yet
def test_weights_are_the_same_bits_for_any_number_of_threads():
    _, expected = trained(1)
    assert [trained(n) for n in (1, 2, 3, 16)] == [(n, expected) for n in (1, 2, 3, 16)]


LOOPS = """
import hashlib
import numba
import numpy as np
from numba import prange
from autoconv import functional as F
from autoconv.kernels.cpu.jit import kernel

def rounds(x, thread):
    for i in prange(x.size):
        x[i] += 1
        thread[i] = numba.get_thread_id()

for few, sizes in ((1, (0, 1, 2, 17)), (100, (0, 1, 99, 100, 101, 1000))):
    run = kernel("(T[::1], int64[::1])", parallel=True, grain=few)(rounds)
    for size in sizes:
        x, thread = np.zeros(size, np.float32), np.full(size, -1)
        run(x, thread)
        assert (x == 1).all(), size
        used = len(set(thread.tolist()))
        assert used <= 1 or size > few, (few, size, used)

def wait(done, turns):
    for i in prange(done.size):
        if i == 0:
            while turns[0] < 1 << 28 and done[80:128].min() == 0:
                turns[0] += 1
        done[i] = 1

if numba.get_num_threads() > 1:  # a thread has at least 128 iterations, and claims at most 40
    done, turns = np.zeros(640, np.float32), np.zeros(1, np.int64)
    kernel("(T[::1], int64[::1])", parallel=True)(wait)(done, turns)
    assert turns[0] < 1 << 28, "no thread took over the iterations of the thread that waits"

with numba.parallel_chunksize(100):  # more parts than threads
    x, thread = np.zeros(200_000, np.float32), np.full(200_000, -1)
    run(x, thread)
    assert (x == 1).all()

digest, rng = hashlib.sha256(), np.random.default_rng(0)
for function, shapes in (
    (F.tanh, [(8191,), (8192,), (8193,)]), (F.relu, [(8192,), (8193,)]),
    (F.softmax, [(102, 10), (103, 10), (3, 2000)]), (lambda x: F.avg_pool2d(x, 2), [(1, 33, 32, 16), (1, 36, 32, 16)]),
    (F.global_avg_pool2d, [(1, 16, 16, 64), (1, 16, 16, 65), (2, 16, 16, 64)]),
    (lambda x: F.conv2d(x, weights[:, :, :, :5]), [(1, 20, 20, 8), (1, 30, 30, 8)]),
):
    weights = np.linspace(-1, 1, 360, dtype=np.float32).reshape(3, 3, 8, 5)
    for shape in shapes:
        digest.update(function(rng.standard_normal(shape).astype(np.float32)).numpy().tobytes())
print(digest.hexdigest())
"""


@pytest.mark.timeout(900)
def test_short_loops_stay_in_one_thread_and_give_the_bits_of_many():
    digests = set()
    for threads in (1, 2, 5):
        environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        done = subprocess.run([sys.executable, "-c", LOOPS], env=environment, capture_output=True, text=True)
        assert not done.returncode, done.stderr
        digests.add(done.stdout)
    assert len(digests) == 1


SEVERAL = """
import threading
import numpy as np
from autoconv import datasets, layers, models
from autoconv import functional as F

(x, y), _ = datasets.digits.load_data()
x, errors = x[:256, ..., None] / np.float32(255), []

def fit():
    model = models.Sequential([layers.Input((28, 28, 1)), layers.Conv2D(4, 3, activation="relu"),
                               layers.MaxPooling2D(), layers.Flatten(), layers.Dense(10)])
    model.compile("sgd", "mean_squared_error")
    model.fit(x, np.eye(10)[y[:256]], batch_size=16, epochs=8, verbose=0)

def functions():
    for _ in range(300):
        F.max_pool2d(F.relu(x[:32]), 2).sum().item()

def guarded(work):
    try:
        work()
    except BaseException as error:
        errors.append(error)

threads = [threading.Thread(target=guarded, args=(work,)) for work in ({works})]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(errors or "done")
"""


@pytest.mark.timeout(900)
@pytest.mark.parametrize("works", ["fit, fit", "functions, functions", "fit, functions"])
def test_several_threads_at_once_where_the_pool_of_threads_allows_one(works):
    environment = {**os.environ, "NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", SEVERAL.replace("{works}", works)], env=environment,
                          capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
