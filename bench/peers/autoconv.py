"""autoconv as its documentation says to use it: `fit` on arrays in memory, `predict_on_batch` for an answer."""

import time
from importlib.metadata import version
from itertools import islice

import numpy as np

from autoconv import Tensor, __version__, callbacks, functional, layers, losses, models, tensor, utils
from autoconv import optimizers as optim

from ..workloads import NORM_EPSILON, NORM_MOMENTUM, Conv, Dense, Dropout, Flatten, Norm, Pool, Scale, Workload
from .base import Peer, chunks


def network(workload: Workload) -> models.Sequential:
    net = models.Sequential([layers.Input(workload.input_shape)])
    for layer in workload.layers:
        match layer:
            case Conv(filters, kernel, padding, relu):
                net.add(layers.Conv2D(filters, kernel, padding=padding, activation="relu" if relu else None))
            case Norm():
                net.add(layers.BatchNormalization(momentum=NORM_MOMENTUM, epsilon=NORM_EPSILON))
                net.add(layers.ReLU())
            case Pool():
                net.add(layers.MaxPooling2D())
            case Flatten():
                net.add(layers.Flatten())
            case Dense(units, relu):
                net.add(layers.Dense(units, activation="relu" if relu else "softmax"))
            case Dropout(rate):
                net.add(layers.Dropout(rate))
            case Scale(factor):
                net.add(layers.Rescaling(factor))
    return net


class Autoconv(Peer):
    def __init__(self, workload: Workload, threads: int, mode: str, seed: int) -> None:
        super().__init__(workload, threads, mode, seed)
        utils.set_random_seed(seed)
        self.net = self.placed(network(workload))
        self.optimizer = optim.RMSprop()
        self.net.compile(self.optimizer, losses.CategoricalCrossentropy())

    def placed(self, net: models.Sequential) -> models.Sequential:
        """The net where it shall run."""
        return net

    def versions(self) -> dict[str, str]:
        return {"autoconv": __version__, "numba": version("numba"), "numpy": np.__version__}

    def load(self, weights: list[np.ndarray]) -> None:
        self.net.set_weights(weights)

    def weights(self) -> list[np.ndarray]:
        return self.net.get_weights()

    def loss(self, images: np.ndarray, labels: np.ndarray) -> float:
        return self.net.evaluate(images, self._targets(labels), len(images), verbose=0)

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        self.images, self.targets, self.batch_size = images, self._targets(labels), batch_size
        self.batches = [images[rows] for rows in chunks(len(images), batch_size)]

    def train(self, steps: int) -> None:
        count = steps * self.batch_size
        self.net.fit(self.images[:count], self.targets[:count], self.batch_size, verbose=0, shuffle=self.shuffle)

    def infer(self, steps: int) -> None:
        for batch in self.batches[:steps]:
            self.net.predict_on_batch(batch)

    def schedule(self, rates: np.ndarray) -> None:
        self.optimizer.learning_rate = rates.tolist().__getitem__

    def predict(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        return self.net.predict(images, batch_size, verbose=0).argmax(axis=1)

    def _targets(self, labels: np.ndarray) -> np.ndarray:
        return utils.to_categorical(labels, self.workload.classes).astype(np.float32)


class ByBatch(Autoconv):
    """Trains through `train_on_batch`."""

    def train(self, steps: int) -> None:
        for i in range(steps):
            rows = slice(i * self.batch_size, (i + 1) * self.batch_size)
            self.net.train_on_batch(self.images[rows], self.targets[rows])


class ByFunctions(Autoconv):
    """Trains through the bare functions: forward, backward, and a step of gradient descent in NumPy."""

    def train(self, steps: int) -> None:
        for i in range(steps):
            rows = slice(i * self.batch_size, (i + 1) * self.batch_size)
            logits = self._logits(tensor(self.images[rows]))
            functional.categorical_crossentropy(self.targets[rows], logits, from_logits=True).mean().backward()
            for weight in self.net.trainable_weights:
                weight.assign(weight.numpy() - 0.001 * weight.grad)
                weight.grad = None

    def _logits(self, x: Tensor) -> Tensor:
        left = iter(self.net.weights)
        for layer in self.workload.layers:
            match layer:
                case Conv(_, _, padding, relu):
                    x = functional.conv2d(x, next(left), next(left), padding=padding)
                    x = functional.relu(x) if relu else x
                case Norm():
                    x = functional.relu(functional.batch_norm(x, *islice(left, 4), training=True,
                                                              momentum=NORM_MOMENTUM, epsilon=NORM_EPSILON))
                case Pool():
                    x = functional.max_pool2d(x, 2)
                case Flatten():
                    x = functional.flatten(x)
                case Dense(_, relu):
                    x = functional.dense(x, next(left), next(left))
                    x = functional.relu(x) if relu else x
                case Dropout(rate):
                    x = functional.dropout(x, rate, training=True)
                case Scale(factor):
                    x = x * factor
        return x


class OnGpu(Autoconv):
    """The same on a GPU. A pass is an epoch within one call of `fit`: the data are there before the first one ends, as
    all others have them before their rounds. `predict` gets a tensor that is on the GPU.
    """

    device = "cuda"

    def placed(self, net: models.Sequential) -> models.Sequential:
        return net.to(self.device)

    def versions(self) -> dict[str, str]:
        return super().versions() | {"numba-cuda": version("numba-cuda")}

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        super().hold(images, labels, batch_size)
        if self.mode == "infer":
            self.there = tensor(images, device=self.device)

    def infer(self, steps: int) -> None:
        count = steps * self.batch_size
        there = self.there if count == len(self.there) else self.there[:count]
        self.net.predict(there, self.batch_size, verbose=0)

    def seconds(self, mode: str, steps: int, passes: int = 1) -> float:
        if mode == "infer":
            return super().seconds(mode, steps, passes)
        count, clock = steps * self.batch_size, EpochClock()
        self.net.fit(self.images[:count], self.targets[:count], self.batch_size, epochs=passes + 1, verbose=0,
                     callbacks=clock, shuffle=self.shuffle)
        return clock.ends[-1] - clock.ends[0]


class EpochClock(callbacks.Callback):
    """When each epoch ended: its loss is known then, so the GPU is done with it."""

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.ends: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.ends.append(time.perf_counter())
