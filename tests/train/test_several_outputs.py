"""Models of several inputs and outputs in fit, evaluate and predict: lists, dicts, losses, weights, metrics.

The expected numbers are Keras 3.15's for this net (on TensorFlow), but for the outputs' own losses: those Keras takes
as means over batches, whatever their size, and here they are means over samples, as the metrics are.
"""

import numpy as np
import pytest

from autoconv import layers, metrics, models, optimizers

RNG = np.random.default_rng(0)


def net():
    a, b = layers.Input((6,), name="a"), layers.Input((4,), name="b")
    h = layers.Concatenate()([layers.Dense(5, activation="tanh")(a), layers.Dense(5, activation="relu")(b)])
    classes = layers.Dense(3, activation="softmax", name="cls")(h)
    numbers = layers.Dense(2, name="reg")(layers.Add()([h, layers.Dense(10)(h)]))
    model = models.Model([a, b], [classes, numbers])
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(size=w.shape).astype("float32") * 0.3 for w in model.get_weights()])
    return model, rng


def data(rng):
    x = [rng.normal(size=(50, 6)).astype("float32"), rng.normal(size=(50, 4)).astype("float32")]
    return x, [rng.integers(0, 3, 50), rng.normal(size=(50, 2)).astype("float32")], rng.random(50).astype("float32")


LISTS = {"loss": ["sparse_categorical_crossentropy", "mse"], "loss_weights": [1.0, 0.5],
         "metrics": [["accuracy"], ["mae"]]}
DICTS = {"loss": {"cls": "sparse_categorical_crossentropy", "reg": "mse"}, "loss_weights": {"cls": 2.0, "reg": 0.3},
         "metrics": {"cls": ["accuracy"], "reg": ["mae", "mse"]}}
KERAS = {"lists": {"loss": [1.98489, 1.72913], "cls_accuracy": [0.3, 0.28], "reg_mae": [0.9769, 0.85193],
                   "val_loss": [1.83346, 1.61463], "val_cls_accuracy": [0.28, 0.38], "val_reg_mae": [0.92595, 0.7945]},
         "dicts": {"loss": [2.93284, 2.61518], "cls_accuracy": [0.3, 0.4], "reg_mse": [1.55822, 1.25684],
                   "val_loss": [2.66189, 2.48469], "val_reg_mae": [0.94613, 0.84914]}}


@pytest.mark.parametrize("form", ["lists", "dicts"])
def test_training_is_keras_s(form):
    model, rng = net()
    x, y, _ = data(rng)
    if form == "dicts":
        x, y = dict(zip("ab", x)), dict(zip(("cls", "reg"), y))
    model.compile(optimizers.SGD(0.1), **(LISTS if form == "lists" else DICTS))
    found = model.fit(x, y, batch_size=16, epochs=2, shuffle=False, verbose=0, validation_data=(x, y)).history
    for name, values in KERAS[form].items():
        np.testing.assert_allclose(found[name], values, atol=2e-5, err_msg=name)
    assert set(model.recording_report()["train"].values()) == {None}
    tested = model.evaluate(x, y, batch_size=16, verbose=0, return_dict=True)
    weights = (1.0, 0.5) if form == "lists" else (2.0, 0.3)
    assert tested["loss"] == pytest.approx(weights[0] * tested["cls_loss"] + weights[1] * tested["reg_loss"], rel=1e-6)
    assert list(tested)[:3] == ["loss", "cls_loss", "reg_loss"]
    assert model.evaluate(x, y, batch_size=16, verbose=0) == pytest.approx(list(tested.values()), rel=1e-6)
    if form == "dicts":
        assert tested["reg_loss"] == pytest.approx(tested["reg_mse"], rel=1e-6)


def test_predictions_have_the_outputs_structure():
    model, rng = net()
    x, _, _ = data(rng)
    classes, numbers = model.predict(x, batch_size=16, verbose=0)
    assert (classes.shape, numbers.shape) == ((50, 3), (50, 2))
    named = models.Model(model.inputs, dict(zip(("p", "q"), model.outputs)))
    found = named.predict({"a": x[0], "b": x[1]}, verbose=0)
    np.testing.assert_allclose(found["q"], numbers, rtol=1e-6)
    np.testing.assert_allclose(named.predict_on_batch(x)["p"], classes, rtol=1e-6)


