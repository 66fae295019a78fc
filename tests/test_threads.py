"""Training gives the same weights, bit for bit, for any number of threads and in every run."""

import os
import subprocess
import sys

TRAINING = """
import hashlib
import numba
from autoconv import datasets, layers, models, utils

utils.set_random_seed(3)
(x, y), _ = datasets.digits.load_data()
model = models.Sequential([
    layers.Input((28, 28, 1)),
    layers.Conv2D(17, 3, strides=2, activation="relu"),
    layers.BatchNormalization(),
    layers.DepthwiseConv2D(3, padding="same"),
    layers.MaxPooling2D(),
    layers.Conv2D(33, 3, padding="same", activation="relu"),
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
    environment = {**os.environ, "NUMBA_NUM_THREADS": str(threads)}
    done = subprocess.run([sys.executable, "-c", TRAINING], env=environment, capture_output=True, text=True, check=True)
    threads_used, digest = done.stdout.split()
    return int(threads_used), digest


def test_weights_are_the_same_bits_for_any_number_of_threads():
    _, expected = trained(1)
    assert [trained(n) for n in (1, 2, 3, 8)] == [(n, expected) for n in (1, 2, 3, 8)]
