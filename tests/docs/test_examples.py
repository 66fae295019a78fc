"""The listings under examples/ run as they are, on few images."""

import inspect
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from autoconv import datasets, models

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def a_set(shape, train, test, label_shape=()):
    """Random images of a set's shapes, as load_data returns them."""
    rng = np.random.default_rng(1)

    def part(count):
        images = np.zeros((count, *shape), np.uint8)  # pages of zeros cost no memory until they are written to
        images[:64] = rng.integers(0, 256, (min(count, 64), *shape))
        return images, (np.arange(count) % 10).astype(np.uint8).reshape(count, *label_shape)

    return part(train), part(test)


@pytest.fixture
def run(monkeypatch, capsys):
    """Runs an example in this process with so many images; what it printed."""

    def run_(name, images):
        monkeypatch.setenv("EXAMPLE_IMAGES", str(images))
        monkeypatch.setattr(datasets.mnist, "load_data", lambda: a_set((28, 28), 60000, 10000))
        monkeypatch.setattr(datasets.fashion_mnist, "load_data", lambda: a_set((28, 28), 60000, 10000))
        monkeypatch.setattr(datasets.cifar10, "load_data", lambda: a_set((32, 32, 3), 640, 64, (1,)))
        runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__main__")
        return capsys.readouterr().out

    return run_


def test_the_best_net_of_cifar10(run):
    assert "test accuracy 0." in run("cifar10_best", 64)
    listing = (EXAMPLES / "cifar10_best.py").read_text(encoding="utf-8").partition('"""\n\n')[2]
    page = EXAMPLES.parent / "docs" / "lectures" / "cifar10.md"
    assert f"```python\n{listing}```" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["mnist_lecture", "fashion_mnist"])
def test_the_lecture_s_listing(run, name):
    printed = run(name, 96)
    for shape, params in [
        ("(None, 26, 26, 32)", "320"), ("(None, 13, 13, 32)", "0"), ("(None, 11, 11, 64)", "18,496"),
        ("(None, 5, 5, 64)", "0"), ("(None, 3, 3, 64)", "36,928"), ("(None, 576)", "0"), ("(None, 64)", "36,928"),
        ("(None, 10)", "650"),
    ]:
        assert any(shape in line and f" {params} " in line for line in printed.splitlines())
    assert "Total params: 93,322 " in printed
    assert "Epoch 5/5" in printed
    assert "test accuracy 0." in printed


def test_the_net_on_colour_photos(run):
    printed = run("cifar10", 64)
    assert "(None, 30, 30, 32)" in printed
    assert "Epoch 5/5" in printed


def test_the_residual_net(run, monkeypatch, tmp_path):
    arguments = ["--epochs", "1", "--save", str(tmp_path / "resnet.safetensors")]
    monkeypatch.setattr(sys, "argv", ["resnet_cifar.py", *arguments])
    printed = run("resnet_cifar", 48)
    assert "Total params: 274,042 " in printed
    assert "Connected to" in printed
    assert "test accuracy 0." in printed
    again = models.load_model(tmp_path / "resnet.safetensors")
    assert (again.output_shape, again.count_params()) == ((None, 10), 274042)


def test_the_large_net(run):
    printed = run("mnist_large", 2)
    assert "(None, 16384)" in printed
    assert "Total params: 8,459,242 " in printed
    assert "Epoch 5/5" in printed


def test_the_net_for_photos_says_what_it_sees():
    done = subprocess.run([sys.executable, EXAMPLES / "photos.py"], capture_output=True, text=True, encoding="utf-8",
                          env={**os.environ, "EXAMPLE_IMAGES": "60", "PYTHONIOENCODING": "utf-8"})
    assert done.returncode == 0, done.stderr
    assert "val_accuracy" in done.stdout
    assert "This image most likely shows a " in done.stdout


HOMEWORK = [path.stem for path in sorted((EXAMPLES / "homework").glob("*.py"))
            if not path.stem.endswith(("_keras", "_torch"))]
PICTURES = {"autoencoder": 1, "early_stopping": 1, "gan": 1, "grad_cam": 1, "own_callback": 1, "unet": 1}


@pytest.mark.parametrize("name", HOMEWORK)
def test_homework(name, monkeypatch, tmp_path, capsys):
    """Each script trains, writes its pictures, and ends with a number; here with one epoch and few images."""
    pytest.importorskip("matplotlib").use("agg")
    pytest.importorskip("PIL")
    (x_train, y_train), (x_test, y_test) = datasets.digits.load_data()
    monkeypatch.setattr(datasets.digits, "load_data", lambda: ((x_train[:256], y_train[:256]),
                                                               (x_test[:64], y_test[:64])))
    fit = inspect.getattr_static(models.Model, "fit")
    monkeypatch.setattr(models.Model, "fit", lambda self, *arguments, **keywords: fit.__get__(self, models.Model)(
        *arguments, **{**keywords, "epochs": 1}))
    monkeypatch.chdir(tmp_path)
    runpy.run_path(str(EXAMPLES / "homework" / f"{name}.py"), run_name="__main__")
    last = capsys.readouterr().out.splitlines()[-1]
    assert 0 <= float(re.fullmatch(r"[a-z :-]+ (\d\.\d{4})", last)[1]) <= 1
    assert len(list(tmp_path.glob("*.png"))) == PICTURES.get(name, 0)
