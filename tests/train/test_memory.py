"""How much memory recorded steps need."""

import gc
import tracemalloc

import numpy as np
import pytest

from autoconv import layers, models, utils
from autoconv.engine import tape

MAP = 4 * 32 * 32 * 16 * 4  # bytes of one layer's output, for a batch of 4


def deep_net(depth):
    """`depth` convolutions whose outputs all have the same size."""
    convolutions = [layers.Conv2D(16, 3, padding="same", activation="tanh") for _ in range(depth)]
    return models.Sequential([layers.Input((32, 32, 16)), *convolutions])


def peak_of(work):
    """The greatest number of bytes allocated at once while `work` runs."""
    work()  # compiles
    gc.collect()  # deleted models are in reference cycles
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_a_prediction_needs_as_much_memory_for_24_layers_as_for_8():
    x = np.random.default_rng(0).standard_normal((4, 32, 32, 16)).astype("float32")
    peaks = []
    for depth in (8, 24):
        def predict(depth=depth):
            model = deep_net(depth)
            return [model.predict_on_batch(x) for _ in range(3)]

        peaks.append(peak_of(predict))
    assert peaks[1] - peaks[0] < 4 * MAP


def test_training_keeps_one_output_per_layer_and_few_gradients():
    """A layer with tanh keeps its output and that of its convolution."""
    x = np.random.default_rng(0).standard_normal((4, 32, 32, 16)).astype("float32")
    peaks = []
    for depth in (8, 24):
        def train(depth=depth):
            model = deep_net(depth)
            model.compile("sgd", "mse")
            model.fit(x, x, batch_size=4, epochs=3, verbose=0)

        peaks.append(peak_of(train))
    assert (peaks[1] - peaks[0]) / (24 - 8) < 3 * MAP


def test_training_evaluation_and_a_smaller_last_batch_use_the_same_memory():
    x = np.random.default_rng(0).standard_normal((7, 32, 32, 16)).astype("float32")
    peaks = []
    for samples, options in ((4, {}), (7, {"validation_data": (x, x), "validation_batch_size": 4})):
        def train(samples=samples, options=options):
            model = deep_net(16)
            model.compile("sgd", "mse")
            model.fit(x[:samples], x[:samples], batch_size=4, epochs=2, verbose=0, **options)
            model.predict(x[:samples], batch_size=4, verbose=0)

        peaks.append(peak_of(train))
    assert peaks[1] - peaks[0] < 10 * MAP  # the smaller batch alone would need 24 maps


def weights_after_training(predicts_in):
    """Weights of a net that predicts within each training step: in the loss, a layer or a metric."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((8, 9, 9, 3)).astype("float32")
    y = rng.standard_normal((8, 4)).astype("float32")
    running = []

    def predict_in(place):
        if place == predicts_in and running == ["training"]:
            running.append("prediction")  # the prediction calls the layer, too
            model.predict(x, batch_size=8, verbose=0)
            running.pop()

    class Passing(layers.Layer):
        def call(self, t):
            predict_in("layer")
            return t * 1.0

    def loss(target, output):
        predict_in("loss")
        return ((target - output) ** 2).mean(-1)

    def metric(target, output):
        predict_in("metric")
        return (target - output).mean(-1)

    utils.set_random_seed(0)
    model = models.Sequential([
        layers.Input((9, 9, 3)), layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization(),
        *([Passing()] if predicts_in == "layer" else []), layers.Conv2D(4, 3, activation="tanh"),
        layers.Flatten(), layers.Dense(4)])
    model.compile("adam", loss, metrics=[metric])
    model.fit(x, y, batch_size=4, shuffle=False, verbose=0)
    model.predict(x, batch_size=8, verbose=0)  # is recorded while no other step uses the memory
    running.append("training")
    model.fit(x, y, batch_size=4, epochs=3, shuffle=False, verbose=0)
    return model.get_weights()


@pytest.mark.parametrize("where", ["loss", "layer", "metric"])
def test_a_prediction_within_a_training_step_leaves_the_step_s_arrays_alone(where):
    for without, weight in zip(weights_after_training(None), weights_after_training(where)):
        np.testing.assert_array_equal(without, weight)


def test_replays_repeat_a_step_whose_arrays_share_memory():
    """Twelve recorded steps give the same weights as twelve steps through Python."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((8, 12, 12, 3)).astype("float32"), rng.standard_normal((8, 12, 12, 4)).astype("float32")
    found = []
    for run_eagerly in (False, True):
        images = layers.Input((12, 12, 3))
        a = layers.Conv2D(8, 3, padding="same", activation="relu", kernel_initializer="ones")(images)
        b = layers.BatchNormalization()(layers.Conv2D(8, 1, kernel_initializer="ones")(a))
        c = layers.Concatenate()([a, layers.Activation("silu")(b), layers.MaxPooling2D(3, 1, "same")(b)])
        model = models.Model(images, layers.Conv2D(4, 3, padding="same", kernel_initializer="ones")(c))
        for weight in model.trainable_weights:
            weight.assign(np.random.default_rng(weight.size).normal(size=weight.shape) / 9)
        model.compile("adam", "mse", run_eagerly=run_eagerly)
        model.fit(x, y, batch_size=4, epochs=6, shuffle=False, verbose=0)
        found.append([model.predict(x, 8, verbose=0), *model.get_weights()])
    for replayed, eager in zip(*found):
        np.testing.assert_allclose(replayed, eager, rtol=1e-4, atol=1e-5)


