"""Batches as `fit` takes them: a base for those of your own, and tuples of a batch's parts."""

from typing import Any


class PyDataset:
    """The base of a data set of yours: `__len__` says how many batches there are, `__getitem__(i)` makes batch i,
    (x, y) or (x, y, sample_weight). `on_epoch_begin` and `on_epoch_end` may change it. `fit` takes any object like it.

    The batches are made one after the other: workers, use_multiprocessing and max_queue_size are Keras's, and change
    nothing but how fast it could be.
    """

    def __init__(self, workers: int = 1, use_multiprocessing: bool = False, max_queue_size: int = 10) -> None:
        self.workers, self.use_multiprocessing, self.max_queue_size = workers, use_multiprocessing, max_queue_size

    def __getitem__(self, index: int) -> Any:
        raise NotImplementedError(f"{type(self).__name__} must define __getitem__(self, index): the batch of that "
                                  "number.")

    def __len__(self) -> int:
        raise NotImplementedError(f"{type(self).__name__} must define __len__(self): how many batches there are.")

    @property
    def num_batches(self) -> int:
        """How many batches there are."""
        return len(self)

    def on_epoch_begin(self) -> None:
        """Is called before an epoch."""

    def on_epoch_end(self) -> None:
        """Is called after an epoch."""


Sequence = PyDataset


def pack_x_y_sample_weight(x: Any, y: Any = None, sample_weight: Any = None) -> Any:
    """x, (x, y) or (x, y, sample_weight): what was given, as `fit` takes a batch; x alone if it is no list or tuple."""
    if y is None:
        return x if not isinstance(x, list | tuple) else (x,)
    return (x, y) if sample_weight is None else (x, y, sample_weight)


def unpack_x_y_sample_weight(data: Any) -> tuple[Any, Any, Any]:
    """The parts (x, y, sample_weight) of a batch, None for those that it has not. Raises ValueError for more parts."""
    if isinstance(data, list):
        data = tuple(data)
    if not isinstance(data, tuple):
        return data, None, None
    if not 1 <= len(data) <= 3:
        raise ValueError("Data is expected to be in format `x`, `(x,)`, `(x, y)`, or `(x, y, sample_weight)`. "
                         f"Received: {len(data)} parts.")
    return (*data, None, None)[:3]  # type: ignore[return-value]
