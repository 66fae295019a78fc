"""Intersection over union, the overlap of the areas of classes, computed from a confusion matrix."""

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..engine.tensor import Tensor
from .metric import Metric, array, number, ordered_sum, ratio


class IoU(Metric):
    """The mean of TP / (TP + FP + FN) over those `target_class_ids` that occur in the data. Ids are 0..num_classes-1.

    Targets are integers if `sparse_y_true`, else one-hot along `axis`. Predictions are integers if
    `sparse_y_pred`, else probabilities along `axis`. Pixels labelled `ignore_class` do not count.
    Counts are integers by default; for fractional weights pass dtype="float32".
    """

    direction = "up"

    def __init__(
        self, num_classes: int, target_class_ids: Sequence[int], name: str | None = None, dtype: str | None = None,
        ignore_class: int | None = None, sparse_y_true: bool = True, sparse_y_pred: bool = True, axis: int = -1,
    ) -> None:
        self.num_classes, self.target_class_ids, self.ignore_class = num_classes, list(target_class_ids), ignore_class
        self.sparse_y_true, self.sparse_y_pred, self.axis = sparse_y_true, sparse_y_pred, axis
        if max(self.target_class_ids) >= num_classes:
            raise ValueError(f"Target class id {max(self.target_class_ids)} is outside the range [0, {num_classes}).")
        super().__init__(dtype or "int32", name)
        whole = np.dtype(self.dtype).kind in "iu"
        self.total_cm = self.add_variable((num_classes, num_classes), dtype=np.int64 if whole else np.float64,
                                          name="total_confusion_matrix")

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:  # type: ignore[override]
        t, p = array(y_true), array(y_pred)
        t = t if self.sparse_y_true else t.argmax(self.axis)
        p = p if self.sparse_y_pred else p.argmax(self.axis)
        t, p = t.reshape(-1).astype(np.int64), p.reshape(-1).astype(np.int64)
        weights = np.broadcast_to(1 if sample_weight is None else array(sample_weight).reshape(-1), t.shape)
        if weights.dtype.kind == "f" and self.total_cm.dtype.kind == "i":
            warnings.warn(f"{self.name} counts in {self.dtype}, so weights lose their fractional "
                          "parts. Pass dtype='float32'.", stacklevel=2)
            weights = weights.astype(np.int64)
        is_counted = (t >= 0) & (t < self.num_classes) & (p >= 0) & (p < self.num_classes) & (t != self.ignore_class)
        np.add.at(self.total_cm.data, (t[is_counted], p[is_counted]), weights[is_counted])
        return Tensor(np.array(self.total_cm.data, self.dtype))

    def result(self) -> Any:
        counts = self.total_cm.data
        hits = np.diagonal(counts)
        union = (ordered_sum(counts, 0) + ordered_sum(counts, 1) - hits)[self.target_class_ids]
        occurs = union > 0
        quotients = hits[self.target_class_ids][occurs] / union[occurs]
        return number(ratio(ordered_sum(quotients), len(quotients)))


class MeanIoU(IoU):
    """`IoU` over all classes."""

    def __init__(self, num_classes: int, name: str | None = None, dtype: str | None = None,
                 ignore_class: int | None = None, sparse_y_true: bool = True, sparse_y_pred: bool = True,
                 axis: int = -1) -> None:
        super().__init__(num_classes, range(num_classes), name, dtype, ignore_class, sparse_y_true, sparse_y_pred, axis)


class OneHotIoU(IoU):
    """`IoU` for one-hot targets. Predictions are probabilities, or integers if `sparse_y_pred`."""

    def __init__(self, num_classes: int, target_class_ids: Sequence[int], name: str | None = None,
                 dtype: str | None = None, ignore_class: int | None = None, sparse_y_pred: bool = False,
                 axis: int = -1) -> None:
        super().__init__(num_classes, target_class_ids, name, dtype, ignore_class, False, sparse_y_pred, axis)


class OneHotMeanIoU(IoU):
    """`OneHotIoU` over all classes."""

    def __init__(self, num_classes: int, name: str | None = None, dtype: str | None = None,
                 ignore_class: int | None = None, sparse_y_pred: bool = False, axis: int = -1) -> None:
        super().__init__(num_classes, range(num_classes), name, dtype, ignore_class, False, sparse_y_pred, axis)


class BinaryIoU(IoU):
    """`IoU` of two classes. Predictions equal to or above `threshold` are class 1."""

    def __init__(self, target_class_ids: Sequence[int] = (0, 1), threshold: float = 0.5, name: str | None = None,
                 dtype: str | None = None) -> None:
        self.threshold = threshold
        super().__init__(2, target_class_ids, name, dtype)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Tensor:  # type: ignore[override]
        return super().update_state(y_true, array(y_pred) >= self.threshold, sample_weight)