def test_training_keeps_one_output_per_normalization_and_convolution(monkeypatch):
    """The normalization's output is computed again when the next convolution's gradient reads it."""
    monkeypatch.setattr(tape, "DROPPED", MAP // 4)
    x = np.random.default_rng(0).standard_normal((4, 32, 32, 16)).astype("float32")
    peaks = []
    for depth in (8, 24):
        def train(depth=depth):
            parts = [(layers.Conv2D(16, 3, padding="same"), layers.BatchNormalization(), layers.Activation("silu"))
                     for _ in range(depth)]
            model = models.Sequential([layers.Input((32, 32, 16)), *(layer for part in parts for layer in part)])
            model.compile("sgd", "mse")
            model.fit(x, x, batch_size=4, epochs=3, verbose=0)

        peaks.append(peak_of(train))
    assert (peaks[1] - peaks[0]) / (24 - 8) < 1.5 * MAP


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_dropped_outputs_change_no_bit(run_eagerly, monkeypatch):
    """Normalizations read by one layer, by layers that forget their inputs, and by one that keeps them."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 8, 8, 4)).astype("float32"), np.arange(12) % 3
    results = []
    for smallest in (1, 1 << 40):
        monkeypatch.setattr(tape, "DROPPED", smallest)
        utils.set_random_seed(0)
        images = layers.Input((8, 8, 4))
        a = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(8, 3)(images)))
        b = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(a))
        c = layers.Add()([layers.Dropout(0)(b), layers.Conv2D(8, 1)(a), layers.DepthwiseConv2D(3, padding="same")(b)])
        d = layers.Concatenate()([layers.MaxPooling2D()(b), layers.AveragePooling2D(2)(c)])
        e = layers.Multiply()([d, layers.BatchNormalization()(d)])
        flat = layers.BatchNormalization()(layers.GlobalAveragePooling2D()(e))
        model = models.Model(images, layers.Dense(3, "softmax")(flat))
        model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=run_eagerly)
        history = model.fit(x, y, batch_size=4, epochs=3, verbose=0).history
        results.append([*model.get_weights(), *history.values()])
    for dropped, kept in zip(*results):
        np.testing.assert_array_equal(dropped, kept)


def test_an_output_that_is_also_a_hidden_tensor_is_not_dropped(monkeypatch):
    """`Identity` returns its input, and a nested model reads an output of the outer model."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 8, 8, 4)).astype("float32")
    y = rng.standard_normal((12, 6, 6, 8)).astype("float32")
    histories = []
    for smallest in (1, 1 << 40):
        monkeypatch.setattr(tape, "DROPPED", smallest)
        utils.set_random_seed(0)
        images, hidden = layers.Input((8, 8, 4)), layers.Input((6, 6, 8))
        inner = models.Model(hidden, layers.Conv2D(8, 1)(layers.Identity()(hidden)))
        a = layers.BatchNormalization()(layers.Conv2D(8, 3)(images))
        model = models.Model(images, [layers.Identity()(a), inner(a)])
        model.compile("sgd", "mse")
        histories.append(model.fit(x, [y, y], batch_size=4, epochs=3, shuffle=False, verbose=0).history["loss"])
    assert histories[0] == histories[1]


def test_a_dropped_output_exists_after_the_backward_pass(monkeypatch):
    monkeypatch.setattr(tape, "DROPPED", 1)
    images = layers.Input((8, 8, 4))
    seen = []

    class Look(layers.Layer):
        def call(self, x):
            seen.append(x)
            return x + 1.0

    b = layers.BatchNormalization()(layers.Conv2D(8, 3)(images))
    convolution = layers.Conv2D(2, 1)
    heads = models.Model(images, [layers.MaxPooling2D()(b), convolution(b), Look()(b)])
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 4)).astype("float32")
    pooled, convolved, _ = heads(x, training=True)
    pooled.sum().backward()
    convolved.sum().backward(inputs=[convolution.kernel])
    expected = seen[-1].numpy().sum((0, 1, 2))
    np.testing.assert_allclose(convolution.kernel.grad[0, 0, :, 0], expected, rtol=1e-4, atol=1e-4)


