"""Creates one-hot targets."""

from typing import Any

import numpy as np

from ..engine.tensor import Tensor
from ..functional.layer_functions import TensorLike


def to_categorical(x: TensorLike, num_classes: int | None = None) -> Any:
    """Converts integer labels of shape (N,) or (N, 1) to one-hot rows (N, num_classes), as a tensor
    if x is a tensor. num_classes: by default the largest label plus one. Raises ValueError if the
    labels are not integers in 0..num_classes - 1.
    """
    values = np.asarray(x)
    labels = values.astype(np.int64) if values.dtype.kind in "biuf" else None
    if labels is None or not labels.size or (labels != values).any():
        raise ValueError(f"to_categorical needs integer labels, and at least one label. Received: {x!r}.")
    if labels.ndim > 1 and labels.shape[-1] == 1:
        labels = labels[..., 0]
    classes = int(labels.max()) + 1 if num_classes is None else num_classes
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"Labels must be from 0 to {classes - 1} for {classes} classes. Received: "
                         f"labels from {labels.min()} to {labels.max()}."
                         + " To count negative labels from the end, as Keras does, pass labels % num_classes."
                         * bool(labels.min() < 0))
    rows = np.eye(classes)[labels]
    return Tensor(x.device.asarray(rows, np.float32), device=x.device) if isinstance(x, Tensor) else rows
