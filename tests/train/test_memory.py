"""How much memory recorded steps need."""

import gc
import tracemalloc

import numpy as np

from autoconv import layers, models

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