def test_rematerialization_saves_40_percent_of_the_memory_of_a_deep_net():
    x = np.random.default_rng(0).standard_normal((4, 32, 32, 16)).astype("float32")
    peaks = []
    for remat in (False, True):
        def train(remat=remat):
            model = deep_net(36)
            model.compile("sgd", "mse", remat=remat)
            model.fit(x, x, batch_size=4, epochs=3, verbose=0)

        peaks.append(peak_of(train))
    assert peaks[1] < 0.6 * peaks[0]


def branching_net():
    """Residual blocks with dropout and normalization, a concatenation, and two outputs."""
    images = layers.Input((8, 8, 4))
    x = layers.Conv2D(8, 3, padding="same", activity_regularizer="l2")(images)
    outputs = []
    for _ in range(6):
        y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x))
        z = layers.SpatialDropout2D(0.2)(layers.Activation("silu")(layers.Dropout(0.3)(y)))
        x = layers.Add()([x, z])
        both = layers.GlobalAveragePooling2D()(layers.Concatenate()([x, y]))
        outputs.append(layers.Dense(2, "softmax")(both))
    return models.Model(images, [outputs[1], outputs[-1]])


@pytest.mark.parametrize("run_eagerly", [False, True])
def test_rematerialization_changes_no_bit(run_eagerly):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((12, 8, 8, 4)).astype("float32")
    y = np.eye(2, dtype="float32")[rng.integers(0, 2, 12)]
    results = []
    for remat in (False, True):
        utils.set_random_seed(0)
        model = branching_net()
        model.compile("adam", "categorical_crossentropy", remat=remat, run_eagerly=run_eagerly)
        history = model.fit(x, [y, y], batch_size=4, epochs=3, verbose=0).history
        results.append([*model.get_weights(), *history.values()])
    for plain, rematerialized in zip(*results):
        np.testing.assert_array_equal(plain, rematerialized)


class Penalty(layers.Layer):
    """Adds two penalties, the second computed from the first, and keeps the first in an attribute."""

    def call(self, x):
        self.kept = (x * x).mean()
        self.add_loss(self.kept)
        self.add_loss(2 * self.kept)
        return x


def test_rematerialization_keeps_what_is_read_elsewhere():
    """An early softmax, whose loss reads its logits, and tensors that leave a layer other than as its result."""
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((12, 6)).astype("float32"), np.arange(12) % 3
    losses = []
    for remat in (False, True):
        utils.set_random_seed(0)
        images = layers.Input((6,))
        early = layers.Dense(3, "softmax")(images)
        penalty = Penalty()
        hidden = penalty(early)
        for _ in range(14):
            hidden = layers.Dense(8, "relu")(hidden)
        model = models.Model(images, [early, layers.Dense(3, "softmax")(hidden)])
        model.compile("sgd", "sparse_categorical_crossentropy", remat=remat)
        losses.append(model.fit(x, [y, y], batch_size=4, epochs=2, verbose=0).history["loss"])
        assert np.isfinite(float(penalty.kept))
    assert losses[0] == losses[1]


def test_rematerialization_reaches_nested_models():
    x = np.random.default_rng(0).standard_normal((4, 32, 32, 16)).astype("float32")
    peaks = []
    for remat in (False, True):
        def train(remat=remat):
            model = models.Sequential([layers.Input((32, 32, 16)), deep_net(36)])
            model.compile("sgd", "mse", remat=remat)
            model.fit(x, x, batch_size=4, epochs=3, verbose=0)

        peaks.append(peak_of(train))
    assert peaks[1] < 0.6 * peaks[0]
