"""Model files: what is written is read again, and what cannot be read says why."""

import json
import os
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import autoconv as ac
from autoconv import callbacks, formats, initializers, layers, losses, metrics, models, optimizers, utils
from autoconv import functional as F


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
    with pytest.raises(ValueError, match=r"Could not locate class 'Doubled'.*custom_objects={'Doubled': Doubled}"):
        models.load_model(tmp_path / "m.safetensors")
    again = models.load_model(tmp_path / "m.safetensors", custom_objects={"Doubled": Doubled})
    assert again.layers[0].factor == 3.0
    assert (again(np.ones((2, 5))).numpy() == model(np.ones((2, 5))).numpy()).all()


def test_a_function_without_a_name_cannot_be_saved_and_one_of_ours_can(tmp_path):
    lambdas = models.Sequential([layers.Input((5,)), layers.Dense(3, activation=lambda x: x * 2)])
    with pytest.raises(ValueError, match="Pass the name of an activation"):
        lambdas.save(tmp_path / "m.safetensors")
    assert list(tmp_path.iterdir()) == []
    models.Sequential([layers.Input((5,)), layers.Dense(3, activation=F.relu)]).save(tmp_path / "m.safetensors")
    assert models.load_model(tmp_path / "m.safetensors").layers[0].activation is F.relu


def test_automatic_names_go_on_after_those_of_a_file(tmp_path):
    utils.clear_session()
    models.Sequential([layers.Input((5,)), layers.Dense(3), layers.Dense(4)]).save(tmp_path / "m.safetensors")
    utils.clear_session()  # as in another process
    again = models.load_model(tmp_path / "m.safetensors")
    again.pop()
    again.add(layers.Dense(5))
    assert [layer.name for layer in again.layers] == ["dense", "dense_2"]
    again.add(layers.Dense(6))
    assert [layer.name for layer in models.Sequential([layers.Input((5,)), layers.ReLU()]).layers] == ["re_lu"]


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


@pytest.mark.parametrize("name", ["m.safetensors", "m.keras", "m.h5", "m.weights.h5"])
def test_folders_that_are_missing_are_made(model, tmp_path, name):
    path = tmp_path / "not" / "there" / name
    (model.save_weights if ".weights" in name else model.save)(path)
    assert path.is_file()
    with pytest.raises(FileExistsError):
        model.save(path / "m.safetensors")


@pytest.mark.parametrize("name", ["m.onnx", "m.hdf", "m", "m.safetensors.bak"])
def test_other_suffixes_are_answered_with_the_one_there_is(model, tmp_path, name):
    for method in (model.save, model.save_weights, model.load_weights, models.load_model):
        with pytest.raises(ValueError, match=r"must end in one of \.safetensors, \.keras, \.h5, \.hdf5"):
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
    with pytest.raises(ValueError, match="contains only weights"):
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
    with pytest.raises(ValueError, match=r"build\("):
        unbuilt.save_weights(tmp_path / "m.safetensors")
    model.save(tmp_path / "m.safetensors")
    with pytest.raises(ValueError, match=r"build\("):
        unbuilt.load_weights(tmp_path / "m.safetensors")


@utils.register_keras_serializable("formats")
def doubled(x):
    return 2 * x


@utils.register_keras_serializable("formats")
class Scaled(layers.Layer):
    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.units, self.dense = units, layers.Dense(units)
        self.blocks = [layers.Dense(units, "relu"), [layers.Dense(units)]]

    def build(self, shape):
        self.scale = self.add_weight((self.units,), "ones", name="scale")

    def call(self, x):
        return self.blocks[1][0](self.blocks[0](self.dense(x))) * self.scale


@utils.register_keras_serializable("formats")
class Own(models.Model):
    def __init__(self, units=3):
        super().__init__()
        self.first, self.last = Scaled(units), layers.Dense(2)
        self.noise = layers.Dropout(0.2, seed=4)

    def call(self, x, training=False):
        return self.last(self.noise(self.first(x), training=training))


@utils.register_keras_serializable("formats")
class Chain(models.Sequential):
    pass


