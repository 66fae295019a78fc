"""A small net that has a bit of all, for tests of threads, processes and long runs; and what a process holds."""

import contextlib
import ctypes
import gc
import os
import sys
import threading
from pathlib import Path

import numpy as np

from autoconv import layers, models, utils

_random = np.random.default_rng(0)
X = _random.random((64, 12, 12, 2), np.float32)
Y = np.arange(64) % 5
HERE = Path(__file__).parent


def net(seed=5, optimizer="adam"):
    """A compiled model; what it draws in training it draws from a seed of its own."""
    utils.set_random_seed(seed)
    model = models.Sequential([
        layers.Input((12, 12, 2)), layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization(),
        layers.MaxPooling2D(), layers.Dropout(0.2, seed=3), layers.Flatten(), layers.Dense(5, "softmax"),
    ])
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def bits(model):
    """All weights as bytes."""
    return b"".join(weight.tobytes() for weight in model.get_weights())


def resident():
    """The bytes of memory that this process has, once Python and the C library have given back what they can."""
    gc.collect()
    with contextlib.suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def held():
    """What else a process could leave behind, by kind."""
    gc.collect()
    ours = [type(thing).__name__ for thing in gc.get_objects() if str(type(thing).__module__).startswith("autoconv.")]
    kinds = ("Step", "Trace", "Section", "Pool", "Idle", "Variable", "Tensor", "Sequential", "Source", "Sums")
    return {**{kind: ours.count(kind) for kind in kinds}, "threads": threading.active_count(),
            **{name: len(os.listdir(f"/proc/self/{name}")) for name in ("fd", "task")},
            "maps": Path("/proc/self/maps").read_text().count("\n")}


def say(text):
    """A figure, for `pytest -s`."""
    sys.stdout.write(f"\n{text}\n")
