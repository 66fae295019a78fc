"""What the README promises of a training, from the command line to the accuracy it ends with."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

MNIST = Path(os.environ.get("AUTOCONV_DATA", ""), "mnist")


def train(tmp_path, *arguments):
    """The results that `autoconv train` wrote."""
    results = tmp_path / "results.json"
    subprocess.run([sys.executable, "-m", "autoconv", "train", *arguments, "--quiet", "--json", str(results)],
                   check=True, capture_output=True, text=True)
    return json.loads(results.read_text())


def test_the_built_in_digits(tmp_path):
    results = train(tmp_path, "digits", "--seed", "0")
    assert (results["epochs"], results["batch_size"], results["optimizer"]) == (5, 64, "rmsprop")
    assert results["test_accuracy"] > 0.95


@pytest.mark.mnist
@pytest.mark.skipif(not MNIST.is_dir(), reason="AUTOCONV_DATA holds no MNIST")
def test_one_epoch_of_mnist(tmp_path):
    results = train(tmp_path, "mnist", "--epochs", "1", "--seed", "0")
    assert results["train_images"] == 60000
    assert results["test_accuracy"] > 0.97


@pytest.mark.mnist
@pytest.mark.skipif(not MNIST.is_dir(), reason="AUTOCONV_DATA holds no MNIST")
def test_a_sprint(tmp_path):
    results = train(tmp_path, "mnist", "--recipe", "sprint", "--seed", "0", "--threads", "1")
    assert (results["epochs"], results["params"]) == (1, 17_050)
    assert results["test_accuracy"] > 0.988  # ten seeds: 0.9894 to 0.9914, 0.9905 on average