OWN = {
    "class": lambda: Own(4), "layer within": lambda: models.Sequential([layers.Input((5,)), Scaled(2)]),
    "model within": lambda: models.Sequential([layers.Input((5,)), layers.Dense(4), Own()]),
    "lambda": lambda: models.Sequential([layers.Input((5,)), layers.Lambda(doubled), layers.Dense(2)]),
    "subclass": lambda: Chain([layers.Input((5,)), layers.Dense(2)])}


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
@pytest.mark.parametrize("name", OWN)
def test_models_of_registered_classes_and_functions_go_on_after_loading(name, suffix, tmp_path):
    if suffix != ".safetensors":
        pytest.importorskip("h5py")
    model = OWN[name]()
    model.compile("adam", "mse")
    x, y = np.random.default_rng(0).random((8, 5), np.float32), np.ones((8, 2), np.float32)
    model.fit(x, y, batch_size=4, verbose=0, shuffle=False)
    if (name, suffix) == ("class", ".h5"):
        with pytest.raises(ValueError, match="Received: Own, a class with its own call"):
            model.save(tmp_path / f"m{suffix}")
        return
    model.save(tmp_path / f"m{suffix}")
    again = models.load_model(tmp_path / f"m{suffix}")
    assert type(again) is type(model)
    losses_ = [each.fit(x, y, batch_size=4, verbose=0, shuffle=False).history["loss"] for each in (model, again)]
    assert losses_[0] == losses_[1]


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
@pytest.mark.parametrize("make", [OWN["class"], lambda: models.Sequential([layers.Dense(2)])], ids=["class", "chain"])
def test_a_model_that_was_never_called_is_saved_with_what_it_has(make, suffix, tmp_path):
    if suffix != ".safetensors":
        pytest.importorskip("h5py")
    model = make()
    if isinstance(model, Own) and suffix == ".h5":
        return
    with pytest.warns(UserWarning, match="not yet been built") as warned:
        model.save(tmp_path / f"m{suffix}")
    assert warned[0].filename == __file__
    again = models.load_model(tmp_path / f"m{suffix}")
    assert type(again) is type(model)
    assert again(np.ones((3, 5), np.float32)).shape == (3, 2)


@pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
def test_a_model_that_cannot_be_saved_is_refused_before_training(suffix, tmp_path):
    if suffix != ".safetensors":
        pytest.importorskip("h5py")
    model = models.Sequential([layers.Input((5,)), layers.Lambda(lambda x: x * 2), layers.Dense(2)])
    model.compile("adam", "mse")
    before = model.get_weights()
    with pytest.raises(ValueError, match="lambda"):
        model.fit(np.ones((4, 5)), np.ones((4, 2)), verbose=0,
                  callbacks=[callbacks.ModelCheckpoint(tmp_path / f"m{suffix}")])
    assert all((a == b).all() for a, b in zip(before, model.get_weights()))


