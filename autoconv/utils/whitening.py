"""Filters that whiten the patches of images, for the first layer of a net."""

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..arguments.shapes import check_count
from ..engine.tensor import Tensor

BLOCK = 256  # number of images whose patches are in memory at a time
SWEEPS = 30  # a bound: Jacobi's method needs about eight


def whitening_filters(images: np.ndarray, size: int = 2, epsilon: float = 5e-4) -> np.ndarray:
    """Returns a kernel (size, size, C, 2 size size C) of a convolution that whitens image patches.

    If the images' mean is 0, the outputs of the first half of the filters are uncorrelated, with
    variance 1. A filter is a principal component of the patches, divided by the square root of
    the patches' variance along this component plus `epsilon`. The second half are the negative
    filters, because an activation such as ReLU drops negative outputs (K. Jordan, "94% on CIFAR-10
    in 3.29 seconds", 2024). images: (N, H, W, C) with the values that the layer will receive; a
    thousand images suffice. Raises ValueError for images without a patch, and for NaN.
    """
    check_count("size", size, 1)
    images = np.asarray(images)
    if images.ndim != 4 or not images.size or min(images.shape[1:3]) < size:
        raise ValueError(f"whitening_filters() needs images (N, H, W, C) of at least {size} x "
                         f"{size} pixels. Received: shape {images.shape}.")
    if epsilon <= 0 or not np.isfinite(images).all():
        raise ValueError("whitening_filters() needs finite images and a positive epsilon. "
                         f"Received: epsilon={epsilon}, pixels {images.min()} to {images.max()}.")
    channels = images.shape[3]
    length = size * size * channels
    total = np.zeros((length, length))
    count = 0
    for start in range(0, len(images), BLOCK):
        windows = sliding_window_view(images[start : start + BLOCK], (size, size), axis=(1, 2))
        rows = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, length)
        patches = Tensor(np.array(rows, np.float64))
        total += (patches.T @ patches).numpy()
        count += len(patches)
    variances, components = eigenvectors(total / count)
    filters = components / np.sqrt(np.maximum(variances, 0) + epsilon)
    both = np.concatenate([filters, -filters], 1)
    return both.reshape(size, size, channels, -1).astype(np.float32)


def eigenvectors(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a symmetric matrix's eigenvalues (n,), largest first, and its eigenvectors as columns.

    Jacobi's method rotates pairs of rows and columns until the matrix is diagonal (Golub and Van
    Loan, "Matrix computations", section 8.5). Unlike LAPACK, it gives the same bits on every
    processor.
    """
    a = np.array(matrix, np.float64)
    vectors = np.eye(len(a))
    for _ in range(SWEEPS):
        if not np.triu(a, 1).any():
            break
        for p in range(len(a)):
            for q in range(p + 1, len(a)):
                _rotate(a, vectors, p, q)
    order = np.argsort(-np.diag(a), kind="stable")
    vectors = vectors[:, order]
    largest = vectors[np.abs(vectors).argmax(0), np.arange(len(a))]
    return np.diag(a)[order], vectors * np.sign(largest)


def _rotate(a: np.ndarray, vectors: np.ndarray, p: int, q: int) -> None:
    """Rotates rows and columns p and q of `a`, so that a[p, q] is 0, and the columns of `vectors`."""
    if abs(a[p, q]) <= 1e-18 * math.sqrt(abs(a[p, p] * a[q, q])):
        a[p, q] = a[q, p] = 0.0
        return
    ratio = (a[q, q] - a[p, p]) / (2 * a[p, q])
    tangent = math.copysign(1.0, ratio) / (abs(ratio) + math.sqrt(1 + ratio * ratio))
    cosine = 1 / math.sqrt(1 + tangent * tangent)
    sine = tangent * cosine
    for rows in (a, a.T, vectors.T):
        turned = sine * rows[p] + cosine * rows[q]
        rows[p] = cosine * rows[p] - sine * rows[q]
        rows[q] = turned
    a[p, q] = a[q, p] = 0.0
