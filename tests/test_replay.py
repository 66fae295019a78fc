"""Answers from a model that was asked before: the kernels run again, and nobody can tell."""

import copy

import numpy as np
import pytest
from cases import CASES

from autoconv import callbacks, layers, losses, models, utils
from autoconv import functional as F
from autoconv import optimizers as optim
from autoconv.backend import device
from autoconv.ops.registry import OPS
from autoconv.tensor import Tensor, no_grad, watching
from autoconv.train import replay

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
    return model.predict_on_batch(x), model._replays.of(model, x.shape, False)._whole


@pytest.mark.parametrize("case", [c for c in CASES if OPS[c.op].repeatable], ids=lambda c: c.id)
def test_the_kernels_of_a_repeatable_op_are_all_there_is_to_it(case):
    arrays = [None if a is None else CPU.asarray(a) for a in case.inputs("float32")]

    def run(gradient=None):
        """The result, and the gradients of all inputs."""
        tensors = [None if a is None else Tensor(a, requires_grad=True) for a in arrays]
        y = case.call(*tensors, **case.parameters)
        gradient = CPU.asarray(RNG.random(y.shape, np.float32)) if gradient is None else gradient
        y.backward(gradient)
        return gradient, [y.data, *(t.grad for t in tensors if t is not None)]

    with watching() as ops, CPU.recording() as recording:
        gradient, found = run()
    assert all(op.repeatable for op in ops)
    for a in (*arrays, gradient):
        if a is not None:
            a[...] = RNG.permutation(a.ravel()).reshape(a.shape)
    assert recording.whole
    recording.again()
    for a, b in zip(found, run(gradient)[1]):
        assert np.array_equal(a, b)


@pytest.mark.parametrize("case", [c for c in CASES if OPS[c.op].repeatable], ids=lambda c: c.id)
def test_an_answer_without_gradients_is_the_same(case):
    tensors = [None if a is None else Tensor(CPU.asarray(a), requires_grad=True) for a in case.inputs("float32")]
    y = case.call(*tensors, **case.parameters)
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
                layers.BatchNormalization()):
        model, x = models.Sequential([layers.Input((12, 12, 2)), layers.ReLU(), odd]), images()
        found, whole = replayed(model, x)
        assert not whole
        np.testing.assert_allclose(found, layer_by_layer(model, x), rtol=1e-5, atol=1e-6)


def test_a_rescaling_is_replayed_until_it_changes():
    model, x = models.Sequential([layers.Input((12, 12, 2)), layers.Rescaling(2.0, -1.0), layers.ReLU()]), images()
    found, whole = replayed(model, x)
    assert whole
    np.testing.assert_allclose(found, np.maximum(2 * x - 1, 0), rtol=1e-6)
    model.layers[0].scale = 3.0
    np.testing.assert_allclose(replayed(model, x)[0], np.maximum(3 * x - 1, 0), rtol=1e-6)


def test_layers_of_other_dtypes_are_not_replayed():
    model = models.Sequential([layers.Input((6,)), layers.Dense(4), layers.Dense(3, dtype="float64")])
    x = RNG.random((2, 6), np.float32)
    found, whole = replayed(model, x)
    assert not whole
    assert found.dtype == np.float64
    np.testing.assert_allclose(found, layer_by_layer(model, x), rtol=1e-5)


def test_few_shapes_are_kept():
    model = net()
    for n in range(1, 7):
        model.predict_on_batch(images(n))
    assert len(model._replays._kept) == replay.KEPT


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


def trained(model, x, y, **how):
    """The weights after some epochs, with batches that do not come out even."""
    model.compile(optim.Adam(0.01), losses.CategoricalCrossentropy(), metrics=["accuracy"])
    history = model.fit(x, y, batch_size=8, epochs=3, shuffle=False, verbose=0, **how).history
    return [*model.get_weights(), np.array(list(history.values()))]


def plain_net(**first):
    utils.set_random_seed(5)
    return models.Sequential([
        layers.Input((12, 12, 2)), layers.Conv2D(8, 3, activation="relu", **first), layers.MaxPooling2D(),
        layers.Conv2D(6, 3, activation="sigmoid"), layers.MaxPooling2D(), layers.Flatten(), layers.Dense(5, "softmax"),
    ])


@pytest.mark.parametrize("how", [
    {}, {"sample_weight": RNG.random(20, np.float32)}, {"validation_split": 0.3},
    {"callbacks": callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: None, on_train_batch_end=lambda batch, logs: None)},
])
def test_training_has_the_same_bits_with_and_without_replay(how, monkeypatch):
    x, y = images(20), np.eye(5, dtype=np.float32)[RNG.integers(0, 5, 20)]
    with monkeypatch.context() as patched:
        patched.setattr(replay.Pass, "_is_whole", lambda self, ops: False)
        expected = trained(plain_net(), x, y, **how)
    runs, backward = [], replay.Pass.backward
    monkeypatch.setattr(replay.Pass, "backward",
                        lambda self, *given: runs.append(self._whole) or backward(self, *given))
    for a, b in zip(trained(plain_net(), x, y, **how), expected):
        assert np.array_equal(a, b)
    assert all(runs)


def test_what_changes_between_steps_counts():
    """Frozen layers, new losses and optimizers, weights that a callback sets."""
    x, y = images(8), np.eye(5, dtype=np.float32)[RNG.integers(0, 5, 8)]
    model = plain_net()
    model.compile(optim.SGD(0.1), losses.CategoricalCrossentropy())
    model.train_on_batch(x, y)
    model.train_on_batch(x, y)
    model.layers[0].trainable = False
    model.compile(optim.SGD(0.1), losses.MeanSquaredError())
    frozen, last = model.layers[0].get_weights(), model.layers[-1].get_weights()
    for _ in range(2):
        model.train_on_batch(x, y)
    assert all(np.array_equal(a, b) for a, b in zip(frozen, model.layers[0].get_weights()))
    assert not np.array_equal(last[0], model.layers[-1].get_weights()[0])
    model.set_weights([0 * w for w in model.get_weights()])
    assert model.train_on_batch(x, y) == pytest.approx(np.mean((0.2 - y) ** 2))


def test_an_interrupted_first_step_leaves_no_half_of_a_list(monkeypatch):
    x, y = images(8), np.eye(5, dtype=np.float32)[RNG.integers(0, 5, 8)]
    weights = []
    for interrupted in (False, True):
        model = plain_net()
        model.compile(optim.SGD(0.1), losses.CategoricalCrossentropy())
        if interrupted:
            monkeypatch.setattr(CPU.room("fused"), "conv2d_relu_pool_grad", interrupt)
            with pytest.raises(KeyboardInterrupt):
                model.train_on_batch(x, y)
            monkeypatch.undo()
        for _ in range(3):
            model.train_on_batch(x, y)
        weights.append(model.get_weights())
    for a, b in zip(*weights):
        assert np.array_equal(a, b)


def interrupt(*_):
    raise KeyboardInterrupt