class TestTraining:
    """A file holds the training of a compiled model, which goes on where it stood."""

    X = np.random.default_rng(1).random((20, 6), np.float32)
    Y = np.random.default_rng(2).integers(3, size=20)

    def trained(self, optimizer="adam", **compiled):
        model = models.Sequential([layers.Input((6,)), layers.Dense(5, "relu"), layers.Dense(3, "softmax")])
        model.compile(optimizer, **{"loss": "sparse_categorical_crossentropy", "metrics": ["accuracy"], **compiled})
        model.fit(self.X, self.Y, batch_size=4, verbose=0, shuffle=False)
        return model

    def go_on(self, model, epochs=2):
        return model.fit(self.X, self.Y, batch_size=4, epochs=epochs, verbose=0, shuffle=False).history

    @pytest.mark.parametrize("optimizer", [
        "adam", optimizers.SGD(0.1, momentum=0.9), optimizers.RMSprop(0.01, centered=True),
        optimizers.Nadam(optimizers.schedules.ExponentialDecay(0.1, 3, 0.5)), optimizers.AdamW(use_ema=True),
    ], ids=["adam", "momentum", "centered", "scheduled", "averages"])
    def test_training_goes_on_with_the_same_losses(self, optimizer, tmp_path):
        model = self.trained(optimizer)
        model.save(tmp_path / "m.safetensors")
        again = models.load_model(tmp_path / "m.safetensors")
        assert type(again.optimizer) is type(model.optimizer)
        assert again.optimizer.iterations == model.optimizer.iterations == 5
        assert self.go_on(again) == self.go_on(model)

    @pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
    @pytest.mark.parametrize("change", ["freeze a layer", "freeze all", "pop", "average", "nothing"])
    def test_a_model_that_was_changed_after_training_goes_on_the_same(self, change, suffix, tmp_path):
        if suffix != ".safetensors":
            pytest.importorskip("h5py")
        model = self.trained("nadam")
        if change.startswith("freeze"):
            (model if change == "freeze all" else model.layers[0]).trainable = False
        if change == "pop":
            model.pop()
        model.optimizer.use_ema = change == "average"
        model.save(tmp_path / f"m{suffix}")
        again = models.load_model(tmp_path / f"m{suffix}")
        state, other = (each.optimizer.get_state(each.trainable_weights) for each in (model, again))
        assert state.keys() == other.keys()
        assert state["iterations"] == 5
        assert len(state) == 2 + (2 + (change == "average")) * len(model.trainable_weights)
        assert all((state[key] == other[key]).all() for key in state)
        assert [w.trainable for w in again.weights] == [w.trainable for w in model.weights]

    @pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
    def test_layers_with_seeds_of_their_own_go_on_drawing(self, suffix, tmp_path):
        if suffix != ".safetensors":
            pytest.importorskip("h5py")
        model = models.Sequential([
            layers.Input((4, 4, 2)), layers.RandomFlip(seed=5), layers.GaussianNoise(0.3, seed=2),
            models.Sequential([layers.Dropout(0.5, seed=3)]), layers.Dropout(0.5), layers.Flatten(), layers.Dense(3)])
        model.compile("adam", "mse")
        x, y = np.random.default_rng(0).random((12, 4, 4, 2), np.float32), np.ones((12, 3), np.float32)
        model.fit(x, y, batch_size=4, verbose=0, shuffle=False)
        model.save(tmp_path / f"m{suffix}")
        again = models.load_model(tmp_path / f"m{suffix}")
        found = []
        for each in (model, again):
            utils.set_random_seed(0)
            found.append(each.fit(x, y, batch_size=4, verbose=0, shuffle=False).history["loss"])
        assert found[0] == found[1]
        if suffix == ".keras":
            again.load_weights(tmp_path / f"m{suffix}")  # back to where it stood
            assert again.layers[2].layers[0].seed_generator.state.numpy().tolist() == [3, 3]

    @pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
    @pytest.mark.parametrize(("change", "reason"), [
        (lambda m: vars(m.layers[0]).update(use_bias=False),
         "under the name 'bias' the layer has a weight of shape .5,. and dtype float32, but its"),
        (lambda m: setattr(m.layers[0].kernel, "trainable", False), "trainable=True for its weight 'kernel'"),
        (lambda m: [setattr(m.optimizer, name, 1.0) for name in ("clipnorm", "clipvalue")], "Only one of clipnorm"),
    ], ids=["use_bias", "weight", "clips"])
    def test_what_would_come_back_changed_is_refused(self, change, reason, suffix, tmp_path):
        if suffix != ".safetensors":
            pytest.importorskip("h5py")
        model = self.trained()
        change(model)
        with pytest.raises(ValueError, match=f"A saved file must restore the model exactly.*{reason}"):
            model.save(tmp_path / f"m{suffix}")
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("suffix", [".safetensors", ".keras", ".h5"])
    def test_a_layer_that_was_added_after_training_needs_a_new_optimizer(self, suffix, tmp_path):
        if suffix != ".safetensors":
            pytest.importorskip("h5py")
        model = self.trained()
        model.add(layers.Dense(3, "softmax"))
        with pytest.warns(UserWarning, match="without its state: .*Call compile") as warned:
            model.save(tmp_path / f"m{suffix}")
        assert [each.filename for each in warned] == [__file__]
        again = models.load_model(tmp_path / f"m{suffix}")
        assert again.optimizer.iterations == 0
        assert self.go_on(again)["loss"]

    @pytest.mark.parametrize("compiled", [
        {"loss": losses.SparseCategoricalCrossentropy(ignore_class=2),
         "metrics": [metrics.SparseCategoricalAccuracy()]},
        {"weighted_metrics": ["accuracy"], "metrics": None}, {"metrics": {"dense_1": ["accuracy"]}},
        {"loss": {"dense_1": "sparse_categorical_crossentropy"}, "loss_weights": {"dense_1": 0.5}, "metrics": []},
        {"loss": ["sparse_categorical_crossentropy"], "loss_weights": [2.0], "run_eagerly": True},
    ], ids=["objects", "weighted", "metrics by name", "losses by name", "lists"])
    def test_compile_is_as_it_was(self, compiled, tmp_path):
        utils.clear_session()  # so that the layers are dense and dense_1
        model = self.trained(**compiled)
        model.save(tmp_path / "m.safetensors")
        again = models.load_model(tmp_path / "m.safetensors")
        configs = [each.get_compile_config() for each in (again, model)]
        for config in configs:
            config["optimizer"]["config"].pop("name")  # a number of the process
        assert configs[0] == configs[1]
        assert again.evaluate(self.X, self.Y, verbose=0) == model.evaluate(self.X, self.Y, verbose=0)

    def test_a_model_that_is_not_compiled_stays_so(self, model, tmp_path):
        model.save(tmp_path / "m.safetensors")
        assert models.load_model(tmp_path / "m.safetensors").optimizer is None
        self.trained().save(tmp_path / "t.safetensors")
        assert models.load_model(tmp_path / "t.safetensors", compile=False).optimizer is None

    def test_slots_are_named_after_weights(self, tmp_path):
        self.trained().save(tmp_path / "m.safetensors")
        with safe_open(tmp_path / "m.safetensors", framework="numpy") as file:
            slots = [name for name in file.keys() if name.startswith("optimizer.")]  # noqa: SIM118
        assert len(slots) == 8
        assert {name.partition("/")[2] for name in slots} == {"dense/bias", "dense/kernel", "dense_1/bias",
                                                              "dense_1/kernel"}

    def test_functions_of_ones_own(self, tmp_path):
        def halved(y_true, y_pred):
            return losses.sparse_categorical_crossentropy(y_true, y_pred) * 0.5

        self.trained(loss=halved).save(tmp_path / "m.safetensors")
        again = models.load_model(tmp_path / "m.safetensors", {"halved": halved})
        assert np.isfinite(again.evaluate(self.X, self.Y, verbose=0)).all()
        with pytest.raises(ValueError, match=r"loss identifier: 'halved'.*compile=False"):
            models.load_model(tmp_path / "m.safetensors")
        model = self.trained(loss=lambda t, p: losses.sparse_categorical_crossentropy(t, p))
        with pytest.warns(UserWarning, match="lambda cannot be serialized"):
            model.save(tmp_path / "l.safetensors")
        assert models.load_model(tmp_path / "l.safetensors").optimizer is None

    def test_the_folder_of_a_run_is_loaded(self, tmp_path):
        model = self.trained()
        model.save(tmp_path / "model.safetensors")
        np.testing.assert_array_equal(models.load_model(tmp_path).predict(self.X, verbose=0),
                                      model.predict(self.X, verbose=0))

    def test_code_is_never_run(self, tmp_path):
        with pytest.raises(ValueError, match="safe_mode"):
            models.load_model(tmp_path / "m.safetensors", safe_mode=False)


