"""Small trainings as plain data, and one function that runs them on autoconv or on Keras: both take the same words.

`python tests/support/trainings.py CASES.json FOLDER` runs a list of them on Keras, and writes what each gave to
FOLDER/<place in the list>.npz. Nothing of autoconv is imported here.
"""

import contextlib
import io
import json
import os
import sys
import traceback
from pathlib import Path

import numpy as np

CLASSES = 4


# Keras rounds both to float32 before it takes 1 - beta**t: with 0.999 its first updates are 6.6e-6 too small, ours are
# not. These numbers are the same in float32.
BETAS = {"beta_1": 0.90625, "beta_2": 1 - 2**-10}


def random_case(number):
    """Training `number`: a net, a loss, an optimizer and the arguments of fit, all drawn from that number alone."""
    draw = Draw(number)
    end, targets, loss, metrics = draw.loss()
    layers = [*draw.body(), *end]
    epochs, samples = int(draw.random.integers(1, 4)), int(draw.random.integers(90, 160))
    batch_size = draw.among(16, 24, 32)
    validation = draw.among(None, "split", "data", "weighted")
    fit = {"batch_size": batch_size, "epochs": epochs}
    if validation == "split":
        fit["validation_split"] = draw.among(0.2, 0.3)
    if validation is not None:
        fit["validation_freq"] = draw.among(1, 1, 1, 2, [1, 3])
        if draw.now_and_then():
            fit["validation_batch_size"] = 20
    if draw.now_and_then() and targets in ("labels", "one-hot"):
        fit["class_weight"] = dict(enumerate(draw.random.uniform(0.2, 2, CLASSES).round(2).tolist()))
    normalized = any(name == "BatchNormalization" for name, _ in layers)
    optimizer, scheduled = draw.optimizer(epochs * samples // batch_size, normalized)
    callbacks = []
    watched = "val_loss" if validation and fit["validation_freq"] == 1 else "loss"
    if draw.now_and_then():
        callbacks.append(["EarlyStopping", {"monitor": watched, "min_delta": draw.among(0.0, 0.02),
                                            "restore_best_weights": draw.among(False, True)}])
    if not scheduled and draw.now_and_then():
        callbacks.append(["LearningRateScheduler", {"schedule": draw.among(0.5, 0.8)}])
    if draw.now_and_then():
        fit["initial_epoch"] = epochs - 1
    return {
        "seed": number, "samples": samples, "eager": True,
        "input_shape": [*draw.random.integers(9, 13, 2).tolist(), draw.among(1, 2, 3)],
        "layers": layers, "targets": targets, "loss": loss, "metrics": metrics, "optimizer": optimizer, "fit": fit,
        "validation": validation, "sample_weight": "class_weight" not in fit and draw.now_and_then(),
        "callbacks": callbacks,
    }


class Draw:
    """The parts of a training at random. A layer, a loss, ... is [name of the class, its arguments]."""

    def __init__(self, number):
        self.random = np.random.default_rng([11, number])

    def among(self, *choices):
        return choices[self.random.integers(len(choices))]

    def now_and_then(self):
        return self.random.random() < 0.3

    def activation(self):
        return self.among("relu", "relu", "tanh", "sigmoid")

    def norm(self):
        return ["BatchNormalization", {"momentum": self.among(0.9, 0.99), "epsilon": self.among(1e-3, 1e-2),
                                       "center": self.among(True, True, False),
                                       "scale": self.among(True, True, False)}]

    def activated(self):
        """An activation as a layer of its own."""
        return self.among(["ReLU", {}], ["Activation", {"activation": self.activation()}])

    def body(self):
        """All layers before the last dense one. One with normalization after it has no bias: a constant added there
        has a gradient of zero, and both sides would normalize nothing but rounding errors.
        """
        layers = []
        if self.now_and_then():
            layers.append(self.among(
                ["ZeroPadding2D", {"padding": self.among(1, [2, 1], [[1, 0], [0, 2]])}],
                ["Rescaling", {"scale": 0.5, "offset": 0.1}],
                ["DepthwiseConv2D", {"kernel_size": 2, "depth_multiplier": 2, "padding": self.among("valid", "same")}],
                ["Conv2DTranspose", {"filters": 2, "kernel_size": 3, "strides": self.among(1, 2),
                                     "padding": self.among("valid", "same"), "activation": self.activation()}],
            ))
        for first in (True, False)[: self.among(1, 2)]:
            window = self.among(
                {}, {"strides": 2}, {"strides": [1, 2]}, {"dilation_rate": 2}, {"dilation_rate": [2, 1]},
            )
            conv = {"filters": self.among(3, 5, 8), "kernel_size": self.among(2, 3, [3, 2]), **window,
                    "padding": self.among("valid", "same") if first else "same"}
            if self.now_and_then():
                layers += [["Conv2D", {**conv, "use_bias": False}], self.norm(), self.activated()]
            elif self.now_and_then():
                layers += [["Conv2D", conv], self.activated()]
            else:
                layers.append(["Conv2D", {**conv, "activation": self.activation()}])
            if self.among(True, False):
                layers.append([self.among("MaxPooling2D", "AveragePooling2D"), {
                    "pool_size": self.among(2, 3, [2, 1]), "strides": self.among(None, 1, 2),
                    "padding": self.among("valid", "same") if first else "same"}])
            if self.now_and_then():
                layers.append(["Dropout", {"rate": 0.0}])
        layers.append([self.among("Flatten", "Flatten", "GlobalAveragePooling2D", "GlobalMaxPooling2D"), {}])
        if self.among(True, False):
            layers.append(["Dense", {"units": 12, "activation": self.activation()}])
        elif self.now_and_then():
            layers += [["Dense", {"units": 12, "use_bias": False}], self.norm(), self.activated()]
        return layers

    def loss(self):
        """The last layers, the kind of targets, the loss and the metrics."""
        kind = self.among("classes", "classes", "yes or no", "numbers")
        if kind == "classes":
            end, logits = self.end(CLASSES, "softmax")
            targets = self.among("labels", "one-hot")
            if targets == "labels":
                loss = ["SparseCategoricalCrossentropy", {"from_logits": logits}]
                metrics = self.among([], ["accuracy"], ["sparse_categorical_accuracy",
                                                        ["SparseTopKCategoricalAccuracy", {"k": 2}]])
            else:
                loss = ["CategoricalCrossentropy", {"from_logits": logits, "label_smoothing": self.among(0.0, 0.1)}]
                metrics = self.among([], ["accuracy"], ["categorical_accuracy", "mse"])
            return end, targets, loss, metrics
        if kind == "yes or no":
            units = self.among(1, 3)
            end, logits = self.end(units, "sigmoid")
            loss = ["BinaryCrossentropy", {"from_logits": logits, "label_smoothing": self.among(0.0, 0.2)}]
            metrics = self.among([], ["binary_accuracy"], [["BinaryAccuracy", {"threshold": 0.4}], "mae"])
            return end, f"binary {units}", loss, metrics
        end = self.among([["Dense", {"units": 2}]], [["Dense", {"units": 2, "activation": "tanh"}]])
        loss = self.among("mse", "mae", ["MeanSquaredError", {}], ["MeanAbsoluteError", {}])
        return end, "numbers 2", loss, self.among([], ["mae"], ["mean_squared_error"])

    def end(self, units, activation):
        """The last dense layer, with its activation in it, after it or left out, and whether it gives logits."""
        own = ["Softmax", {}] if activation == "softmax" else ["Activation", {"activation": "sigmoid"}]
        plain = ["Dense", {"units": units}]
        return self.among(([["Dense", {"units": units, "activation": activation}]], False), ([plain, own], False),
                          ([plain], True))

    def optimizer(self, steps, normalized):
        """An optimizer, and whether a schedule sets its rate.

        Below a normalization some gradients are zero but for rounding errors (those of a bias that shifts all samples
        alike). Divided by their own size they would be steps of full length, so epsilon is larger there.
        """
        name = self.among("SGD", "RMSprop", "Adam", "AdamW")
        rate = self.among(0.02, 0.1) if name == "SGD" else self.among(0.001, 0.003)
        own = {
            "SGD": [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}],
            "RMSprop": [{}, {"rho": 0.8}, {"centered": True}, {"momentum": 0.5}, {"momentum": 0.5, "centered": True}],
            "Adam": [BETAS, {"beta_1": 0.75, "beta_2": 0.9921875}, {**BETAS, "epsilon": 1e-4}],
            "AdamW": [BETAS, {**BETAS, "weight_decay": 0.1}],
        }[name]
        arguments = dict(self.among(*own)) | ({"epsilon": 1e-3} if normalized and name != "SGD" else {})
        arguments |= self.among({}, {}, {"clipnorm": 0.1}, {"clipvalue": 0.02}, {"global_clipnorm": 0.2})
        if name != "AdamW" and self.now_and_then():
            arguments["weight_decay"] = 0.05
        scheduled = self.now_and_then()
        if scheduled:
            rate = self.among(
                ["ExponentialDecay", {"initial_learning_rate": rate, "decay_steps": 4, "decay_rate": 0.7,
                                      "staircase": self.among(True, False)}],
                ["CosineDecay", {"initial_learning_rate": rate, "decay_steps": steps, "alpha": 0.1}],
                ["CosineDecay", {"initial_learning_rate": 0.0, "decay_steps": steps, "warmup_target": rate,
                                 "warmup_steps": 4}],
                ["PiecewiseConstantDecay", {"boundaries": [3, 6], "values": [rate, rate / 2, rate / 4]}],
            )
        return [name, {"learning_rate": rate, **arguments}], scheduled


