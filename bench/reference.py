"""The nets once more, in NumPy and float64: what the loss of every peer is compared with."""

import numpy as np

from .workloads import NORM_EPSILON, Conv, Dense, Flatten, Norm, Pool, Scale, Workload


def loss(workload: Workload, weights: list[np.ndarray], images: np.ndarray, labels: np.ndarray) -> float:
    """The mean cross-entropy of a batch, without dropout."""
    logits = np.concatenate([_logits(workload, weights, images[i : i + 8]) for i in range(0, len(images), 8)])
    logits -= logits.max(axis=1, keepdims=True)
    log_shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-log_shares[np.arange(len(labels)), labels].mean())


def _logits(workload: Workload, weights: list[np.ndarray], images: np.ndarray) -> np.ndarray:
    x, left = images.astype(np.float64), iter([w.astype(np.float64) for w in weights])
    for layer in workload.layers:
        if isinstance(layer, Conv):
            x = _convolution(x, next(left), layer.padding) + next(left)
            x = _relu(x) if layer.relu else x
        elif isinstance(layer, Norm):
            gamma, beta, mean, variance = (next(left) for _ in range(4))
            x = _relu(gamma * (x - mean) / np.sqrt(variance + NORM_EPSILON) + beta)
        elif isinstance(layer, Pool):
            n, h, w, c = x.shape
            x = x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))
        elif isinstance(layer, Flatten):
            x = x.reshape(len(x), -1)
        elif isinstance(layer, Dense):
            x = x @ next(left) + next(left)
            x = _relu(x) if layer.relu else x
        elif isinstance(layer, Scale):
            x = x * layer.factor
    return x


def _convolution(x: np.ndarray, w: np.ndarray, padding: str) -> np.ndarray:
    """One matrix product for each position in the kernel."""
    kh, kw = w.shape[:2]
    if padding == "same":
        x = np.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    oh, ow = x.shape[1] - kh + 1, x.shape[2] - kw + 1
    return sum(x[:, i : i + oh, j : j + ow] @ w[i, j] for i in range(kh) for j in range(kw))


def _relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)
