"""Prints SHA-256 digests of trained weights, histories and predictions: `python -m bench.same_bits [--against FILE]`.

If a change to autoconv alters no result, all digests stay the same. Each net below trains for a few steps from fixed
seeds. Together the nets use every layer family, loss, optimizer and way to train. The kernels compute the same bits on
every processor, but some of NumPy's functions do not, so compare only files written on the same machine, for example
with `PYTHONPATH` set to another checkout.
"""

import argparse
import hashlib
import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import autoconv as ac
from autoconv import callbacks, layers, losses, metrics, optimizers, regularizers
from autoconv import functional as F

SAMPLES, CLASSES = 52, 4  # three full batches of 16 and one of 4
Trained = tuple[Any, dict[str, list[float]], Any]  # model, history, predictions

NETS: dict[str, Callable[[], Trained]] = {}


def net(train: Callable[[], Trained]) -> Callable[[], Trained]:
    NETS[train.__name__] = train
    return train


def images(height: int = 12, channels: int = 3, samples: int = SAMPLES) -> np.ndarray:
    draws = np.random.default_rng([height, channels, samples])
    return draws.random((samples, height, height, channels), np.float32)


def labels(samples: int = SAMPLES) -> np.ndarray:
    return np.random.default_rng(samples).integers(0, CLASSES, samples)


def one_hot() -> np.ndarray:
    return np.eye(CLASSES, dtype=np.float32)[labels()]


def fit_model(
    model: Any,
    x: Any,
    y: Any,
    optimizer: Any = "rmsprop",
    loss: Any = "categorical_crossentropy",
    compile: dict[str, Any] | None = None,
    **fit: Any,
) -> Trained:
    """Compiles the model, trains it for two epochs in batches of 16, and predicts the training samples.
    Returns the model, the history and the predictions.
    """
    model.compile(optimizer, loss, **(compile or {"metrics": ["accuracy"]}))
    history = model.fit(x, y, **{"batch_size": 16, "epochs": 2, "verbose": 0, **fit}).history
    return model, history, model.predict(x, batch_size=20, verbose=0)


def head(*body: Any, shape: tuple[int, ...] = (12, 12, 3)) -> Any:
    return ac.Sequential(
        [layers.Input(shape), *body, layers.Flatten(), layers.Dense(CLASSES, activation="softmax")]
    )