def run(case, library, **how_to_compile):
    """What a training gives, as arrays by name: its history, what `evaluate` and `predict_on_batch` say after it, and
    all weights.

    `library` is `keras` or `autoconv`. `how_to_compile` is what `compile` gets besides.
    """
    model = library.models.Sequential([library.layers.Input(case["input_shape"])])
    for name, arguments in case["layers"]:
        model.add(_made(library.layers, [name, {**arguments, "dtype": case.get("dtype", "float32")}]))
    random = np.random.default_rng(case["seed"])
    given = case.get("weights")
    model.set_weights([_initial(w, random) for w in model.weights] if given is None else
                      [np.array(w, np.float32) for w in given])
    name, arguments = case["optimizer"]
    rate = arguments["learning_rate"]
    if isinstance(rate, list):
        arguments = {**arguments, "learning_rate": _made(library.optimizers.schedules, rate)}
    model.compile(
        optimizer=getattr(library.optimizers, name)(**arguments), loss=_made(library.losses, case["loss"]),
        metrics=[_made(library.metrics, metric) for metric in case["metrics"]], **how_to_compile,
    )
    x, y, weights = _data(case, random, case["samples"])
    more = dict(case["fit"])
    if "class_weight" in more:
        more["class_weight"] = {int(key): value for key, value in more["class_weight"].items()}
    if case["validation"] in ("data", "weighted"):
        more["validation_data"] = _data(case, random, 50)[: 3 if case["validation"] == "weighted" else 2]
    if case["sample_weight"]:
        more["sample_weight"] = weights
    fitted = model.fit(x, y, shuffle=False, verbose=0, callbacks=_callbacks(case, library), **more)
    found = {f"history {key}": np.array(values) for key, values in fitted.history.items()}
    found["epochs"] = np.array(fitted.epoch)
    for name, given in (("evaluate", None), ("evaluate, weighted", weights)):
        logs = model.evaluate(x, y, batch_size=50, sample_weight=given, verbose=0, return_dict=True)
        found |= {f"{name} {key}": np.array(value) for key, value in logs.items()}
    found["answers"] = model.predict_on_batch(x[:10])
    return found | {f"weight {i} {w.name}": w.numpy() for i, w in enumerate(model.weights)}