def test_each_output_may_have_sample_weights_of_its_own():
    model, rng = net()
    x, y, weights = data(rng)
    model.compile("sgd", **LISTS)
    both = model.evaluate(x, y, sample_weight=[weights, weights], verbose=0)[0]
    assert model.evaluate(x, y, sample_weight=weights, verbose=0)[0] == pytest.approx(both, rel=1e-6)
    only = model.evaluate(x, y, sample_weight=[weights, 0 * weights], verbose=0, return_dict=True)
    assert only["reg_loss"] == 0
    assert only["loss"] == pytest.approx(only["cls_loss"], rel=1e-6)


def test_an_output_without_a_loss_is_not_trained():
    model, rng = net()
    x, y, _ = data(rng)
    model.compile("sgd", loss={"cls": "sparse_categorical_crossentropy"})
    before = model.get_layer("reg").get_weights()
    model.fit(x, {"cls": y[0], "reg": None}, verbose=0)
    for a, b in zip(before, model.get_layer("reg").get_weights()):
        np.testing.assert_array_equal(a, b)


def test_a_step_on_a_batch_is_a_step_of_fit():
    weights = []
    for step in (lambda m, x, y: m.fit(x, y, batch_size=50, shuffle=False, verbose=0),
                 lambda m, x, y: m.train_on_batch(dict(zip("ab", x)), dict(zip(("cls", "reg"), y)))):
        model, rng = net()
        x, y, _ = data(rng)
        model.compile(optimizers.Adam(0.01), **LISTS)
        step(model, x, y)
        weights.append(np.concatenate([w.ravel() for w in model.get_weights()]))
    np.testing.assert_array_equal(*weights)


@pytest.mark.parametrize(("x", "y", "message"), [
    (lambda x: x[0], lambda y: y,
     "x must have 2 arrays, given as a list or as a dict with the keys .*'a', 'b'.*Received number of arrays: 1"),
    (lambda x: {"a": x[0], "c": x[1]}, lambda y: y, "x must have the keys .*'a', 'b'.*Received: .*'c'"),
    (lambda x: [x[0], x[1][:9]], lambda y: y, r"x\['a'\] and x\['b'\] must have the same number of samples.*50 and 9"),
    (lambda x: x, lambda y: [y[0], y[1][:9]], r"x\['a'\] and y\['reg'\] must have the same number.*50 and 9"),
    (lambda x: x[::-1], lambda y: y, r"input 'a' of shape \(None, 6\)"),
    (lambda x: x, lambda y: y[0], "y must have 2 arrays"),
    (lambda x: x, lambda y: {"cls": y[0]}, "no targets for the output 'reg'"),
    (lambda x: x, lambda y: [None, y[1]], "no targets for the output 'cls'"),
])
def test_data_that_do_not_fit_are_refused(x, y, message):
    model, rng = net()
    given, targets, _ = data(rng)
    model.compile("sgd", **LISTS)
    with pytest.raises(ValueError, match=message):
        model.fit(x(given), y(targets), verbose=0)


@pytest.mark.parametrize(("arguments", "message"), [
    ({"loss": ["mse"]}, r"loss must have one entry per output: \['cls', 'reg'\]"),
    ({"loss": {"class": "mse"}}, r"loss contains names that are not outputs of the model: \['class'\]"),
    ({"loss": "mse", "metrics": ["mae"]}, "metrics must have one entry per output"),
    ({"loss": "mse", "loss_weights": 2.0}, "loss_weights must be a list or a dict"),
    ({"loss": "mse", "loss_weights": ["mae"]}, r"metrics=\['mae'\]"),
])
def test_what_compile_is_given_must_fit_the_outputs(arguments, message):
    model, rng = net()
    x, y, _ = data(rng)

    def compiled_and_fitted():
        model.compile("sgd", **arguments)
        model.fit(x, [np.eye(3)[y[0]], y[1]], verbose=0)

    with pytest.raises(ValueError, match=message):
        compiled_and_fitted()


OUTPUTS = {"z": (3, "sparse_categorical_crossentropy", ["accuracy"]), "m": (2, "mse", ["mse", "mae"]),
           "a": (1, "mae", ["mae"])}


class Heads(models.Model):
    def __init__(self, form):
        super().__init__()
        self.form, self.heads = form, [layers.Dense(units) for units, *_ in OUTPUTS.values()]

    def call(self, x, training=False):
        made = [head(x) for head in self.heads]
        return dict(zip(OUTPUTS, made)) if self.form is dict else made


def three_outputs(form):
    if form in ("class with a dict", "class with a list"):
        return Heads(dict if form == "class with a dict" else list)
    x = layers.Input((6,))
    made = {name: layers.Dense(units, name=name)(x) for name, (units, *_) in OUTPUTS.items()}
    return models.Model(x, made if form == "dict" else list(made.values()))


