"""Converts weights and images for frameworks whose images are (N, C, H, W)."""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from ..specs import Conv, Dense, Depthwise, Flatten, Norm
from ..workloads import Workload, shapes


def exchanged(workload: Workload, weights: list[np.ndarray], there: bool) -> Iterator[np.ndarray]:
    """Converts weights from Keras's layout to the layout for images (N, C, H, W), in which kernels are (F, C, KH, KW),
    or back. The rows of the first dense layer count (H, W, C) in Keras's layout and (C, H, W) in the other.
    """
    left, image = iter(weights), None
    for layer, before, _ in shapes(workload):
        if isinstance(layer, Flatten):
            image = before
        elif isinstance(layer, Conv):
            yield np.ascontiguousarray(next(left).transpose((3, 2, 0, 1) if there else (2, 3, 1, 0)))
            if layer.bias:
                yield next(left)
        elif isinstance(layer, Depthwise):  # (KH, KW, C, 1) and (C, 1, KH, KW)
            yield np.ascontiguousarray(next(left).transpose(2, 3, 0, 1))
        elif isinstance(layer, Norm):
            yield from islice(left, 4)
        elif isinstance(layer, Dense):
            w = next(left)
            if there:
                w = w.T if image is None else w.reshape(*image, -1).transpose(3, 2, 0, 1).reshape(w.shape[1], -1)
            else:
                h, wide, c = image or (1, 1, w.shape[1])
                w = w.reshape(-1, c, h, wide).transpose(2, 3, 1, 0).reshape(-1, len(w))
            yield np.ascontiguousarray(w)
            yield next(left)
            image = None


def transposed(images: np.ndarray) -> np.ndarray:
    """Transposes images (N, H, W, C) to (N, C, H, W)."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
