"""Runs tinygrad on its CPU device, for which clang compiles the kernels. A whole training step is one
TinyJit. tinygrad's kernel search (BEAM) is not used, because it takes many minutes per net.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from itertools import islice, repeat

os.environ["DEV"] = "CPU"

import numpy as np
from tinygrad import Tensor, TinyJit
from tinygrad.helpers import NUM_CPU_THREADS, TRAINING, Context

from ..specs import (
    AveragePool,
    Conv,
    Dense,
    Depthwise,
    Dropout,
    Flatten,
    GlobalPool,
    Norm,
    Pool,
    Residual,
    Scale,
    Spec,
)
from ..workloads import EPSILON, NORM_EPSILON, NORM_MOMENTUM, RHO, Workload
from .base import Peer, chunks
from .channels_first import convert_weights, transpose_images

ACTIVATIONS = {"relu": Tensor.relu, "tanh": Tensor.tanh, None: lambda x: x}


def forward(layers: Sequence[Spec], x: Tensor, weights: Iterator[Tensor]) -> Tensor:
    """Returns the output of these layers for images (N, C, H, W), with the next weights from `weights`.
    tinygrad's variable TRAINING selects training or inference.
    """
    for layer in layers:
        match layer:
            case Conv(_, _, padding, activation, strides, bias):
                w, b = next(weights), next(weights) if bias else None
                x = ACTIVATIONS[activation](x.conv2d(w, b, stride=strides, padding=padding))
            case Depthwise(kernel, strides):
                x = x.conv2d(next(weights), groups=x.shape[1], stride=strides, padding=kernel // 2)
            case Norm(activation):
                x = _batch_norm(x, *islice(weights, 4))
                x = ACTIVATIONS[activation](x)
            case Pool():
                x = x.max_pool2d()
            case AveragePool():
                x = x.avg_pool2d()
            case GlobalPool():
                x = x.mean((2, 3))
            case Flatten():
                x = x.flatten(1)
            case Dense(_, activation):
                x = ACTIVATIONS[activation](x.linear(next(weights).T, next(weights)))
            case Dropout(rate):
                x = x.dropout(rate)
            case Scale(factor):
                x = x * factor
            case Residual(body, shortcut):
                x = (forward(body, x, weights) + forward(shortcut, x, weights)).relu()
    return x


def _batch_norm(x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    if not TRAINING:
        return x.batchnorm(gamma, beta, mean, (variance + NORM_EPSILON).rsqrt())
    now = x.mean((0, 2, 3))
    spread = (x - now.reshape(1, -1, 1, 1)).square().mean((0, 2, 3))
    for average, value in ((mean, now), (variance, spread)):
        average.assign(NORM_MOMENTUM * average + (1 - NORM_MOMENTUM) * value.detach())
    return x.batchnorm(gamma, beta, now, (spread + NORM_EPSILON).rsqrt())


class Tinygrad(Peer):
    def __init__(self, workload: Workload, threads: int, mode: str, seed: int) -> None:
        super().__init__(workload, threads, mode, seed)
        NUM_CPU_THREADS.value = threads
        Tensor.manual_seed(seed)
        self.random = np.random.default_rng(seed)
        self.rates: Iterator[float] = repeat(1e-3)
        self.jit_functions: dict[tuple[int, ...], Callable[[Tensor], Tensor]] = {}
        self.step = TinyJit(self._step)

    def versions(self) -> dict[str, str]:
        return {"tinygrad": version("tinygrad")}

    def load(self, weights: list[np.ndarray]) -> None:
        arrays = list(convert_weights(self.workload, weights, True))
        if not hasattr(self, "tensors"):
            self.tensors = [Tensor.empty(*a.shape).realize() for a in arrays]
            self.squares = [Tensor.empty(*a.shape).realize() for a in arrays]
        for tensor, square, array in zip(self.tensors, self.squares, arrays):
            tensor.assign(Tensor(array)).realize()
            square.assign(Tensor(np.zeros_like(array))).realize()

    def weights(self) -> list[np.ndarray]:
        return list(convert_weights(self.workload, [t.numpy() for t in self.tensors], False))

    def loss(self, images: np.ndarray, labels: np.ndarray) -> float:
        shares = self._answer(transpose_images(images))
        return float(-np.log(shares[np.arange(len(labels)), labels].astype(np.float64)).mean())

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        self.images, self.labels, self.batch_size = transpose_images(images), labels.astype(np.int32), batch_size
        self.batches = [self.images[rows] for rows in chunks(len(images), batch_size)]

    def train(self, steps: int) -> None:
        count = steps * self.batch_size
        order = self.random.permutation(count) if self.shuffle else np.arange(count)
        with Context(TRAINING=1):
            for rows, rate in zip(order.reshape(steps, self.batch_size), self.rates):
                arrays = self.images[rows], self.labels[rows], np.array([rate], np.float32)
                loss = self.step(*(Tensor(array).realize() for array in arrays))
            loss.item()

    def infer(self, steps: int) -> None:
        for batch in self.batches[:steps]:
            self._answer(batch)

    def schedule(self, rates: np.ndarray) -> None:
        self.rates = iter(rates.tolist())

    def predict(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        return np.concatenate([self._answer(transpose_images(images[rows])).argmax(1)
                               for rows in chunks(len(images), batch_size)])

    def _answer(self, images: np.ndarray) -> np.ndarray:
        def answer(x: Tensor) -> Tensor:
            return forward(self.workload.layers, x, iter(self.tensors)).softmax().realize()

        run = self.jit_functions.setdefault(images.shape, TinyJit(answer))
        return run(Tensor(images).realize()).numpy()

    def _step(self, images: Tensor, labels: Tensor, rate: Tensor) -> Tensor:
        before = [t.uop for t in self.tensors]
        loss = forward(self.workload.layers, images, iter(self.tensors)).sparse_categorical_crossentropy(labels)
        # the weights that do not change here are running averages
        learned = [i for i, t in enumerate(self.tensors) if t.uop is before[i]]
        for i, g in zip(learned, loss.gradient(*(self.tensors[i] for i in learned))):
            w, v = self.tensors[i], self.squares[i]
            v.assign(RHO * v + (1 - RHO) * g * g)
            w.assign(w.detach() - rate * g / (v + EPSILON).sqrt())
        return loss.realize(*self.tensors, *self.squares)
