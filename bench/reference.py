"""Computes the nets in NumPy and float64, as a reference for the loss of every peer."""

from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np

from .specs import (
    AveragePool,
    Concat,
    Conv,
    Dense,
    Depthwise,
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
from .workloads import NORM_EPSILON, Workload

ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0), "relu6": lambda x: np.clip(x, 0, 6),
    "swish": lambda x: x / (1 + np.exp(-x)), "hard_swish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "hard_sigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
    "tanh": np.tanh, None: lambda x: x,
}


def loss(workload: Workload, weights: list[np.ndarray], images: np.ndarray, labels: np.ndarray) -> float:
    """Returns the mean cross-entropy of a batch, without dropout."""
    exact = [w.astype(np.float64) for w in weights]
    parts = (images[i : i + 8].astype(np.float64) for i in range(0, len(images), 8))
    logits = np.concatenate([forward(workload.layers, x, iter(exact)) for x in parts])
    logits -= logits.max(axis=-1, keepdims=True)
    log_shares = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return float(-np.take_along_axis(log_shares, labels[..., None], axis=-1).mean())


def forward(layers: Sequence[Spec], x: np.ndarray, weights: Iterator[np.ndarray]) -> np.ndarray:
    """Returns the output of these layers for x, with the next weights from `weights`."""
    for layer in layers:
        match layer:
            case Conv(_, _, padding, activation, strides, bias):
                x = _convolution(_pad(x, padding), next(weights), strides)
                x = ACTIVATIONS[activation](x + next(weights) if bias else x)
            case Depthwise(kernel, strides):
                x = _depthwise(_pad(x, kernel // 2), next(weights)[..., 0], strides)
            case Norm(activation):
                gamma, beta, mean, variance = islice(weights, 4)
                x = gamma * (x - mean) / np.sqrt(variance + NORM_EPSILON) + beta
                x = ACTIVATIONS[activation](x)
            case Pool(size, strides, padding):
                windows = _windows(_pad(x, padding, -np.inf), (size, size), strides)
                x = np.maximum.reduce([pixels for _, _, pixels in windows])
            case AveragePool():
                x = sum(pixels for _, _, pixels in _windows(x, (2, 2), 2)) / 4
            case GlobalPool():
                x = x.mean(axis=(1, 2))
            case Flatten():
                x = x.reshape(len(x), -1)
            case Dense(_, activation):
                x = ACTIVATIONS[activation](x @ next(weights) + next(weights))
            case Scale(factor):
                x = x * factor
            case Upsample():
                x = x.repeat(2, axis=1).repeat(2, axis=2)
            case Residual(body, shortcut, activation):
                x = ACTIVATIONS[activation](forward(body, x, weights) + forward(shortcut, x, weights))
            case Gate(body):
                x = x * forward(body, x, weights)[:, None, None]
            case Concat(body):
                x = np.concatenate([x, forward(body, x, weights)], axis=-1)
    return x


def _pad(x: np.ndarray, padding: int, value: float = 0.0) -> np.ndarray:
    return np.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)), constant_values=value)


def _windows(x: np.ndarray, kernel: tuple[int, ...], strides: int) -> Iterator[tuple[int, int, np.ndarray]]:
    """Yields the row and the column of each position in a kernel, and the pixels to multiply there."""
    h, w = ((size - k) // strides * strides + 1 for size, k in zip(x.shape[1:3], kernel))
    for i, j in np.ndindex(kernel[:2]):
        yield i, j, x[:, i : i + h : strides, j : j + w : strides]


def _convolution(x: np.ndarray, w: np.ndarray, strides: int) -> np.ndarray:
    """Returns a convolution as the sum of one matrix product per position in the kernel."""
    return sum(pixels @ w[i, j] for i, j, pixels in _windows(x, w.shape, strides))


def _depthwise(x: np.ndarray, w: np.ndarray, strides: int) -> np.ndarray:
    return sum(pixels * w[i, j] for i, j, pixels in _windows(x, w.shape, strides))
