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
    assert [trained(n, tmp_path) for n in (1, 2, 3, 8)] == [(n, expected) for n in (1, 2, 3, 8)]
