"""Model files: what is written is read again, and what cannot be read says why."""

import json
import os

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

import autoconv as ac
from autoconv import functional as F
from autoconv import initializers, layers, models


@pytest.fixture
def model():
    return models.Sequential([
        layers.Input((8, 8, 1)),
        layers.Conv2D(3, 3, activation="relu", kernel_initializer=initializers.HeNormal(seed=1)),
        layers.BatchNormalization(), layers.MaxPooling2D(), layers.Flatten(), layers.Dropout(0.5),
        layers.Dense(4, "softmax", name="answer"),
    ], name="small")


X = np.random.default_rng(0).random((5, 8, 8, 1), np.float32)


def test_a_saved_model_comes_back_with_its_layers_names_and_weights(model, tmp_path):
    model(X, training=True)  # moves the averages
    model.layers[0].trainable = False
    model.save(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors")
    assert again.get_config() == model.get_config()
    assert (again(X).numpy() == model(X).numpy()).all()
    assert all((a == b).all() for a, b in zip(again.get_weights(), model.get_weights()))
    assert len(again.trainable_weights) == len(model.trainable_weights)


def test_other_programs_can_read_the_file(model, tmp_path):
    model.save(str(tmp_path / "m.safetensors"))
    with safe_open(tmp_path / "m.safetensors", framework="numpy") as file:
        assert file.get_tensor("conv2d/kernel").shape == (3, 3, 1, 3)
        metadata = file.metadata()
    assert metadata["autoconv"] == ac.__version__
    assert json.loads(metadata["model"])["class_name"] == "Sequential"


def test_weights_fit_an_equal_model_whatever_its_layers_are_called(model, tmp_path):
    path = tmp_path / "m.weights.safetensors"
    model.save_weights(path)
    other = models.Sequential.from_config(model.get_config())
    other.layers[0].name = "another"
    other.load_weights(path)
    assert (other(X).numpy() == model(X).numpy()).all()
    model.save(tmp_path / "whole.safetensors")
    other.set_weights([w * 0 for w in other.get_weights()])
    other.load_weights(tmp_path / "whole.safetensors")
    assert (other(X).numpy() == model(X).numpy()).all()


def test_float64_and_nested_models(tmp_path):
    inner = models.Sequential([layers.Dense(3, "tanh", dtype="float64")])
    model = models.Sequential([layers.Input((5,)), inner, layers.Dense(2, dtype="float64")])
    model.save(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors")
    x = np.random.default_rng(0).random((4, 5))
    assert again.get_weights()[0].dtype == np.float64
    assert (again(x).numpy() == model(x).numpy()).all()


class Doubled(layers.Layer):
    def __init__(self, inner, factor=2.0, **kwargs):
        super().__init__(**kwargs)
        self.inner, self.factor = inner, factor

    def call(self, x):
        return self.inner(x) * self.factor


def test_layers_of_one_s_own_come_back_by_custom_objects(tmp_path):
    model = models.Sequential([layers.Input((5,)), Doubled(layers.Dense(3), factor=3.0)])
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match=r"Unknown class 'Doubled'.*custom_objects={'Doubled': Doubled}"):
        models.load_model(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors", custom_objects={"Doubled": Doubled})
    assert again.layers[0].factor == 3.0
    assert (again(np.ones((2, 5))).numpy() == model(np.ones((2, 5))).numpy()).all()


def test_a_function_without_a_name_cannot_be_saved_and_one_of_ours_can(tmp_path):
    lambdas = models.Sequential([layers.Input((5,)), layers.Dense(3, activation=lambda x: x * 2)])
    with pytest.raises(ValueError, match="Pass a function by name"):
        lambdas.save(tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []
    models.Sequential([layers.Input((5,)), layers.Dense(3, activation=F.relu)]).save(tmp_path / "m.safetensors")
    assert models.load_model(tmp_path / "m.safetensors").layers[0].activation is F.relu


def test_a_failed_write_leaves_the_old_file_and_nothing_else(model, tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    model.save(path)
    before = path.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    model.set_weights([w + 1 for w in model.get_weights()])
    with pytest.raises(OSError, match="No space left"):
        model.save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_not_replaced_against_the_user_s_will(model, tmp_path):
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        model.save(tmp_path / "m.safetensors", overwrite=False)
    model.save(tmp_path / "m.safetensors")


def test_a_folder_that_is_not_there_is_named(model, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no folder .*nowhere' to write 'm\.safetensors'"):
        model.save(tmp_path / "nowhere" / "m.safetensors")


@pytest.mark.parametrize("name", ["m.keras", "m.h5", "m", "m.safetensors.bak"])
def test_other_suffixes_are_answered_with_the_one_there_is(model, tmp_path, name):
    for method in (model.save, model.save_weights, model.load_weights, models.load_model):
        with pytest.raises(ValueError, match=r"must end in \.safetensors"):
            method(tmp_path / name)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_files_are_recognised(model, tmp_path, keep):
    path = tmp_path / "m.safetensors"
    model.save(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        models.load_model(path)
    with pytest.raises(ValueError, match="cannot be read as safetensors"):
        model.load_weights(path)


def test_files_of_others_are_recognised(model, tmp_path):
    path = tmp_path / "m.safetensors"
    save_file({"weight": np.ones(3)}, path)
    with pytest.raises(ValueError, match="not written by autoconv"):
        models.load_model(path)
    save_file({"weight": np.ones(3)}, path, {"autoconv": "9", "model": "[1"})
    with pytest.raises(ValueError, match=r"architecture in .* cannot be read"):
        models.load_model(path)
    model.save_weights(path)
    with pytest.raises(ValueError, match="holds weights only"):
        models.load_model(path)
    with pytest.raises(FileNotFoundError, match="no model file"):
        models.load_model(tmp_path / "other.safetensors")


def test_weights_that_do_not_fit_are_named_and_change_nothing(model, tmp_path):
    path = tmp_path / "m.safetensors"
    models.Sequential([layers.Input((8, 8, 1)), layers.Conv2D(2, 3)]).save_weights(path)
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"conv2d/kernel: the model has \(3, 3, 1, 3\), the file") as caught:
        model.load_weights(path)
    assert "dense/kernel: the model has (27, 4), the file none" in str(caught.value)
    assert all((a == b).all() for a, b in zip(before, model.get_weights()))


def test_a_model_that_is_not_built_has_no_weights_to_write_or_read(model, tmp_path):
    unbuilt = models.Sequential([layers.Dense(2)])
    for method in (unbuilt.save, unbuilt.save_weights):
        with pytest.raises(ValueError, match=r"build\("):
            method(tmp_path / "m.safetensors")
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match=r"build\("):
        unbuilt.load_weights(tmp_path / "m.safetensors")
