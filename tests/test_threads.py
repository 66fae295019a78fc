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


def trained(threads, cache):
    """(The number of threads it had, the SHA-256 of the weights) of a training in a process of its own."""
    environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads), "AUTOCONV_CACHE_DIR": str(cache),
                   "OMP_WAIT_POLICY": "passive"}  # more threads than processors must not wait in circles
    done = subprocess.run([sys.executable, "-c", TRAINING], env=environment, capture_output=True, text=True, check=True)
    threads_used, digest = done.stdout.split()
    return int(threads_used), digest


@pytest.mark.timeout(900)  # it compiles into a cache of its own
def test_weights_are_the_same_bits_for_any_number_of_threads(tmp_path):
    _, expected = trained(1, tmp_path)
    assert [trained(n, tmp_path) for n in (1, 2, 3, 16)] == [(n, expected) for n in (1, 2, 3, 16)]


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