def _made(module, given):
    """An object of [class, its arguments]; a name stays a name."""
    return given if isinstance(given, str) else getattr(module, given[0])(**given[1])


def _callbacks(case, library):
    result = []
    for name, arguments in case["callbacks"]:
        if name == "LearningRateScheduler":
            factor = arguments["schedule"]
            arguments = {"schedule": lambda epoch, rate, factor=factor: rate * factor if epoch else rate}
        result.append(getattr(library.callbacks, name)(**arguments))
    return result


def _initial(weight, random):
    shape = tuple(weight.shape)
    if weight.name in ("gamma", "moving_variance"):
        return random.uniform(0.5, 1.5, shape).astype(np.float32)
    if weight.name.endswith("kernel"):
        return random.normal(scale=np.prod(shape[:-1]) ** -0.5, size=shape).astype(np.float32)
    return random.normal(scale=0.1, size=shape).astype(np.float32)


def _data(case, random, count):
    """Inputs, targets that depend on them, and weights of the samples."""
    if "x" in case:
        x, y = (np.array(case[key], np.float32) for key in ("x", "y"))
        return x, y.astype(np.int32) if case["targets"] == "labels" else y, np.linspace(0.5, 2, len(x))
    x = random.normal(size=(count, *case["input_shape"])).astype(np.float32)
    scores = x.reshape(count, -1)[:, :CLASSES] + 0.1 * random.normal(size=(count, CLASSES))
    weights = random.uniform(0, 2, count).astype(np.float32)
    kind, *width = case["targets"].split()
    if kind in ("labels", "one-hot"):
        y = scores.argmax(1)
        return x, np.eye(CLASSES, dtype=np.float32)[y] if kind == "one-hot" else y.astype(np.int32), weights
    y = scores[:, : int(width[0])]
    return x, ((y > 0) if kind == "binary" else y).astype(np.float32), weights


def main(cases, folder):
    """Runs all on Keras, with one thread. XLA takes seconds for each, a graph a second, so most run eagerly."""
    os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    import keras
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    for i, case in enumerate(json.loads(Path(cases).read_text())):
        keras.config.set_floatx(case.get("dtype", "float32"))
        try:
            found = run(case, keras, jit_compile=False, run_eagerly=case.get("eager", False))
        except Exception:
            found = {"error": np.array(traceback.format_exc())}
        keras.backend.clear_session()
        np.savez(Path(folder) / f"{i}.npz", **found)


if __name__ == "__main__":
    with contextlib.redirect_stdout(io.StringIO()):
        main(*sys.argv[1:])
