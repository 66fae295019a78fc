"""Files of Keras 2. Keras 2.15 wrote those in data/keras2, and what it goes on to do with them; others are written here
in its form: configurations with what Keras 3 does not have, and a group of weights for each layer.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from autoconv import layers, models

h5py = pytest.importorskip("h5py")

WRITTEN = Path(__file__).parents[1] / "data" / "keras2"
EXPECTED = json.loads((WRITTEN / "expected.json").read_text())
X, TARGETS = np.random.default_rng(0).random((6, 5), np.float32), np.random.default_rng(1).random((6, 3), np.float32)


def layer(kind, name, calls=None, **config):
    """A layer in Keras 2's form; with `calls` one of a graph, of lists [name, node, output, kwargs]."""
    made = {"class_name": kind, "config": {"name": name, "trainable": True, "dtype": "float32", **config}}
    return made if calls is None else {**made, "name": name, "inbound_nodes": calls}


def begin(name, *shape, calls=True):
    made = {"class_name": "InputLayer", "config": {
        "batch_input_shape": [None, *shape], "dtype": "float32", "sparse": False, "ragged": False, "name": name}}
    return {**made, "name": name, "inbound_nodes": []} if calls else made


def graph(name, layers, inputs, outputs, calls=None):
    made = {"class_name": "Functional", "config": {"name": name, "trainable": True, "layers": layers,
                                                   "input_layers": inputs, "output_layers": outputs}}
    return made if calls is None else {**made, "name": name, "inbound_nodes": calls}


def sequential(name, *layers):
    return {"class_name": "Sequential", "config": {"name": name, "layers": list(layers)}}


def write(path, config, weights, training=None, slots=None, version="2.15.0"):
    """weights: of each layer a dict of arrays by their names; slots: the optimizer's variables."""
    with h5py.File(path, "w") as file:
        file.attrs.update({"backend": "tensorflow", "keras_version": version, "model_config": json.dumps(config)})
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = list(weights)
        for name, arrays in weights.items():
            fill(group.create_group(name), arrays)
        if training is not None:
            file.attrs["training_config"] = json.dumps(training)
            fill(file.create_group("optimizer_weights"), slots or {})
    return path


def fill(group, arrays):
    group.attrs["weight_names"] = list(arrays)
    for name, value in arrays.items():
        group[name] = np.asarray(value, np.int64 if name.endswith(("iter:0", "iteration:0")) else np.float32)


def dense(name, inputs, units, seed=0):
    rng = np.random.default_rng(seed)
    return {f"{name}/kernel:0": rng.random((inputs, units)), f"{name}/bias:0": rng.random(units)}


def values(arrays):
    return [np.asarray(value, np.float32) for value in arrays.values()]


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_what_keras_2_wrote_predicts_and_goes_on_training(name):
    model, expected = models.load_model(WRITTEN / f"{name}.h5"), EXPECTED[name]
    x = np.random.default_rng(0).random((3, 8, 8, 3), np.float32) * 255 if name == "transfer" else X
    np.testing.assert_allclose(model.predict(x, verbose=0), expected["predictions"], atol=1e-5)
    parts = [slice(i % 3 * 2, i % 3 * 2 + 2) for i in range(len(expected.get("losses", ())))]
    losses = [float(model.train_on_batch(X[part], TARGETS[part])[0]) for part in parts]
    np.testing.assert_allclose(losses, expected.get("losses", []), rtol=1e-4)


def test_a_frozen_base_is_called_as_in_inference_also_in_training():
    model = models.load_model(WRITTEN / "transfer.h5")
    base = model.get_layer("base")
    assert not any(weight.trainable for weight in base.weights)
    assert model.graph.records()["layers"][-3]["inbound_nodes"][0]["kwargs"] == {"training": False}


