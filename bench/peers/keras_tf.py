"""Keras on TensorFlow: `fit` on arrays in memory. `steps_per_execution` runs many steps without returning to Python."""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

from ..workloads import (
    EPSILON,
    NORM_EPSILON,
    NORM_MOMENTUM,
    RHO,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Norm,
    Pool,
    Scale,
    Workload,
)
from .base import Peer, chunks


def network(workload: Workload) -> keras.Sequential:
    net = keras.Sequential([keras.layers.Input(workload.input_shape)])
    for layer in workload.layers:
        match layer:
            case Conv(filters, kernel, padding, relu):
                net.add(keras.layers.Conv2D(filters, kernel, padding=padding, activation="relu" if relu else None))
            case Norm():
                net.add(keras.layers.BatchNormalization(momentum=NORM_MOMENTUM, epsilon=NORM_EPSILON))
                net.add(keras.layers.ReLU())
            case Pool():
                net.add(keras.layers.MaxPooling2D())
            case Flatten():
                net.add(keras.layers.Flatten())
            case Dense(units, relu):
                net.add(keras.layers.Dense(units, activation="relu" if relu else "softmax"))
            case Dropout(rate):
                net.add(keras.layers.Dropout(rate))
            case Scale(factor):
                net.add(keras.layers.Rescaling(factor))
    return net


class RateOfEachStep(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rates of a list."""

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
        self.many = steps_per_execution > 1
        self.net = network(workload)
        self.optimizer = keras.optimizers.RMSprop(1e-3, rho=RHO, epsilon=EPSILON)
        self.net.compile(self.optimizer, "categorical_crossentropy", steps_per_execution=steps_per_execution)

    def versions(self) -> dict[str, str]:
        return {"keras": keras.__version__, "tensorflow": tf.__version__}

    def load(self, weights: list[np.ndarray]) -> None:
        self.net.set_weights(weights)

    def weights(self) -> list[np.ndarray]:
        return self.net.get_weights()

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
        """`predict` over all batches, or for each a call of the net as a `tf.function`: the quickest for one batch."""
        if self.many:
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
