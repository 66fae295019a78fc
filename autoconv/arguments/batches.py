"""Batches for `fit`: a base class of custom data sets, and functions that pack and unpack a batch's parts."""

from collections.abc import Iterator
from typing import Any


class PyDataset:
    """Base class of custom data sets. `__getitem__(i)` returns batch i as (x, y) or (x, y,
    sample_weight). `__len__` or `num_batches` returns the number of batches; a `num_batches` of
    None means an endless data set. `on_epoch_begin` and `on_epoch_end` may change the data. `fit`
    accepts any object with these methods.

    Batches are created one after the other. Keras's arguments workers, use_multiprocessing and
    max_queue_size are accepted without effect.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self.workers = workers
        self.use_multiprocessing = use_multiprocessing
        self.max_queue_size = max_queue_size

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__(self, index), "
                                  "which returns the batch with that index.")

    @property
    def num_batches(self) -> int | None:
        """The number of batches."""
        if not hasattr(self, "__len__"):
            raise NotImplementedError(f"{type(self).__name__} must define __len__(self) or the "
                                      "property num_batches, which returns the number of batches.")
        return len(self)

    def on_epoch_begin(self) -> None:
        """Does nothing by default. `fit` calls this method before each epoch."""

    def on_epoch_end(self) -> None:
        """Does nothing by default. `fit` calls this method after each epoch."""


Sequence = PyDataset


def is_sequence(batches: Any) -> bool:
    """Returns whether batches are accessed by index, as in a PyDataset."""
    return hasattr(batches, "__getitem__") and (hasattr(batches, "__len__") or hasattr(type(batches), "num_batches"))


def count_batches(batches: Any) -> int | None:
    """Returns the number of batches, or None if the number is unknown or the batches are endless."""
    if is_sequence(batches) and hasattr(type(batches), "num_batches"):
        return batches.num_batches
    try:
        return len(batches) if hasattr(batches, "__len__") else None
    except TypeError:  # a TensorFlow data set of unknown length
        return None


def each_once(batches: Any) -> Iterator[Any]:
    """Returns an iterator over all batches, by index for a sequence. Raises ValueError for an endless sequence."""
    if not is_sequence(batches):
        return iter(batches)
    count = count_batches(batches)
    if count is None:
        raise ValueError("An endless PyDataset (num_batches is None) cannot be read completely. Received: "
                         f"{type(batches).__name__}. Pass a finite number of batches, e.g. in a list.")
    return (batches[i] for i in range(count))


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """Returns the given parts as a batch for `fit`. Without y, this is x, or (x,) if x is a list or tuple."""
    if y is None:
        return x if not isinstance(x, list | tuple) else (x,)
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """Returns a batch's (x, y, sample_weight), with None for missing parts. Raises ValueError for more parts."""
    if isinstance(data, list):
        data = tuple(data)
    if not isinstance(data, tuple):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise ValueError("Data is expected to be in format `x`, `(x,)`, `(x, y)`, or `(x, y, "
                         f"sample_weight)`. Received: a tuple of {len(data)} items.")
    return (*data, None, None)[:3]  # type: ignore[return-value]
