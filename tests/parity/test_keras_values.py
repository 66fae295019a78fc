"""Activations, losses, metrics, optimizers, regularizers, constraints and layers give Keras's values.

The values are those that Keras gave (keras_values.py); where that Keras is installed it is asked again.
"""

import importlib.util
import inspect
import json
import subprocess
import sys
from pathlib import Path

import keras_values
import numpy as np
import pytest
from keras_values import CASES

import autoconv
from autoconv import activations, constraints, losses, metrics, optimizers, regularizers
from autoconv.arguments.serialization import Configurable

EXPECTED = json.loads(keras_values.FILE.read_text())
KERAS = json.loads((Path(__file__).parents[2] / "docsite" / "keras_arguments.json").read_text())  # by public name


@pytest.mark.parametrize("name", CASES)
@pytest.mark.filterwarnings("ignore::UserWarning")  # of softmax over what is no probability
def test_a_value_is_that_of_keras(name):
    shape, expected = EXPECTED[name]
    found = np.asarray(CASES[name](autoconv))
    assert list(found.shape) == shape
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-4, atol=2e-5)


def test_sparsemax_is_the_nearest_probability():
    """Keras's own is wrong where more than one item stays."""
    x = np.random.default_rng(0).normal(size=(50, 7))
    p = np.asarray(activations.sparsemax(autoconv.tensor(x)))
    np.testing.assert_allclose(p.sum(1), 1)
    assert (p >= 0).all()
    assert 1 < (p > 0).sum(1).mean() < 6
    shift = np.where(p > 0, x - p, np.nan)
    np.testing.assert_allclose(np.nanmax(shift, 1), np.nanmin(shift, 1))  # one threshold for all that stay
    assert (np.where(p > 0, -np.inf, x) <= np.nanmin(shift, 1, keepdims=True) + 1e-12).all()
    np.testing.assert_allclose(activations.sparsemax(autoconv.tensor(x.T), axis=0).numpy(), p.T)


def test_the_file_has_all_cases_and_no_others():
    assert set(EXPECTED) - {"version"} == set(CASES)


@pytest.mark.parametrize("module", [activations, constraints, losses, metrics, optimizers, regularizers],
                         ids=lambda module: module.__name__)
def test_every_name_that_keras_has_too_is_asked(module):
    short = module.__name__.rpartition(".")[2]
    asked = {name.partition("(")[0].partition(" ")[0].rpartition(".")[2] for name in CASES if name.startswith(short)}
    classes = {kind.__name__ for kind in vars(module).values() if inspect.isclass(kind)
               and kind.__module__.startswith("autoconv.") and issubclass(kind, Configurable)}
    bases = {"Constraint", "Loss", "Mean", "MeanMetricWrapper", "Metric", "Optimizer", "Regularizer", "Sum"}
    ours = set(activations.ACTIVATIONS) - {"sparsemax"} if module is activations else classes - bases
    assert {name for name in ours if f"{short}.{name}" in KERAS} <= asked


def test_the_installed_keras_gives_these_values(tmp_path):
    if importlib.util.find_spec("keras") is None or importlib.util.find_spec("jax") is None:
        pytest.skip("not installed: keras with jax")
    subprocess.run([sys.executable, keras_values.__file__, tmp_path / "values.json"], check=True)
    again = json.loads((tmp_path / "values.json").read_text())
    if again["version"] != EXPECTED["version"]:
        pytest.skip(f"Keras {EXPECTED['version']} gave the values, {again['version']} is installed")
    for name in CASES:
        np.testing.assert_allclose(again[name][1], EXPECTED[name][1], rtol=1e-4, atol=1e-5, err_msg=name)