@net
def lecture() -> Trained:
    convolutions = [
        layers.Conv2D(8, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(16, 3, activation="relu"),
    ]
    return fit_model(head(*convolutions), images(), one_hot(), validation_split=0.25)


@net
def wide_winograd() -> Trained:
    body = [
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.Conv2D(64, 3, padding="same", activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(16, 3, padding="same"),
    ]
    return fit_model(
        head(*body, shape=(16, 16, 3)),
        images(16),
        one_hot(),
        optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    )


@net
def residual_normalized() -> Trained:
    image = layers.Input((12, 12, 3))
    x = layers.Conv2D(16, 3, padding="same", use_bias=False)(image)
    x = layers.ReLU()(layers.BatchNormalization()(x))
    y = layers.BatchNormalization()(layers.Conv2D(16, 3, padding="same", use_bias=False)(x))
    x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.GlobalAveragePooling2D()(x)
    model = ac.Model(image, layers.Dense(CLASSES, activation="softmax")(x))
    return fit_model(model, images(), labels(), optimizers.Adam(0.01), "sparse_categorical_crossentropy")


@net
def mobile() -> Trained:
    body = [
        layers.Conv2D(8, 3, strides=2, padding="same"),
        layers.BatchNormalization(),
        layers.ReLU(max_value=6),
        layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
        layers.LeakyReLU(),
        layers.SeparableConv2D(16, 3, padding="same", activation="relu"),
        layers.AveragePooling2D(2, padding="same"),
    ]
    return fit_model(head(*body), images(), one_hot(), optimizers.AdamW(0.01, weight_decay=0.1))


@net
def transposed_autoencoder() -> Trained:
    model = ac.Sequential(
        [
            layers.Input((12, 12, 1)),
            layers.Conv2D(6, 3, strides=2, padding="same", activation="elu"),
            layers.Conv2DTranspose(6, 3, strides=2, padding="same", activation="tanh"),
            layers.Conv2D(1, 3, padding="same", activation="sigmoid"),
        ]
    )
    return fit_model(
        model, images(12, 1), images(12, 1), "adam", "binary_crossentropy", {"metrics": ["mae", "mse"]}
    )


@net
def dilated_padded_upsampled() -> Trained:
    body = [
        layers.ZeroPadding2D(2),
        layers.Conv2D(6, 3, dilation_rate=2, activation="gelu"),
        layers.UpSampling2D(2),
        layers.Cropping2D(1),
        layers.Conv2D(4, 5, strides=3, activation="swish"),
        layers.GlobalMaxPooling2D(keepdims=True),
    ]
    return fit_model(head(*body), images(), one_hot(), optimizers.Nadam(0.01))


@net
def normalizations() -> Trained:
    body = [
        layers.Rescaling(2.0, -1.0),
        layers.Conv2D(8, 3),
        layers.LayerNormalization(),
        layers.PReLU(),
        layers.GroupNormalization(4),
        layers.RMSNormalization(),
        layers.Conv2D(8, 1),
        layers.UnitNormalization(),
    ]
    return fit_model(head(*body), images(), one_hot(), optimizers.Adamax(0.01))


@net
def dropouts() -> Trained:
    body = [
        layers.Conv2D(8, 3, activation="selu"),
        layers.SpatialDropout2D(0.3),
        layers.GaussianNoise(0.1),
        layers.GaussianDropout(0.2),
        layers.Flatten(),
        layers.Dense(16, activation="selu"),
        layers.AlphaDropout(0.2),
        layers.Dropout(0.4, seed=7),
    ]
    return fit_model(head(*body), images(), one_hot(), optimizers.RMSprop(0.01, momentum=0.5, centered=True))


@net
def augmentation() -> Trained:
    body = [
        layers.RandomFlip(),
        layers.RandomRotation(0.1),
        layers.RandomTranslation(0.1, 0.1),
        layers.RandomZoom(0.2),
        layers.RandomContrast(0.3),
        layers.RandomBrightness(0.2, value_range=(0, 1)),
        layers.RandomCrop(10, 10),
        layers.RandomErasing(value_range=(0, 1)),
        layers.Conv2D(8, 3, activation="relu"),
    ]
    return fit_model(head(*body), images(), one_hot(), optimizers.Adagrad(0.05), epochs=3)


@net
def regularized_and_constrained() -> Trained:
    body = [
        layers.Conv2D(8, 3, kernel_regularizer="l2", kernel_constraint="max_norm", activation="relu"),
        layers.ActivityRegularization(l1=1e-3),
        layers.Flatten(),
        layers.Dense(16, kernel_regularizer=regularizers.L1L2(1e-3, 1e-3), bias_constraint="non_neg"),
    ]
    return fit_model(head(*body), images(), one_hot(), optimizers.Adadelta(1.0, clipnorm=0.5))


@net
def several_outputs() -> Trained:
    image, numbers = layers.Input((12, 12, 3), name="image"), layers.Input((5,), name="numbers")
    x = layers.Flatten()(layers.MaxPooling2D(2)(layers.Conv2D(8, 3, activation="relu")(image)))
    x = layers.Concatenate()([x, layers.Dense(8, activation="relu")(numbers)])
    digit = layers.Dense(CLASSES, activation="softmax", name="digit")(x)
    even = layers.Dense(1, activation="sigmoid", name="even")(x)
    model = ac.Model([image, numbers], [digit, even])
    x = {"image": images(), "numbers": images(1, 5).reshape(SAMPLES, 5)}
    y = {"digit": labels(), "even": (labels() % 2).astype("float32")[:, None]}
    settings = {
        "loss_weights": {"digit": 1.0, "even": 0.3},
        "metrics": {"digit": ["accuracy"], "even": [metrics.AUC()]},
    }
    loss = {"digit": "sparse_categorical_crossentropy", "even": "binary_crossentropy"}
    weights = {name: np.linspace(0.1, 2, SAMPLES, dtype=np.float32) for name in y}
    return fit_model(model, x, y, optimizers.Ftrl(0.1), loss, settings, sample_weight=weights)


@net
def class_weights_and_schedule() -> Trained:
    rate = optimizers.schedules.CosineDecay(0.01, 6)
    return fit_model(
        head(layers.Conv2D(8, 3, activation="relu")),
        images(),
        one_hot(),
        optimizers.Lion(rate),
        class_weight={0: 1.0, 1: 2.0, 2: 0.5, 3: 1.5},
    )


@net
def orthogonal_steps() -> Trained:
    body = [layers.Conv2D(8, 3, activation="gelu"), layers.DepthwiseConv2D(3), layers.Conv2D(16, 3)]
    optimizer = optimizers.Muon(0.01, exclude_layers=["dense"])
    return fit_model(head(*body), images(), one_hot(), optimizer)


@net
def accumulation_and_averages() -> Trained:
    optimizer = optimizers.Adam(
        0.01, amsgrad=True, gradient_accumulation_steps=2, use_ema=True, ema_momentum=0.9, global_clipnorm=1.0
    )
    return fit_model(head(layers.Conv2D(8, 3, activation="relu")), images(), one_hot(), optimizer)


@net
def every_loss() -> Trained:
    """Trains once per loss, from the same initial weights. The result has the histories of all losses
    and the predictions of the last loss.
    """
    names = [
        name
        for name in dir(losses)
        if isinstance(getattr(losses, name), type)
        and issubclass(getattr(losses, name), losses.Loss)
        and name != "Loss"
    ]
    history, model, predictions = {}, None, []
    for name in names:
        ac.utils.set_random_seed(3)
        model = head(layers.Conv2D(4, 3, activation="relu"))
        y = labels() if name.startswith("Sparse") else one_hot()
        try:
            model, found, predicted = fit_model(model, images(), y, "sgd", getattr(losses, name)(), epochs=1)
        except (TypeError, ValueError):
            continue  # this loss needs other targets
        history.update({f"{name} {key}": values for key, values in found.items()})
        predictions.append(predicted)
    return model, history, predictions


@net
def every_metric() -> Trained:
    chosen = [
        metrics.Precision(),
        metrics.Recall(),
        metrics.AUC(num_thresholds=50),
        metrics.F1Score(),
        metrics.CategoricalAccuracy(),
        metrics.TopKCategoricalAccuracy(2),
        metrics.MeanSquaredError(),
        metrics.CosineSimilarity(),
        metrics.OneHotMeanIoU(CLASSES),
        metrics.SpecificityAtSensitivity(0.5),
        metrics.R2Score(),
    ]
    return fit_model(
        head(layers.Conv2D(4, 3, activation="relu")),
        images(),
        one_hot(),
        compile={"metrics": chosen},
        validation_data=(images(samples=SAMPLES), one_hot()),
    )


class Scale(layers.Layer):
    """A user-defined layer that runs through Python in every step."""

    def build(self, input_shape: Sequence[int]) -> None:
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones", name="scale")

    def call(self, inputs: Any) -> Any:
        return F.tanh(inputs * self.scale)


@net
def custom_layer_and_loss() -> Trained:
    def loss(y_true: Any, y_pred: Any) -> Any:
        return ((y_true - y_pred) ** 2).mean(axis=-1)

    return fit_model(
        head(layers.Conv2D(8, 3), Scale(), layers.MaxPooling2D(2)), images(), one_hot(), "adam", loss
    )


@net
def subclassed_with_own_step() -> Trained:
    class Net(ac.Model):
        def __init__(self) -> None:
            super().__init__()
            self.body = head(layers.Conv2D(4, 3, activation="relu"))

        def call(self, inputs: Any) -> Any:
            return self.body(inputs)

        def train_step(self, data: Any) -> Any:
            return super().train_step(data)

    return fit_model(Net(), images(), one_hot(), "sgd")


@net
def frozen_and_shared() -> Trained:
    shared = layers.Dense(8, activation="relu")
    left, right = layers.Input((6,)), layers.Input((6,))
    frozen = layers.Dense(6)
    frozen.trainable = False
    x = layers.Subtract()([shared(frozen(left)), shared(right)])
    model = ac.Model([left, right], layers.Dense(1)(layers.Multiply()([x, x])))
    x = [images(1, 6).reshape(SAMPLES, 6), images(1, 6)[::-1].reshape(SAMPLES, 6).copy()]
    return fit_model(model, x, labels().astype("float32")[:, None], "adam", "mse", {"metrics": ["mae"]})


@net
def generator_and_callbacks() -> Trained:
    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        while True:
            for start in range(0, 48, 16):
                yield images()[start : start + 16], one_hot()[start : start + 16]

    model = head(layers.Conv2D(8, 3, activation="relu"))
    model.compile(optimizers.SGD(0.1), "categorical_crossentropy", metrics=["accuracy"])
    chosen = [
        callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=10.0),
        callbacks.EarlyStopping("loss", patience=3),
    ]
    history = model.fit(batches(), steps_per_epoch=3, epochs=4, verbose=0, callbacks=chosen).history
    return model, history, model.predict(images(), verbose=0)


@net
def double_precision() -> Trained:
    body = [
        layers.Conv2D(5, 3, activation="relu", dtype="float64"),
        layers.BatchNormalization(dtype="float64"),
        layers.Flatten(dtype="float64"),
        layers.Dense(CLASSES, activation="softmax", dtype="float64"),
    ]
    model = ac.Sequential([layers.Input((12, 12, 3), dtype="float64"), *body])
    return fit_model(model, images().astype("float64"), one_hot().astype("float64"))


@net
def resumed() -> Trained:
    """Trains for two epochs, interrupted after the fifth step and resumed by a new model."""

    class Stop(callbacks.Callback):
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            self.batches = getattr(self, "batches", 0) + 1
            if self.batches == 5:
                raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as folder:
        for interrupted in (True, False):
            ac.utils.set_random_seed(5)
            model = head(
                layers.Conv2D(8, 3, activation="relu"), layers.Dropout(0.5), layers.BatchNormalization()
            )
            model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
            saving = [callbacks.BackupAndRestore(folder, save_freq=1), *([Stop()] if interrupted else [])]
            try:
                history = model.fit(
                    images(), one_hot(), batch_size=16, epochs=2, verbose=0, callbacks=saving
                ).history
            except KeyboardInterrupt:
                continue
    return model, history, model.predict(images(), verbose=0)


@net
def saved_and_trained_on() -> Trained:
    """Trains, saves and loads weights and optimizer slots, and trains the loaded model."""
    model, first, _ = fit_model(head(layers.Conv2D(8, 3, activation="relu")), images(), one_hot(), "adam")
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "net.safetensors")
        model = ac.models.load_model(Path(folder) / "net.safetensors")
    history = model.fit(images(), one_hot(), batch_size=16, epochs=1, verbose=0).history
    return (
        model,
        {**first, **{f"then {key}": values for key, values in history.items()}},
        model.predict(images(), verbose=0),
    )


