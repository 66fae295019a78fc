"""Runs Keras on TensorFlow: `fit` on arrays in memory. `steps_per_execution` runs many steps without returning to
Python.
"""

import os
from collections.abc import Sequence
from itertools import islice
from typing import Any

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from ..specs import (
    Activation,
    AveragePool,
    Concat,
    Conv,
    Dense,
    Depthwise,
    Dropout,
    Flatten,
    Gate,
    GlobalPool,
    Norm,
    Pool,
    Residual,
    Scale,
    Spec,
    Upsample,
)
from ..workloads import EPSILON, NORM_EPSILON, NORM_MOMENTUM, RHO, Workload
from .base import Peer, chunks


def make_layers(spec: Spec) -> list[keras.layers.Layer]:
    """Returns Keras's layers for one layer of a workload."""
    match spec:
        case Conv(filters, kernel, padding, activation, strides, bias):
            front, word = make_padding(padding, strides)
            return [*front, keras.layers.Conv2D(filters, kernel, strides, word, activation=activation, use_bias=bias)]
        case Depthwise(kernel, strides):
            front, word = make_padding(kernel // 2, strides)
            return [*front, keras.layers.DepthwiseConv2D(kernel, strides, word, use_bias=False)]
        case Norm(activation):
            norm = keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, epsilon=NORM_EPSILON)
            return [norm, *make_activation(activation)]
        case Pool(size, strides, padding):
            # zeros cannot exceed the maximum of a window, because a ReLU precedes each padded pooling
            front = [keras.layers.ZeroPadding2D(padding)] if padding else []
            return [*front, keras.layers.MaxPooling2D(size, strides)]
        case AveragePool():
            return [keras.layers.AveragePooling2D(2)]
        case GlobalPool():
            return [keras.layers.GlobalAveragePooling2D()]
        case Flatten():
            return [keras.layers.Flatten()]
        case Dense(units, activation):
            return [keras.layers.Dense(units, activation or "softmax")]
        case Dropout(rate):
            return [keras.layers.Dropout(rate)]
        case Scale(factor):
            return [keras.layers.Rescaling(factor)]
        case Upsample():
            return [keras.layers.UpSampling2D()]
    raise NotImplementedError(spec)


def make_activation(name: Activation | None) -> list[keras.layers.Layer]:
    """Returns the layer for an activation, or no layer for None."""
    return [] if name is None else [keras.layers.Activation(name)]


def make_padding(padding: int, strides: int) -> tuple[list[keras.layers.Layer], str]:
    """Returns the padding layers that must precede a convolution with `padding` zeros on each side,
    and the convolution's argument `padding`. With strides, "same" would add more zeros after the image
    than before it.
    """
    if padding and strides > 1:
        return [keras.layers.ZeroPadding2D(padding)], "valid"
    return [], "same" if padding else "valid"


def outputs(specs: Sequence[Spec], x: Any, weight_layers: list[keras.layers.Layer]) -> Any:
    """Applies these layers to the symbolic tensor x, and returns their output. Appends the layers with
    weights to `weight_layers`, in order.
    """
    for spec in specs:
        match spec:
            case Residual(body, shortcut, activation):
                x = keras.layers.Add()([outputs(body, x, weight_layers), outputs(shortcut, x, weight_layers)])
                chain = make_activation(activation)
            case Gate(body):
                factors = keras.layers.Reshape((1, 1, x.shape[-1]))(outputs(body, x, weight_layers))
                x = keras.layers.Multiply()([x, factors])
                chain = []
            case Concat(body):
                x = keras.layers.Concatenate()([x, outputs(body, x, weight_layers)])
                chain = []
            case _:
                chain = make_layers(spec)
        for layer in chain:
            x = layer(x)
            if layer.weights:
                weight_layers.append(layer)
    return x


def network(workload: Workload) -> tuple[keras.Model, list[keras.layers.Layer]]:
    """Returns the net with its softmax, and its layers with weights in the workload's order."""
    images, weight_layers = keras.layers.Input(workload.input_shape), []  # type: ignore[var-annotated]
    shares = outputs(workload.layers, images, weight_layers)
    return keras.Model(images, keras.layers.Softmax()(shares) if workload.label_shape else shares), weight_layers


class RateOfEachStep(keras.optimizers.schedules.LearningRateSchedule):
    """A schedule that reads the learning rate of each step from a list."""

    def __init__(self, rates: np.ndarray) -> None:
        self.rates = tf.constant(rates, tf.float32)

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        return tf.gather(self.rates, tf.cast(step, tf.int32))


class KerasTensorFlow(Peer):
    def __init__(self, workload: Workload, threads: int, mode: str, seed: int, steps_per_execution: int = 1) -> None:
        super().__init__(workload, threads, mode, seed)
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
        keras.utils.set_random_seed(seed)
        self.runs_many_steps = steps_per_execution > 1
        self.net, self.weight_layers = network(workload)
        self.optimizer = keras.optimizers.RMSprop(1e-3, rho=RHO, epsilon=EPSILON)
        self.net.compile(self.optimizer, "categorical_crossentropy", steps_per_execution=steps_per_execution)

    def versions(self) -> dict[str, str]:
        return {"keras": keras.__version__, "tensorflow": tf.__version__}

    def load(self, weights: list[np.ndarray]) -> None:
        remaining = iter(weights)
        for layer in self.weight_layers:
            layer.set_weights(list(islice(remaining, len(layer.weights))))

    def weights(self) -> list[np.ndarray]:
        return [array for layer in self.weight_layers for array in layer.get_weights()]

    def loss(self, images: np.ndarray, labels: np.ndarray) -> float:
        return float(self.net.evaluate(images, self._targets(labels), batch_size=len(images), verbose=0))

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        self.images, self.targets, self.batch_size = images, self._targets(labels), batch_size
        self.batches = [tf.constant(images[rows]) for rows in chunks(len(images), batch_size)]
        self.forward = tf.function(lambda x: self.net(x, training=False))

    def train(self, steps: int) -> None:
        count = steps * self.batch_size
        self.net.fit(self.images[:count], self.targets[:count], batch_size=self.batch_size, verbose=0,
                     shuffle=self.shuffle)

    def infer(self, steps: int) -> None:
        """Runs `predict` over all batches. For a single batch, calls a `tf.function` of the net instead,
        which is faster.
        """
        if self.runs_many_steps:
            self.net.predict(self.images[: steps * self.batch_size], batch_size=self.batch_size, verbose=0)
            return
        for batch in self.batches[:steps]:
            self.forward(batch).numpy()

    def schedule(self, rates: np.ndarray) -> None:
        self.optimizer.learning_rate = RateOfEachStep(rates)

    def predict(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        return self.net.predict(images, batch_size=batch_size, verbose=0).argmax(axis=1)

    def _targets(self, labels: np.ndarray) -> np.ndarray:
        return keras.utils.to_categorical(labels, self.workload.classes).astype(np.float32)


def plain(workload: Workload, threads: int, mode: str, seed: int) -> KerasTensorFlow:
    return KerasTensorFlow(workload, threads, mode, seed)


def fifty_steps(workload: Workload, threads: int, mode: str, seed: int) -> KerasTensorFlow:
    return KerasTensorFlow(workload, threads, mode, seed, steps_per_execution=50)