OLD = sorted((Path(__file__).parents[1] / "data" / "models").glob("*.safetensors"))


@pytest.mark.parametrize("path", OLD, ids=lambda path: path.stem)
def test_files_of_every_version_are_read(path):
    """The policy: what a version wrote, each later one reads. A file and its predictions for each version lie here."""
    expected = load_file(path.with_suffix(".predictions"))
    again = models.load_model(path)
    np.testing.assert_allclose(again.predict(expected["x"], verbose=0), expected["y"], rtol=1e-5, atol=1e-6)
    if again.optimizer is not None:
        again.fit(expected["x"], np.zeros(len(expected["x"])), verbose=0)


def test_this_version_has_a_file():
    assert f"{ac.__version__}" in [path.stem for path in OLD]


def test_arguments_of_older_versions_of_keras_are_answered(tmp_path):
    model = models.Sequential([layers.Input((4,)), layers.Dense(2)])
    for save in (model.save, model.save_weights, partial(models.save_model, model)):
        with pytest.raises(TypeError, match=r"no argument 'save_format'\. The file's suffix says the format: '"):
            save(tmp_path / "m.weights.h5", save_format="h5")
    with pytest.raises(TypeError, match=r"load_model\(filepath, compile=False\) leaves the optimizer out"):
        model.save(tmp_path / "m.keras", include_optimizer=False)
    assert not list(tmp_path.iterdir())


def test_files_for_other_programs_name_the_hash_of_the_weights(tmp_path):
    model = models.Sequential([layers.Input((4,)), layers.Dense(3)])
    model.save(tmp_path / "net.keras")
    with zipfile.ZipFile(tmp_path / "net.keras") as archive:
        assert json.loads(archive.read("metadata.json"))["weights_sha256"] == model.fingerprint()
    assert models.load_model(tmp_path / "net.keras").fingerprint() == model.fingerprint()
    pytest.importorskip("onnx")
    properties = {each.key: each.value for each in formats.to_onnx(model).metadata_props}
    assert properties == {"weights_sha256": model.fingerprint()}