def digest(*values: Any) -> str:
    found = hashlib.sha256()
    for value in values:
        array = np.ascontiguousarray(value)
        found.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return found.hexdigest()[:24]


def digests(name: str) -> dict[str, str]:
    """Trains the named net from its seed. Returns the digests of its weights, history and predictions."""
    ac.utils.set_random_seed(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, history, predictions = NETS[name]()
    if not isinstance(predictions, list):
        predictions = list(predictions.values()) if isinstance(predictions, dict) else [predictions]
    return {
        "weights": digest(*model.get_weights()),
        "predictions": digest(*predictions),
        "history": digest(*(np.asarray(history[key], np.float64) for key in sorted(history))),
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m bench.same_bits", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("nets", nargs="*", metavar="NET", help="nets to train; default: all")
    parser.add_argument("--write", type=Path, metavar="FILE", help="write the digests as JSON")
    parser.add_argument(
        "--against", type=Path, metavar="FILE", help="compare with a file that --write wrote"
    )
    options = parser.parse_args(argv)
    unknown = set(options.nets) - set(NETS)
    if unknown:
        parser.error(f"unknown net {sorted(unknown)[0]}. Choose from: {', '.join(NETS)}.")
    expected = json.loads(options.against.read_text()) if options.against else {}
    found, differ = {}, 0
    for name in options.nets or NETS:
        found[name] = digests(name)
        before = expected.get(name, {}) if expected else found[name]
        changed = [kind for kind, value in found[name].items() if before.get(kind) != value]
        differ += bool(changed)
        note = f"differs: {', '.join(changed)}" if changed else ""
        print(f"{name:30} {'  '.join(found[name].values())}  {note}".rstrip(), flush=True)
    if options.write:
        options.write.write_text(json.dumps(found, indent=1) + "\n")
    if expected:
        print(f"{len(found) - differ} of {len(found)} nets have the same bits.")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