def in_order(names, which):
    return {name: OUTPUTS[name][which] for name in names}


LOSSES, SORTED = ["z_loss", "m_loss", "a_loss"], ["a_mae", "m_mae", "m_mse", "z_accuracy"]


@pytest.mark.parametrize(("form", "arguments", "listed"), [
    ("list", {"loss": [*in_order("zma", 1).values()], "metrics": [*in_order("zma", 2).values()]}, [*LOSSES, *SORTED]),
    ("list", {"loss": in_order("maz", 1), "metrics": in_order("maz", 2)}, [*LOSSES, *SORTED]),
    ("list", {"loss": {**in_order("mz", 1), "a": None}, "metrics": in_order("zma", 2)},
     ["z_loss", "m_loss", *SORTED]),
    ("list", {"loss": [None, None, "mae"], "metrics": in_order("zma", 2)}, SORTED),
    ("list", {"loss": in_order("zma", 1), "metrics": {"m": ["mae"]}, "weighted_metrics": {"m": ["mae"], "a": ["mse"]}},
     [*LOSSES, "a_mse", "m_mae", "m_weighted_mae"]),
    ("dict", {"loss": [*in_order("amz", 1).values()], "metrics": [*in_order("amz", 2).values()]},
     [*LOSSES[::-1], *SORTED]),
    ("dict", {"loss": in_order("mza", 1), "metrics": in_order("zma", 2), "loss_weights": dict(zip("amz", (1, 2, 3)))},
     ["m_loss", "z_loss", "a_loss", *SORTED]),
    ("dict", {"loss": in_order("zm", 1), "metrics": in_order("ma", 2)}, [*LOSSES[:2], *SORTED[:3]]),
    ("class with a dict", {"loss": in_order("mza", 1), "metrics": in_order("zma", 2)},
     ["m_loss", "z_loss", "a_loss", *SORTED]),
    ("class with a dict", {"loss": [*in_order("amz", 1).values()]}, LOSSES[::-1]),
    ("class with a list", {"loss": [*in_order("zma", 1).values()], "metrics": [["accuracy"], ["mse"], ["mae"]]},
     ["output_1_accuracy", "output_2_mse", "output_3_mae", *(f"output_{i}_loss" for i in (1, 2, 3))]),
])
@pytest.mark.filterwarnings("ignore:SparseCategoricalCrossentropy needs probabilities")
def test_results_are_listed_in_keras_s_order(form, arguments, listed):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(12, 6)).astype("float32")
    y = {"z": rng.integers(0, 3, 12), "m": rng.normal(size=(12, 2)), "a": rng.normal(size=(12, 1))}
    model = three_outputs(form)
    model.compile(optimizers.SGD(1e-30), **arguments)
    y = y if "dict" in form else list(y.values())
    named = model.evaluate(x, y, verbose=0, return_dict=True)
    assert set(named) == {"loss", *listed}
    expected = [named[name] for name in ("loss", *listed)]
    for found in (model.evaluate(x, y, verbose=0), model.test_on_batch(x, y), model.train_on_batch(x, y)):
        np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert [name for name in model.metrics_names if name.endswith("_loss")] == [
        name for name in listed if name.endswith("_loss")]


def test_a_single_loss_is_listed_in_the_order_of_the_dict_that_a_call_returns():
    class Two(models.Model):
        def __init__(self):
            super().__init__()
            self.heads = [layers.Dense(1, kernel_initializer="zeros") for _ in range(2)]

        def call(self, x, training=False):
            return {"m": self.heads[0](x), "a": self.heads[1](x)}

    model, x = Two(), np.ones((2, 3), "float32")
    model.compile("sgd", "mse")
    assert model.test_on_batch(x, {"a": np.full((2, 1), 1.0), "m": np.full((2, 1), 2.0)}) == [5.0, 4.0, 1.0]


def test_what_a_step_of_one_s_own_returns_is_listed_by_the_model_s_metrics_then_by_name():
    class Own(models.Model):
        def __init__(self):
            super().__init__()
            self.dense = layers.Dense(2)
            self.zeta, self.beta = metrics.Mean(name="zeta"), metrics.Mean(name="beta")

        def call(self, x, training=False):
            return self.dense(x)

        def test_step(self, data):
            return {"q": 5.0, "zeta": 1.0, "c": 6.0, "beta": 2.0, "loss": 7.0}

    model = Own()
    model.compile("sgd", "mse")
    assert model.test_on_batch(np.ones((2, 3)), np.ones((2, 2))) == [7.0, 1.0, 2.0, 6.0, 5.0]  # as in Keras