@pytest.mark.parametrize("suffix", [".h5", ".hdf5"])
@pytest.mark.parametrize("with_input", [True, False, "list"])
def test_batch_input_shape(tmp_path, suffix, with_input):
    first, second = dense("a", 4, 3), dense("b", 3, 2, 1)
    chain = [layer("Dense", "a", units=3, batch_input_shape=[None, 4]), layer("Dense", "b", units=2)]
    config = sequential("net", *([begin("a_input", 4, calls=False)] if with_input is True else []), *chain)
    if with_input == "list":  # before Keras 2.2.3
        config["config"] = chain
    model = models.load_model(write(tmp_path / f"m{suffix}", config, {"a": first, "b": second}))
    x = np.ones((2, 4), np.float32)
    (k1, b1), (k2, b2) = values(first), values(second)
    np.testing.assert_allclose(model.predict(x, verbose=0), (x @ k1 + b1) @ k2 + b2, rtol=1e-5)
    model.save(tmp_path / "again.hdf5")
    np.testing.assert_array_equal(models.load_model(tmp_path / "again.hdf5").predict(x), model.predict(x))


@pytest.mark.parametrize(("kind", "config", "found"), [
    ("BatchNormalization", {"axis": [3]}, {"axis": 3}),
    ("LeakyReLU", {"alpha": 0.2}, {"negative_slope": 0.2}),
    ("ThresholdedReLU", {"theta": 0.5}, {"threshold": 0.5, "max_value": None}),
    ("SpatialDropout2D", {"rate": 0.2, "noise_shape": None, "seed": None}, {"rate": 0.2}),
    ("DepthwiseConv2D", {"kernel_size": [2, 2], "groups": 1}, {"kernel_size": (2, 2)}),
    ("Conv2DTranspose", {"filters": 2, "kernel_size": [2, 2], "groups": 1}, {"filters": 2}),
    ("SeparableConv2D", {"filters": 2, "kernel_size": [2, 2], "groups": 1, "kernel_regularizer": None,
                         "kernel_constraint": None, "kernel_initializer": {
                             "class_name": "GlorotUniform", "config": {"seed": None}}}, {"filters": 2}),
    ("Conv2D", {"filters": 2, "kernel_size": [2, 2], "groups": 1, "dtype": {
        "class_name": "Policy", "config": {"name": "float32"}}, "kernel_initializer": {
            "class_name": "Ones", "config": {"dtype": "float32"}}}, {"groups": 1, "dtype": "float32"})])
def test_renamed_and_dropped_arguments(kind, config, found):
    made = sequential("net", begin("x", 4, 4, 2, calls=False), layer(kind, "a/b", **config))
    own = models.model_from_json(json.dumps(made)).layers[0]
    assert own.name == "a_b"
    assert {name: getattr(own, name) for name in found} == found


def test_an_argument_that_would_change_the_result_is_refused():
    made = sequential("net", begin("x", 4, 4, 2, calls=False),
                      layer("DepthwiseConv2D", "a", kernel_size=[2, 2], groups=2))
    with pytest.raises(ValueError, match="groups=2"):
        models.model_from_json(json.dumps(made))


