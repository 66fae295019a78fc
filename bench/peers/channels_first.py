"""What frameworks share whose images are (N, C, H, W): the weights in that layout."""

from collections.abc import Iterator
from itertools import islice

import numpy as np

from ..specs import Conv, Dense, Depthwise, Flatten, Norm
from ..workloads import Workload, shapes


def exchanged(workload: Workload, weights: list[np.ndarray], there: bool) -> Iterator[np.ndarray]:
    """Weights from Keras's layout to the one of images (N, C, H, W), where kernels are (F, C, KH, KW), or back. The
    first dense layer's rows count (H, W, C) in the one and (C, H, W) in the other.
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
    """Images (N, H, W, C) as (N, C, H, W)."""
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
