"""Files of real Keras, and what it makes of ours: a program that Keras's own environment runs for test_keras_files.py.

    python keras_files.py write FOLDER    nets, trained, saved in all of its formats, with what they go on to do
    python keras_files.py read FOLDER     the files that autoconv wrote there, and what they go on to do
"""

import json
import os
import sys
from pathlib import Path

import numpy as np

X = np.random.default_rng(0).random((12, 8, 8, 2), np.float32)
LABELS = np.arange(12) % 3
TARGETS = np.random.default_rng(1).random((12, 3), np.float32)
FORMATS = ("keras", "h5")


def chain(k):
    """Layers with weights, one behind the other. k: Keras, or autoconv."""
    layers = k.layers
    model = k.Sequential([
        layers.Input((8, 8, 2)), layers.Rescaling(2.0, -0.5), layers.Conv2D(4, 3, activation="relu", padding="same"),
        layers.BatchNormalization(), layers.MaxPooling2D(), layers.SeparableConv2D(5, 3, padding="same"),
        layers.PReLU(), layers.DepthwiseConv2D(3, activation="gelu"), layers.LayerNormalization(),
        layers.Conv2DTranspose(3, 2, strides=2), layers.GroupNormalization(3), layers.UpSampling2D(2),
        layers.GlobalAveragePooling2D(),
        layers.Dense(6, activation="silu", kernel_regularizer="l2", kernel_constraint="max_norm"), layers.Dropout(0.0),
        layers.Dense(3, activation="softmax")], name="chain")
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def branching(k):
    """A graph with branches, functions, shared layers and a model within."""
    layers = k.layers
    x = layers.Input((8, 8, 2), name="x")
    shared = layers.Conv2D(3, 3, padding="same", name="shared")
    y = layers.Add()([shared(x), shared(x * 0.5 + 1.0)])
    z = layers.Concatenate()([y, x, x[:, :, :, :1]])
    inner = k.Sequential([layers.Input((8, 8, 6)), layers.Conv2D(4, 3, strides=2, activation="relu"), layers.Flatten(),
                          layers.Dense(5)], name="inner")
    model = k.Model(x, layers.Dense(3, name="answer")(layers.BatchNormalization()(inner(z))), name="branching")
    model.compile(k.optimizers.SGD(0.05, momentum=0.9), k.losses.Huber(), metrics=["mae"])
    return model


def scaled(k):
    """The layers that Keras has for its ConvNeXt and InceptionResNetV2 alone."""
    if k.__name__ == "keras":
        from keras.src.applications.convnext import LayerScale
        from keras.src.applications.inception_resnet_v2 import CustomScaleLayer
    else:
        from autoconv.layers.scaling import CustomScaleLayer, LayerScale
    x = k.layers.Input((8, 8, 2), name="x")
    y = k.layers.Conv2D(2, 3, padding="same", activation="gelu")(x)
    y = CustomScaleLayer(0.3, name="sum")([x, LayerScale(0.5, 2, name="scale")(y)])
    model = k.Model(x, k.layers.Dense(3)(k.layers.Flatten()(y)), name="scaled")
    model.compile(k.optimizers.SGD(0.01), "mse")
    return model


def within(k):
    """A model whose output is a graph within, at its second call."""
    layers = k.layers
    x = layers.Input((3,))
    inner = k.Model(x, layers.Dense(3, activation="tanh")(layers.BatchNormalization()(x)), name="inner")
    begin = layers.Input((8, 8, 2))
    model = k.Model(begin, inner(inner(layers.Dense(3)(layers.Flatten()(begin)))), name="within")
    model.compile("sgd", "mse")
    return model


def optimizers(k):
    """A small net for each optimizer."""
    made = {"rmsprop": k.optimizers.RMSprop(0.01, momentum=0.5, centered=True), "nadam": k.optimizers.Nadam(0.01),
            "amsgrad": k.optimizers.Adam(0.01, amsgrad=True), "adamax": k.optimizers.Adamax(0.01),
            "adagrad": k.optimizers.Adagrad(0.01), "adadelta": k.optimizers.Adadelta(0.1),
            "ftrl": k.optimizers.Ftrl(0.01), "lion": k.optimizers.Lion(0.001),
            "averages": k.optimizers.AdamW(0.01, use_ema=True),
            "scheduled": k.optimizers.SGD(k.optimizers.schedules.ExponentialDecay(0.1, 3, 0.5))}
    for name, optimizer in made.items():
        model = k.Sequential([k.layers.Input((8, 8, 2)), k.layers.Flatten(), k.layers.Dense(4, "tanh"),
                              k.layers.Dense(3)], name=f"small_{name}")
        model.compile(optimizer, "mse")
        yield name, model


def nets(k):
    yield "chain", chain(k), LABELS
    yield "branching", branching(k), TARGETS
    yield "scaled", scaled(k), TARGETS
    yield "within", within(k), TARGETS
    for name, model in optimizers(k):
        yield name, model, TARGETS


def loss_of(found):
    return float(np.ravel(found)[0])


def goes_on(model, y):
    """Predictions, and the losses of the next ten steps."""
    return np.asarray(model.predict(X, verbose=0)), trained(model, y, 10)


def trained(model, y, steps):
    """The losses of so many steps, which are made one by one: fit() would exchange averages and weights."""
    parts = [slice(i % 3 * 4, i % 3 * 4 + 4) for i in range(steps)]
    return [loss_of(model.train_on_batch(X[part], y[part])) for part in parts]


def write(k, folder):
    """Trains the nets and saves them, and with them what they go on to do."""
    expected = {}
    for name, model, y in nets(k):
        trained(model, y, 6)
        for suffix in FORMATS:
            model.save(folder / f"{name}.{suffix}")
        model.save_weights(folder / f"{name}.weights.h5")
        predictions, losses = goes_on(model, y)
        expected[name] = {"predictions": predictions.tolist(), "losses": losses}
    (folder / "expected.json").write_text(json.dumps(expected))


def read(k, folder):
    """What the nets in the files of a folder do, by format."""
    found = {}
    for name, model, y in nets(k):
        for suffix in FORMATS:
            again = k.models.load_model(folder / f"{name}.{suffix}")
            found[f"{name}.{suffix}"] = {"predictions": np.asarray(again.predict(X, verbose=0)).tolist()}
            if suffix == "keras":  # Keras 3.15 cannot go on from an .h5 with an optimizer, of its own either
                found[f"{name}.{suffix}"]["losses"] = trained(again, y, 10)
        model.load_weights(folder / f"{name}.weights.h5")
        found[f"{name}.weights.h5"] = {"predictions": np.asarray(model.predict(X, verbose=0)).tolist()}
    return found


if __name__ == "__main__":
    os.environ["KERAS_BACKEND"] = "jax"
    import keras

    what, where = sys.argv[1], Path(sys.argv[2])
    if what == "write":
        write(keras, where)
    else:
        (where / "found.json").write_text(json.dumps(read(keras, where)))
