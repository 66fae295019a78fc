"""The same weights, history and evaluation as Keras on TensorFlow, where both are installed.

AUTOCONV_PARITY_CASES says how many random trainings run, 12 by default.
"""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import trainings

import autoconv

COUNT = int(os.environ.get("AUTOCONV_PARITY_CASES", "12"))
MISSING = [name for name in ("keras", "tensorflow") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.skipif(bool(MISSING), reason=f"not installed: {', '.join(MISSING)}"),
    pytest.mark.timeout(300 + 10 * COUNT),  # the first test waits for all of Keras's trainings
]

PLAIN = {
    "seed": 5, "samples": 100, "input_shape": [6, 5, 2], "targets": "labels",
    "layers": [["Conv2D", {"filters": 3, "kernel_size": 3, "activation": "relu"}], ["Flatten", {}],
               ["Dense", {"units": trainings.CLASSES, "activation": "softmax"}]],
    "loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], "optimizer": ["SGD", {"learning_rate": 0.1}],
    "fit": {"batch_size": 32, "epochs": 3}, "validation": None, "sample_weight": False, "callbacks": [],
}
WEIGHTS_OF_CLASSES = dict(enumerate((0.25, 4.0, 1.5, 3.0)))


def plain(**changed):
    return {**PLAIN, **changed, "fit": PLAIN["fit"] | changed.get("fit", {})}


def confident(layers, loss, targets, y, **loss_arguments):
    """One step on outputs of which one is right and the other wrong, both without a doubt: logits 20, 0 and -20."""
    width = len(y[0]) if targets != "labels" else 3
    return plain(
        samples=2, input_shape=[1], targets=targets, x=[[1.0], [1.0]], y=y, metrics=[],
        layers=[["Dense", {"units": width, **layers[0]}], *layers[1:]], loss=[loss, loss_arguments],
        weights=[[[20.0, 0.0, -20.0][:width]], [0.0] * width], fit={"batch_size": 2, "epochs": 1},
        optimizer=["SGD", {"learning_rate": 1.0}],
    )


LABELS, ONE_HOT, BINARY = [0, 2], [[1, 0, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1]]
SOFTMAX, SIGMOID = [{"activation": "softmax"}], [{"activation": "sigmoid"}]
SPARSE, CATEGORICAL = "SparseCategoricalCrossentropy", "CategoricalCrossentropy"
CHOSEN = {
    "class_weight and validation_split": plain(
        validation="split", fit={"validation_split": 0.3, "class_weight": WEIGHTS_OF_CLASSES}),
    "class_weight and validation_data": plain(validation="data", fit={"class_weight": WEIGHTS_OF_CLASSES}),
    "sample_weight and validation_split": plain(validation="split", sample_weight=True, fit={"validation_split": 0.3}),
    "validation_freq, a list": plain(validation="data", fit={"validation_freq": [1, 3]}),
    "validation_freq, a number": plain(validation="data", fit={"validation_freq": 2}),
    "softmax": confident(SOFTMAX, SPARSE, "labels", LABELS),
    "softmax, a layer": confident([{}, ["Softmax", {}]], SPARSE, "labels", LABELS),
    "softmax, an Activation": confident([{}, ["Activation", {"activation": "softmax"}]], SPARSE, "labels", LABELS),
    "softmax, one-hot": confident(SOFTMAX, CATEGORICAL, "one-hot", ONE_HOT),
    "softmax, smoothed": confident(SOFTMAX, CATEGORICAL, "one-hot", ONE_HOT, label_smoothing=0.1),
    "sigmoid": confident(SIGMOID, "BinaryCrossentropy", "binary 3", BINARY),
    "sigmoid, an Activation": confident([{}, ["Activation", {"activation": "sigmoid"}]], "BinaryCrossentropy",
                                        "binary 3", BINARY),
    "logits": confident([{}], SPARSE, "labels", LABELS, from_logits=True),
}
CASES = {**CHOSEN, **{f"random {i}": trainings.random_case(i) for i in range(COUNT)}}


def of_keras(cases, folder):
    """What Keras gives for each case. It runs in a process of its own: its warnings are not ours."""
    file = folder / "cases.json"
    file.write_text(json.dumps(list(cases.values())))
    done = subprocess.run([sys.executable, Path(trainings.__file__), file, folder], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {name: dict(np.load(folder / f"{i}.npz")) for i, name in enumerate(cases)}


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    return of_keras(CASES, tmp_path_factory.mktemp("keras"))


def differing(case, expected, rtol, atol):
    """What differs in our training from what Keras gave."""
    assert "error" not in expected, str(expected["error"])
    found = trainings.run(case, autoconv)
    assert set(found) == set(expected)
    assert found["epochs"].tolist() == expected["epochs"].tolist()
    return {
        key: f"{found[key].tolist()}, but in Keras {values.tolist()}" if values.size < 10 else
             f"by up to {np.abs(found[key] - values).max():.2g}"
        for key, values in expected.items()
        if found[key].shape != values.shape or not np.allclose(found[key], values, rtol=rtol, atol=atol)
    }


@pytest.mark.parametrize("name", CASES)
def test_the_same_training_as_in_keras(expected, name, tmp_path):
    """Where rounding puts a ReLU of one of them on the other side of 0, float32 says nothing: float64 decides."""
    if differing(CASES[name], expected[name], 1e-4, 1e-5):
        case = {**CASES[name], "dtype": "float64"}
        assert not differing(case, of_keras({name: case}, tmp_path)[name], 1e-6, 1e-8), json.dumps(case)