class TestModelsWithin:
    """Keras 2 counts the calls of a model within from 1."""

    def test_a_model_that_is_the_output(self, tmp_path):
        g = graph("g", [begin("z", 4), layer("Dense", "a", [[["z", 0, 0, {}]]], units=3)], [["z", 0, 0]], [["a", 0, 0]],
                  [[["x", 0, 0, {}]]])
        d = {**sequential("d", begin("i", 3, calls=False), layer("Dense", "b", units=2)), "name": "d",
             "inbound_nodes": [[["g", 1, 0, {"training": False}]]]}
        first, second = dense("a", 4, 3), dense("b", 3, 2, 1)
        gan = graph("gan", [begin("x", 4), g, d], [["x", 0, 0]], [["d", 1, 0]])
        model = models.load_model(write(tmp_path / "m.h5", gan, {"x": {}, "g": first, "d": second}))
        x = np.ones((2, 4), np.float32)
        (k1, b1), (k2, b2) = values(first), values(second)
        np.testing.assert_allclose(model.predict(x, verbose=0), (x @ k1 + b1) @ k2 + b2, rtol=1e-5)

    @pytest.mark.parametrize("kind", ["Functional", "Sequential"])
    def test_one_that_is_called_three_times(self, tmp_path, kind):
        inner = [begin("z", 2), layer("Dense", "a", [[["z", 0, 0, {}]]], units=2)]
        calls = [[["x", 0, 0, {}]], [["f", 1, 0, {}]], [["f", 2, 0, {}]]]
        f = graph("f", inner, [["z", 0, 0]], [["a", 0, 0]], calls) if kind == "Functional" else {
            **sequential("f", begin("z", 2, calls=False), layer("Dense", "a", units=2)), "name": "f",
            "inbound_nodes": calls}
        last = layer("Add", "add", [[["f", 3, 0, {}], ["f", 1, 0, {}]]])
        weights = dense("a", 2, 2)
        net = graph("net", [begin("x", 2), f, last], [["x", 0, 0]], [["add", 0, 0], ["f", 2, 0]])
        model = models.load_model(write(tmp_path / "m.h5", net, {"f": weights}))
        x, (kernel, bias) = np.ones((2, 2), np.float32), values(weights)
        once = x @ kernel + bias
        twice = once @ kernel + bias
        found = model.predict(x, verbose=0)
        np.testing.assert_allclose(found[0], twice @ kernel + bias + once, rtol=1e-5)
        np.testing.assert_allclose(found[1], twice, rtol=1e-5)

    def test_weights_of_a_partly_frozen_one(self, tmp_path):
        """Keras writes the weights that are trained first, whatever their layers' order."""
        frozen = layer("Dense", "a", units=2, trainable=False)
        base = sequential("base", begin("z", 2, calls=False), frozen, layer("Dense", "b", units=2))
        first, second = dense("a", 2, 2), dense("b", 2, 2, 1)
        path = write(tmp_path / "m.h5", sequential("net", begin("x", 2, calls=False), base), {
            "base": {**second, **first}})
        model = models.load_model(path)
        for weight, value in zip(model.get_weights(), [*values(first), *values(second)]):
            assert any(np.array_equal(weight, each) for each in (value, *values(second), *values(first)))
        inner = model.layers[0].layers
        np.testing.assert_array_equal(inner[0].get_weights()[0], values(first)[0])
        np.testing.assert_array_equal(inner[1].get_weights()[0], values(second)[0])
        free = models.Sequential([layers.Input((2,)), models.Sequential([
            layers.Input((2,)), layers.Dense(2, name="a"), layers.Dense(2, name="b")], name="base")])
        free.load_weights(path)  # nothing is frozen here: by their names
        np.testing.assert_array_equal(free.layers[0].layers[0].get_weights()[0], values(first)[0])


