"""Runs autoconv as documented: `fit` on arrays in memory, `predict_on_batch` for predictions."""

import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from itertools import islice
from typing import Any

import numpy as np

from autoconv import Tensor, __version__, activations, callbacks, functional, layers, losses, models, tensor, utils
from autoconv import optimizers as optim

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
    Nested,
    Norm,
    Pool,
    Residual,
    Scale,
    Spec,
    Upsample,
)
from ..workloads import NORM_EPSILON, NORM_MOMENTUM, Workload
from .base import Peer, chunks


def make_layers(spec: Spec) -> list[layers.Layer]:
    """Returns autoconv's layers for one layer of a workload."""
    match spec:
        case Conv(filters, kernel, padding, activation, strides, bias):
            return [layers.Conv2D(filters, kernel, strides, padding, activation=activation, use_bias=bias)]
        case Depthwise(kernel, strides):
            return [layers.DepthwiseConv2D(kernel, strides, kernel // 2, use_bias=False)]
        case Norm(activation):
            norm = layers.BatchNormalization(momentum=NORM_MOMENTUM, epsilon=NORM_EPSILON)
            return [norm, *make_activation(activation)]
        case Pool(size, strides, padding):
            return [layers.MaxPooling2D(size, strides, padding or "valid")]
        case AveragePool():
            return [layers.AveragePooling2D(2)]
        case GlobalPool():
            return [layers.GlobalAveragePooling2D()]
        case Flatten():
            return [layers.Flatten()]
        case Dense(units, activation):
            # the loss is computed from this softmax's logits
            return [layers.Dense(units, activation or "softmax")]
        case Dropout(rate):
            return [layers.Dropout(rate)]
        case Scale(factor):
            return [layers.Rescaling(factor)]
        case Upsample():
            return [layers.UpSampling2D()]
    raise NotImplementedError(spec)


def make_activation(name: Activation | None) -> list[layers.Layer]:
    """Returns the layer for an activation, or no layer for None."""
    if name is None:
        return []
    return [layers.ReLU() if name == "relu" else layers.Activation(name)]


def outputs(specs: Sequence[Spec], x: Any, weight_layers: list[layers.Layer]) -> Any:
    """Applies these layers to the symbolic tensor x, and returns their output. Appends the layers with
    weights to `weight_layers`, in order.
    """
    for spec in specs:
        match spec:
            case Residual(body, shortcut, activation):
                x = layers.Add()([outputs(body, x, weight_layers), outputs(shortcut, x, weight_layers)])
                chain = make_activation(activation)
            case Gate(body):
                factors = layers.Reshape((1, 1, x.shape[-1]))(outputs(body, x, weight_layers))
                x = layers.Multiply()([x, factors])
                chain = []
            case Concat(body):
                x = layers.Concatenate()([x, outputs(body, x, weight_layers)])
                chain = []
            case _:
                chain = make_layers(spec)
        for layer in chain:
            x = layer(x)
            if layer.weights:
                weight_layers.append(layer)
    return x


def network(workload: Workload) -> "tuple[models.Model | models.Sequential, list[layers.Layer]]":
    """Returns the net with its softmax, and its layers with weights in the workload's order. A chain
    of layers becomes a Sequential, which older versions in `compare_refs` also have.
    """
    if not any(isinstance(spec, Nested) for spec in workload.layers):
        chain = [layer for spec in workload.layers for layer in make_layers(spec)]
        net = models.Sequential([layers.Input(workload.input_shape), *chain])
        return net, [layer for layer in chain if layer.weights]
    images, weight_layers = layers.Input(workload.input_shape), []  # type: ignore[var-annotated]
    shares = outputs(workload.layers, images, weight_layers)
    return models.Model(images, layers.Softmax()(shares) if workload.label_shape else shares), weight_layers


class Autoconv(Peer):
    def __init__(self, workload: Workload, threads: int, mode: str, seed: int) -> None:
        super().__init__(workload, threads, mode, seed)
        utils.set_random_seed(seed)
        net, self.weight_layers = network(workload)
        self.net = self.place_net(net)
        self.optimizer = optim.RMSprop()
        self.net.compile(self.optimizer, losses.CategoricalCrossentropy())

    def place_net(self, net: Any) -> Any:
        """Moves the net to its device."""
        return net

    def versions(self) -> dict[str, str]:
        return {"autoconv": __version__, "numba": version("numba"), "numpy": np.__version__}

    def load(self, weights: list[np.ndarray]) -> None:
        remaining = iter(weights)
        for layer in self.weight_layers:
            layer.set_weights(list(islice(remaining, len(layer.weights))))

    def weights(self) -> list[np.ndarray]:
        return [array for layer in self.weight_layers for array in layer.get_weights()]

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
    """Trains with `train_on_batch`."""

    def train(self, steps: int) -> None:
        for i in range(steps):
            rows = slice(i * self.batch_size, (i + 1) * self.batch_size)
            self.net.train_on_batch(self.images[rows], self.targets[rows])


class ByFunctions(Autoconv):
    """Trains with `functional` calls for the forward pass, `backward`, and gradient descent in NumPy.
    """

    rate = 0.001

    def train(self, steps: int) -> None:
        for i in range(steps):
            rows = slice(i * self.batch_size, (i + 1) * self.batch_size)
            logits = self._logits(tensor(self.images[rows]))
            functional.categorical_crossentropy(self.targets[rows], logits, from_logits=True).mean().backward()
            for weight in self.net.trainable_weights:
                weight.assign(weight.numpy() - self.rate * weight.grad)
                weight.grad = None

    def _logits(self, x: Tensor) -> Tensor:
        return forward(self.workload.layers, x, iter([w for layer in self.weight_layers for w in layer.weights]))


def forward(specs: Sequence[Spec], x: Tensor, weights: Iterator[Any]) -> Tensor:
    """Returns the output of these layers for x in training, with the next weights from `weights`."""
    for spec in specs:
        match spec:
            case Conv(_, _, padding, activation, strides, bias):
                w, b = next(weights), next(weights) if bias else None
                x = activations.get(activation)(functional.conv2d(x, w, b, strides, padding))
            case Depthwise(kernel, strides):
                x = functional.depthwise_conv2d(x, next(weights), None, strides, kernel // 2)
            case Norm(activation):
                x = functional.batch_norm(x, *islice(weights, 4), training=True, momentum=NORM_MOMENTUM,
                                          epsilon=NORM_EPSILON)
                x = activations.get(activation)(x)
            case Pool(size, strides, padding):
                x = functional.max_pool2d(x, size, strides, padding)
            case AveragePool():
                x = functional.avg_pool2d(x, 2)
            case GlobalPool():
                x = functional.global_avg_pool2d(x)
            case Flatten():
                x = functional.flatten(x)
            case Dense(_, activation):
                x = activations.get(activation)(functional.dense(x, next(weights), next(weights)))
            case Dropout(rate):
                x = functional.dropout(x, rate, training=True)
            case Scale(factor):
                x = x * factor
            case Residual(body, shortcut, activation):
                x = activations.get(activation)(forward(body, x, weights) + forward(shortcut, x, weights))
            case Gate(body):
                x = x * forward(body, x, weights).reshape(x.shape[0], 1, 1, -1)
            case Concat(body):
                x = functional.concatenate([x, forward(body, x, weights)], axis=-1)
            case Upsample():
                x = layers.UpSampling2D()(x)
    return x


class OnGpu(Autoconv):
    """Runs autoconv on a GPU. A pass is an epoch of one call of `fit`, which copies the data to the GPU
    in its first epoch. All other peers have copied their data before the rounds as well. `predict`
    receives a tensor on the GPU.
    """

    device = "cuda"

    def place_net(self, net: Any) -> Any:
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
    """Records the time when each epoch ended. The GPU has completed an epoch when its loss is known."""

    def on_train_begin(self, logs: dict | None = None) -> None:
        self.ends: list[float] = []

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.ends.append(time.perf_counter())
