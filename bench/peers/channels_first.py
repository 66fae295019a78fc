"""Weight layouts for frameworks whose images are (N, C, H, W)."""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from ..specs import Conv, Dense, Depthwise, Flatten, Norm
from ..workloads import Workload, shapes


def convert_weights(workload: Workload, weights: list[np.ndarray], channels_first: bool) -> Iterator[np.ndarray]:
    """Yields weights in the layout for images (N, C, H, W) if `channels_first`, or else in Keras's.
    `weights` are in the other layout. With channels first, kernels are (F, C, KH, KW), and the rows of
    the first dense layer have the order (C, H, W) instead of (H, W, C).
    """
    remaining, image = iter(weights), None
    for layer, before, _ in shapes(workload):
        if isinstance(layer, Flatten):
            image = before
        elif isinstance(layer, Conv):
            yield np.ascontiguousarray(next(remaining).transpose((3, 2, 0, 1) if channels_first else (2, 3, 1, 0)))
            if layer.bias:
                yield next(remaining)
        elif isinstance(layer, Depthwise):  # (KH, KW, C, 1) in Keras, (C, 1, KH, KW) with channels first
            yield np.ascontiguousarray(next(remaining).transpose(2, 3, 0, 1))
        elif isinstance(layer, Norm):
            yield from islice(remaining, 4)
        elif isinstance(layer, Dense):
            w = next(remaining)
            if channels_first:
                w = w.T if image is None else w.reshape(*image, -1).transpose(3, 2, 0, 1).reshape(w.shape[1], -1)
            else:
                h, wide, c = image or (1, 1, w.shape[1])
                w = w.reshape(-1, c, h, wide).transpose(2, 3, 1, 0).reshape(-1, len(w))
            yield np.ascontiguousarray(w)
            yield next(remaining)
            image = None


def transpose_images(images: np.ndarray) -> np.ndarray:
    """Transposes images (N, H, W, C) to (N, C, H, W)."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
