"""Runs MyGrad, which computes reverse-mode gradients over NumPy and is written for readability. It has
no depthwise convolution.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, repeat
from typing import Any

import mygrad
import numpy as np
from mygrad.nnet.activations import relu, softmax, tanh
from mygrad.nnet.layers import batchnorm, conv_nd, max_pool
from mygrad.nnet.losses import softmax_crossentropy

from ..specs import AveragePool, Conv, Dense, Dropout, Flatten, GlobalPool, Norm, Pool, Residual, Scale, Spec
from ..workloads import EPSILON, NORM_EPSILON, NORM_MOMENTUM, RHO, Workload
from .base import Peer, chunks
from .channels_first import convert_weights, transpose_images

ACTIVATIONS: dict[str | None, Callable[[Any], Any]] = {"relu": relu, "tanh": tanh, None: lambda x: x}


class MyGrad(Peer):
    def __init__(self, workload: Workload, threads: int, mode: str, seed: int) -> None:
        super().__init__(workload, threads, mode, seed)
        mygrad.turn_memory_guarding_off()  # MyGrad's documentation recommends this for speed
        self.random = np.random.default_rng(seed)
        self.rates: Iterator[float] = repeat(1e-3)

    def versions(self) -> dict[str, str]:
        return {"mygrad": mygrad.__version__, "numpy": np.__version__}

    def load(self, weights: list[np.ndarray]) -> None:
        self.tensors = [mygrad.tensor(a) for a in convert_weights(self.workload, weights, True)]
        self.squares = [np.zeros_like(t.data) for t in self.tensors]

    def weights(self) -> list[np.ndarray]:
        return list(convert_weights(self.workload, [t.data for t in self.tensors], False))

    def loss(self, images: np.ndarray, labels: np.ndarray) -> float:
        with mygrad.no_autodiff:
            logits = self._forward(self.workload.layers, transpose_images(images), iter(self.tensors), training=False)
            return softmax_crossentropy(logits, labels).item()

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        self.images, self.labels, self.batch_size = transpose_images(images), labels, batch_size
        self.batches = [self.images[rows] for rows in chunks(len(images), batch_size)]

    def train(self, steps: int) -> None:
        count = steps * self.batch_size
        order = self.random.permutation(count) if self.shuffle else np.arange(count)
        for rows, rate in zip(order.reshape(steps, self.batch_size), self.rates):
            logits = self._forward(self.workload.layers, self.images[rows], iter(self.tensors), training=True)
            softmax_crossentropy(logits, self.labels[rows]).backward()
            for w, v in zip(self.tensors, self.squares):
                if w.grad is not None:
                    v *= RHO
                    v += (1 - RHO) * w.grad * w.grad
                    w.data -= rate * w.grad / np.sqrt(v + EPSILON)
                    w.null_grad()

    def infer(self, steps: int) -> None:
        with mygrad.no_autodiff:
            for batch in self.batches[:steps]:
                softmax(self._forward(self.workload.layers, batch, iter(self.tensors), training=False))

    def schedule(self, rates: np.ndarray) -> None:
        self.rates = iter(rates.astype(np.float32))

    def predict(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        with mygrad.no_autodiff:
            answers = [self._forward(self.workload.layers, transpose_images(images[rows]), iter(self.tensors), False)
                       for rows in chunks(len(images), batch_size)]
        return np.concatenate([answer.data.argmax(1) for answer in answers])

    def _forward(self, layers: Sequence[Spec], x: Any, weights: Iterator[mygrad.Tensor], training: bool) -> Any:
        """Returns the output of these layers for images (N, C, H, W), with weights from `weights`."""
        for layer in layers:
            match layer:
                case Conv(_, _, padding, activation, strides, bias):
                    x = conv_nd(x, next(weights), stride=strides, padding=padding)
                    x = ACTIVATIONS[activation](x + next(weights).reshape(1, -1, 1, 1) if bias else x)
                case Norm(activation):
                    x = _batch_norm(x, *islice(weights, 4), training)
                    x = ACTIVATIONS[activation](x)
                case Pool():
                    x = max_pool(_even(x), (2, 2), 2)
                case AveragePool():
                    n, c, h, w = _even(x).shape
                    x = _even(x).reshape(n, c, h // 2, 2, w // 2, 2).mean(axis=(3, 5))
                case GlobalPool():
                    x = x.mean(axis=(2, 3))
                case Flatten():
                    x = x.reshape(len(x), -1)
                case Dense(_, activation):
                    x = ACTIVATIONS[activation](mygrad.matmul(x, next(weights).T) + next(weights))
                case Dropout(rate) if training:
                    x = x * (self.random.random(x.shape, np.float32) >= rate) / np.float32(1 - rate)
                case Scale(factor):
                    x = x * np.float32(factor)
                case Residual(body, shortcut):
                    x = relu(self._forward(body, x, weights, training) + self._forward(shortcut, x, weights, training))
        return x


def _batch_norm(x: Any, gamma: Any, beta: Any, mean: Any, variance: Any, training: bool) -> Any:
    if training:
        for average, value in ((mean, x.data.mean((0, 2, 3))), (variance, x.data.var((0, 2, 3)))):
            average.data[...] = NORM_MOMENTUM * average.data + (1 - NORM_MOMENTUM) * value
        return batchnorm(x, gamma=gamma, beta=beta, eps=NORM_EPSILON)
    scale = gamma / mygrad.sqrt(variance + np.float32(NORM_EPSILON))
    return x * scale.reshape(1, -1, 1, 1) + (beta - mean * scale).reshape(1, -1, 1, 1)


def _even(x: Any) -> Any:
    """Returns the images without a last row or column that 2x2 pooling ignores."""
    h, w = x.shape[2:]
    return x if h % 2 == w % 2 == 0 else x[:, :, : h // 2 * 2, : w // 2 * 2]
