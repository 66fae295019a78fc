"""Arrays as minibatches: the checks of what a user passes, the shuffled order, the batch as the kernels take it."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from .. import random
from ..backend import device as devices
from ..tensor import Tensor


class Data(NamedTuple):
    """Inputs x (N, ...), targets y (N, ...) and weights (N,) of the samples; what is not there is None.

    x may also be an array of a GPU.
    """

    x: np.ndarray
    y: np.ndarray | None = None
    weights: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.x)

    def rows(self, start: int, stop: int) -> "Data":
        """The samples start..stop-1, without a copy."""
        return Data(*(None if a is None else a[start:stop] for a in self))  # type: ignore[arg-type]


def check_data(x: Any, y: Any = None, sample_weight: Any = None) -> Data:
    """The arrays of a data set, or an error that says what does not fit. Nothing is copied or converted."""
    data = Data(_numbers("x", x), _numbers("y", y), _numbers("sample_weight", sample_weight))
    if not data.x.shape[0]:
        raise ValueError(f"x holds no samples. Received shape: {data.x.shape}.")
    for name, array in (("y", data.y), ("sample_weight", data.weights)):
        if array is not None and len(array) != len(data.x):
            raise ValueError(f"x and {name} must have the same number of samples. "
                             f"Received: {len(data.x)} and {len(array)}.")
    if data.weights is not None and data.weights.ndim != 1:
        raise ValueError(f"sample_weight must have one number a sample. Received shape: {data.weights.shape}.")
    return data


def _numbers(name: str, value: Any) -> Any:
    if value is None and name != "x":
        return None
    on_gpu = name == "x" and isinstance(value, Tensor) and value.device.resident
    array = value.data if on_gpu else np.asarray(value)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"{name} must be an array of numbers. Received: {type(value).__name__} of dtype {array.dtype}.")
    if not array.ndim:
        raise ValueError(f"{name} must be an array with the samples along its first axis. Received: {value!r}.")
    return array


def split_validation(data: Data, share: float) -> tuple[Data, Data]:
    """The data without, and with only, its last `share` of samples, as Keras takes them: before any shuffling."""
    if not 0 <= share < 1:
        raise ValueError(f"validation_split must lie in [0, 1). Received: {share}.")
    cut = int(len(data) * (1 - share))
    if cut in (0, len(data)):
        raise ValueError(f"{len(data)} samples cannot be split into a training and a validation set. "
                         f"Received: validation_split={share}.")
    return data.rows(0, cut), data.rows(cut, len(data))


def class_weights(y: np.ndarray, class_weight: Mapping[int, float]) -> np.ndarray:
    """The weight of each sample by its class; y are labels (N,) or (N, 1), or one-hot (N, C)."""
    one_hot = y.ndim > 1 and y.shape[-1] > 1
    labels = y.argmax(-1) if one_hot else y.reshape(len(y))
    classes, position = np.unique(labels, return_inverse=True)
    missing = [int(c) for c in classes if c not in class_weight]
    if missing:
        raise ValueError(f"class_weight must have a weight for every class in y. Missing: {missing}. "
                         f"Received: {dict(class_weight)}.")
    return np.array([class_weight[c] for c in classes], np.float64)[position]


class Batches:
    """`batches[i]` is minibatch i of the data, x in `dtype`; the last one may be smaller.

    Arrays come from the step's pool, so reused buffers are filled and no step pays for fresh pages. Where nothing has
    to be converted or reordered, a batch is a view of the user's array.
    """

    def __init__(self, data: Data, batch_size: int | None, dtype: Any, device: devices.Device) -> None:
        batch_size = 32 if batch_size is None else batch_size
        if isinstance(batch_size, bool) or not hasattr(batch_size, "__index__") or batch_size < 1:
            raise ValueError(f"batch_size must be an integer of at least 1. Received: {batch_size!r}.")
        self.data, self.batch_size, self.dtype, self.device = data, int(batch_size), np.dtype(dtype), device
        self._order: np.ndarray | None = None

    def __len__(self) -> int:
        return -(-len(self.data) // self.batch_size)

    def shuffle(self) -> None:
        """A new random order of the samples."""
        self._order = random.permutation(len(self.data))

    def order(self) -> np.ndarray:
        """The samples' numbers in the order in which they come."""
        return np.arange(len(self.data)) if self._order is None else self._order

    def rows(self, i: int) -> range:
        """The places of minibatch i's samples in the order."""
        return range(i * self.batch_size, min((i + 1) * self.batch_size, len(self.data)))

    def host(self, i: int) -> Data:
        """Minibatch i as the user's arrays have it."""
        x, y, weights = self.data
        rows: Any = slice(self.rows(i).start, self.rows(i).stop)
        if self._order is not None:
            rows = self._order[rows]
        return Data(self._gather(x, rows), None if y is None else self._gather(y, rows),
                    None if weights is None else weights[rows])

    def __getitem__(self, i: int) -> tuple[Any, np.ndarray | None, np.ndarray | None]:
        x, y, weights = self.host(i)
        return to_device(x, self.dtype, self.device), y, weights

    def _gather(self, array: np.ndarray, rows: Any) -> np.ndarray:
        if isinstance(rows, slice) or not isinstance(array, np.ndarray) or not array.flags.c_contiguous:
            return array[rows]
        out = devices.get("cpu").empty((len(rows), *array.shape[1:]), array.dtype)
        return np.take(array, rows, axis=0, out=out, mode="clip")  # the mode "raise" would buffer the result once more


def to_device(x: np.ndarray, dtype: np.dtype, device: devices.Device) -> Any:
    """x in the dtype of the model, converted into a buffer of the step's pool where that is needed."""
    if x.dtype == dtype:
        return device.asarray(x)
    converted = device.empty(x.shape, dtype)
    converted[...] = x
    return converted
