"""Answers from a model that was asked before: the kernels run again, and nobody can tell."""

import copy

import numpy as np
import pytest
from cases import CASES

from autoconv import device, layers, losses, models, optim, replay
from autoconv import functional as F
from autoconv.ops.registry import OPS
from autoconv.tensor import Tensor, no_grad, watching

CPU = device.get("cpu")
RNG = np.random.default_rng(0)


def net():
    return models.Sequential([
        layers.Input((12, 12, 2)), layers.Conv2D(8, 3, activation="relu"), layers.MaxPooling2D(),
        layers.Conv2D(6, 3, padding="same", activation="relu"), layers.DepthwiseConv2D(3),
        layers.AveragePooling2D(2),
        layers.Flatten(), layers.Dropout(0.5), layers.Dense(7, activation="relu"), layers.Dense(5, "softmax"),
    ])


def images(n=3):
    return RNG.random((n, 12, 12, 2), np.float32)


def layer_by_layer(model, x):
    """The outputs without any of it."""
    with no_grad():
        t = Tensor(x)
        for layer in model.layers:
            t = layer(t, training=False)
        return t.numpy()


def replayed(model, x):
    """The answer for x, after one for other images of that shape; whether it came from the kernels alone."""
    model.predict_on_batch(x[::-1] * 2)
    return model.predict_on_batch(x), model._replays._kept[x.shape].whole


@pytest.mark.parametrize("case", [c for c in CASES if OPS[c.op].repeatable], ids=lambda c: c.id)
def test_the_kernels_of_a_repeatable_op_are_all_there_is_to_it(case):
    arrays = [None if a is None else CPU.asarray(a) for a in case.inputs("float32")]
    tensors = [None if a is None else Tensor(a) for a in arrays]
    with no_grad(), watching() as ops, CPU.recording() as calls:
        y = case.call(*tensors, **case.parameters)
    assert all(op.repeatable for op in ops)
    for a in arrays:
        if a is not None:
            a[...] = RNG.permutation(a.ravel()).reshape(a.shape)
    for kernel, arguments in calls:
        kernel(*arguments)
    with no_grad():
        assert np.array_equal(y.numpy(), case.call(*tensors, **case.parameters).numpy())


@pytest.mark.parametrize("n", [1, 2, 5, 64])
def test_a_replayed_answer_is_the_layers_answer(n):
    model, x = net(), images(n)
    found, whole = replayed(model, x)
    assert whole
    np.testing.assert_allclose(found, layer_by_layer(model, x), rtol=1e-5, atol=1e-6)
    assert np.array_equal(found, model.predict_on_batch(x.astype(np.float64)))
    assert np.array_equal(found, model.predict(x, n, verbose=0))


def test_answers_stay_when_others_follow():
    model = net()
    first = model.predict_on_batch(images())
    kept = first.copy()
    again = model.predict_on_batch(images())
    assert not np.array_equal(first, again)
    assert np.array_equal(first, kept)


@pytest.mark.parametrize("change", ["set_weights", "fit", "build", "activation", "pop"])
def test_a_model_that_changed_gives_other_answers(change):
    model, x = net(), images()
    before, _ = replayed(model, x)
    if change == "set_weights":
        model.set_weights([w + 0.1 for w in model.get_weights()])
    elif change == "fit":
        model.compile(optim.SGD(0.1), losses.CategoricalCrossentropy())
        model.fit(x, np.eye(5, dtype=np.float32)[[0, 1, 2]], verbose=0)
    elif change == "build":
        model.layers[0].build((None, 12, 12, 2))
    elif change == "activation":
        model.layers[0].activation = model.layers[-1].activation = F.sigmoid
    else:
        model.pop()
    after, _ = replayed(model, x)
    np.testing.assert_allclose(after, layer_by_layer(model, x), rtol=1e-5, atol=1e-6)
    assert after.shape != before.shape or not np.array_equal(before, after)


def test_what_is_more_than_kernels_is_not_replayed():
    class Noisy(layers.Layer):
        def call(self, x):
            return x * float(x.numpy().mean())

    for odd in (Noisy(), layers.Activation(lambda t: F.relu(t) if t.numpy().sum() > 0 else t),
                layers.Activation("sigmoid"), layers.BatchNormalization(), layers.Rescaling(2.0)):
        model, x = models.Sequential([layers.Input((12, 12, 2)), layers.ReLU(), odd]), images()
        found, whole = replayed(model, x)
        assert not whole
        np.testing.assert_allclose(found, layer_by_layer(model, x), rtol=1e-5, atol=1e-6)


def test_layers_of_other_dtypes_are_not_replayed():
    model = models.Sequential([layers.Input((6,)), layers.Dense(4), layers.Dense(3, dtype="float64")])
    x = RNG.random((2, 6), np.float32)
    found, whole = replayed(model, x)
    assert not whole
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, layer_by_layer(model, x), rtol=1e-5)


def test_few_shapes_are_kept():
    model = net()
    for n in range(1, 6):
        model.predict_on_batch(images(n))
    assert len(model._replays._kept) == replay.SHAPES


def test_a_copied_model_answers_by_itself():
    model, x = net(), images()
    before, _ = replayed(model, x)
    other = copy.deepcopy(model)
    other.set_weights([0 * w for w in other.get_weights()])
    assert np.array_equal(other.predict_on_batch(x), np.full((3, 5), 0.2, np.float32))
    assert np.array_equal(model.predict_on_batch(x), before)


def test_wrong_inputs_are_refused_as_ever():
    model = net()
    model.predict_on_batch(images())
    with pytest.raises(ValueError, match="shape"):
        model.predict_on_batch(images()[..., :1])