OPTIMIZER = {"name": "Adam", "learning_rate": 0.01, "beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-7, "amsgrad": False}
NEW = {"weight_decay": None, "clipnorm": None, "global_clipnorm": None, "clipvalue": None, "use_ema": False,
       "ema_momentum": 0.99, "ema_overwrite_frequency": None, "jit_compile": True, "is_legacy_optimizer": False}


class TestTraining:
    def load(self, path, optimizer, slots=None, loss="mse", metrics=None):
        config = sequential("net", begin("x", 3, calls=False), layer("Dense", "a", units=2))
        training = {"loss": loss, "metrics": metrics, "weighted_metrics": None, "loss_weights": None,
                    **({} if optimizer is None else {"optimizer_config": optimizer})}
        return models.load_model(write(path / "m.h5", config, {"a": dense("a", 3, 2)}, training, slots))

    def test_the_slots_of_both_kinds_of_optimizers(self, tmp_path):
        m, v, (mb, vb) = np.full((3, 2), 0.1), np.full((3, 2), 0.2), (np.full(2, 0.3), np.full(2, 0.4))
        new = {"iteration:0": 5, "Adam/m/a/kernel:0": m, "Adam/v/a/kernel:0": v, "Adam/m/a/bias:0": mb,
               "Adam/v/a/bias:0": vb}
        old = {"Adam/iter:0": 5, "Adam/a/kernel/m:0": m, "Adam/a/bias/m:0": mb, "Adam/a/kernel/v:0": v,
               "Adam/a/bias/v:0": vb}
        for config, slots in (({"class_name": "Custom>Adam", "config": {**OPTIMIZER, **NEW}}, new),
                              ({"class_name": "Adam", "config": {**OPTIMIZER, "decay": 0.0}}, old)):
            state = self.load(tmp_path, config, slots).optimizer.get_state()
            assert (state["iterations"], state["learning_rate"]) == (5, 0.01)
            for key, value in {"momentum/0": m, "velocity/0": v, "momentum/1": mb, "velocity/1": vb}.items():
                np.testing.assert_array_equal(state[key], value.astype(np.float32))

    def test_an_optimizer_that_is_not_understood_starts_anew(self, tmp_path):
        slots = {"Adam/iterations:0": 3, "training/Adam/Variable:0": np.zeros((3, 2)),
                 "training/Adam/Variable_1:0": np.zeros(2)}
        with pytest.warns(UserWarning, match="starts from scratch"):
            model = self.load(tmp_path, {"class_name": "Adam", "config": {**OPTIMIZER, "decay": 0.0}}, slots)
        assert model.optimizer.iterations == 0

    def test_decay_is_a_schedule(self, tmp_path):
        config = {"class_name": "SGD", "config": {"name": "SGD", "lr": 0.5, "decay": 0.25, "momentum": 0.0}}
        model = self.load(tmp_path, config, {"SGD/iter:0": 4})
        assert float(model.optimizer.learning_rate) == pytest.approx(0.5 / (1 + 0.25 * 4))

    def test_losses_and_metrics(self, tmp_path):
        loss = {"class_name": "Huber", "config": {"reduction": "auto", "name": "huber_loss", "delta": 0.5,
                                                  "fn": "huber"}}
        metrics = [[{"class_name": "MeanMetricWrapper", "config": {"name": name, "dtype": "float32", "fn": function}}
                    for name, function in (("acc", "categorical_accuracy"), ("a_mae", "mean_absolute_error"))]]
        model = self.load(tmp_path, {"class_name": "SGD", "config": {"name": "SGD", "learning_rate": 0.1}}, None, loss,
                          metrics)
        assert (model.loss.reduction, model.loss.delta) == ("sum_over_batch_size", 0.5)
        found = model.evaluate(np.ones((2, 3), np.float32), np.eye(2, dtype=np.float32), verbose=0, return_dict=True)
        assert list(found) == ["loss", "acc", "mae"]

    def test_a_training_without_an_optimizer(self, tmp_path):
        model = self.load(tmp_path, None)
        assert type(model.optimizer).__name__ == "RMSprop"  # compile()'s own


def test_what_has_other_values_since_is_warned_of(tmp_path):
    config = sequential("net", begin("x", 3, calls=False), layer("Dense", "a", units=2, activation="hard_sigmoid"))
    with pytest.warns(UserWarning, match="hard_sigmoid was"):
        models.load_model(write(tmp_path / "m.h5", config, {"a": dense("a", 3, 2)}))


def test_a_lambda_is_refused(tmp_path):
    config = sequential("net", begin("x", 3, calls=False), layer("Lambda", "a", function=["4wE=", None, None],
                                                                 function_type="lambda", module="__main__"))
    with pytest.raises(ValueError, match="never run"):
        models.load_model(write(tmp_path / "m.h5", config, {}))
