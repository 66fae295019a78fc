"""What `import autoconv` brings, and what it leaves for later."""

import importlib
import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import autoconv as ac

HEAVY = ["numba", "llvmlite", "pooch", "tqdm", "PIL", "click", "safetensors"]


def test_import_leaves_out_what_is_not_needed_yet():
    code = "import sys, autoconv; print(*sorted(m.partition('.')[0] for m in sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert "numpy" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_a_model_can_be_described_without_the_heavy_modules():
    code = (
        "import sys; from autoconv import layers as L, models\n"
        "m = models.Sequential([L.Conv2D(4, 3, activation='relu', kernel_initializer='zeros')])\n"
        "m.build((None, 8, 8, 1))\n"
        "print(*sorted(m.partition('.')[0] for m in sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()).isdisjoint(HEAVY)


def test_optimizers_is_the_module_optim_under_keras_name():
    from autoconv import optimizers

    assert optimizers is ac.optim
    assert importlib.import_module("autoconv.optimizers") is ac.optim
    assert importlib.import_module("autoconv.optimizers.schedules") is ac.optim.schedules


@pytest.mark.parametrize("name", sorted(ac.__all__))
def test_every_public_name_is_there(name):
    assert getattr(ac, name) is not None


def test_modules_answer_under_the_names_of_version_0_1():
    with pytest.warns(DeprecationWarning, match=r"autoconv\.device is autoconv\.backend\.device"):
        assert ac.device.get("cpu").name == "cpu"
    with pytest.raises(AttributeError, match="no attribute 'devise'"):
        ac.devise  # noqa: B018


@pytest.mark.parametrize(("module", "name", "near"), [
    ("autoconv", "Sequental", "Sequential"), ("autoconv.layers", "Conv2d", "Conv2D"),
    ("autoconv.models", "Modle", "Model"), ("autoconv.callbacks", "Earlystopping", "EarlyStopping"),
    ("autoconv.losses", "SparseCrossentropy", "SparseCategoricalCrossentropy"), ("autoconv.optimizers", "adam", "Adam"),
    ("autoconv.datasets", "minst", "mnist"), ("autoconv.datasets.mnist", "loaddata", "load_data"),
    ("autoconv.optimizers.schedules", "Cosine", "CosineDecay"), ("autoconv.utils", "to_categoricl", "to_categorical"),
    ("autoconv.functional", "max_pool", "max_pool2d"), ("autoconv.pictures", "convolv", "convolve"),
])
def test_a_misspelt_name_is_answered_with_the_nearest_one(module, name, near):
    said = rf"'{module}'\. Did you mean '{near}'\? It has: .*{near}"
    with pytest.raises(ImportError, match=rf"cannot import name '{name}' from {said}"):
        exec(f"from {module} import {name}", {})
    with pytest.raises(AttributeError, match=rf"has no attribute '{name}'\. Did you mean '{near}'"):
        getattr(importlib.import_module(module), name)
    assert not hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize("module", [m for m in map(ac.__dict__.get, ac.__all__) if inspect.ismodule(m)])
def test_every_public_module_says_what_it_has(module):
    with pytest.raises(AttributeError, match=r"has no attribute 'nothing'\..* It has: \w+"):
        module.nothing  # noqa: B018


def test_tensor_is_the_function_and_not_its_module():
    assert ac.tensor([1.0, 2.0]).shape == (2,)
    assert isinstance(ac.tensor(1.0), ac.Tensor)


def test_the_version_is_the_project_s():
    """The wheel has the version that stands in the package: there alone, on one line that hatchling reads."""
    root = Path(__file__).parents[1]
    settings = tomllib.loads((root / "pyproject.toml").read_text())
    source = root / settings["tool"]["hatch"]["version"]["path"]
    assert "version" in settings["project"]["dynamic"]
    assert re.findall(r'^__version__ = "(\d+\.\d+\.\d+\w*)"$', source.read_text(), re.MULTILINE) == [ac.__version__]
