"""Checks a user's arrays (one array, a list, or a dict by name) before anything runs, without copying them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from numbers import Integral, Real
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from ..arguments.shapes import check_count
from ..engine.ranks import Part
from ..engine.symbolic import flatten
from ..engine.tensor import Tensor, from_dlpack
from ..kernels.device import detach

Model = Any  # a `models.Model`, which this package cannot import
_CUDA = 2  # DLPack's number for the memory of an NVIDIA GPU
_first = itemgetter(0)  # one object for all calls, because a step is found by its structure function


@dataclass(frozen=True)
class Data:
    """Inputs x, targets y and sample weights: three lists of arrays (N, ...), one array per input or output of a model.

    x and y may also be GPU arrays; missing arrays are None. `form` converts a list of inputs to the
    structure that the model's call expects. `is_tuple` is true for a batch of an iterable that is a tuple or list.
    """

    x: list[Any]
    y: list[Any]
    weights: list[Any]
    form: Callable[[list[Any]], Any]
    is_tuple: bool = False

    def __len__(self) -> int:
        return len(self.x[0])

    @property
    def like(self) -> "Data":
        """This object, as an example of the shapes of its batches."""
        return self

    @property
    def arrays(self) -> list[Any]:
        """All arrays, in the order x, y, weights."""
        return [*self.x, *self.y, *self.weights]

    def rows(self, start: int, stop: int) -> "Data":
        """Returns the samples start..stop-1, without copying them."""
        def cut(arrays: list[Any]) -> list[Any]:
            return [None if a is None else a[start:stop] for a in arrays]

        return Data(cut(self.x), cut(self.y), cut(self.weights), self.form, self.is_tuple)


class Batch(NamedTuple):
    """A batch, or several consecutive batches of one size.

    `source` is the source from which a step reads the batches `numbers`, the first of which is next; None if the
    data are fed to the step. `data` has arrays with a batch's shapes. `part` is this process's part of a batch.
    """

    source: Any
    data: Data
    part: Part
    numbers: Sequence[int] = (0,)


def check_data(x: Any, y: Any = None, sample_weight: Any = None, names: Sequence[str] | None = None,
               output_names: Sequence[str] | None = None) -> Data:
    """Checks a data set's arrays and returns them as `Data`. `names` and `output_names` set the order of dict items."""
    inputs = [_numbers("x", a) for a in parts(x, "x", names)]
    if isinstance(y, Mapping) and output_names is not None and y.keys() < set(output_names):
        y = {name: y.get(name) for name in output_names}  # outputs without a loss need no targets
    targets = [None if a is None else _numbers("y", a) for a in parts(y, "y", output_names)]
    weights = [None if a is None else _numbers("sample_weight", a) for a in parts(
        sample_weight, "sample_weight", output_names if isinstance(sample_weight, list | tuple | dict) else None)]
    weights = [a.reshape(-1) if a is not None and a.ndim == 2 and a.shape[1] == 1 else a for a in weights]
    if len(weights) == 1:
        weights *= max(len(targets), 1)  # the same weights for each output
    samples = inputs[0].shape[0]
    if not samples:
        raise ValueError(f"x contains no samples. Received shape: {inputs[0].shape}.")
    labels = [*_label("x", x, inputs, names), *_label("y", y, targets, output_names),
              *_label("sample_weight", sample_weight, weights, output_names)]
    for name, array in zip(labels, [*inputs, *targets, *weights]):
        if array is not None and len(array) != samples:
            raise ValueError(f"{labels[0]} and {name} must have the same number of samples. "
                             f"Received: {samples} and {len(array)} samples.")
    return Data(inputs, targets, weights, structure(x, names))


def _label(argument: str, value: Any, arrays: list[Any], names: Sequence[str] | None) -> list[str]:
    """Returns each array's name for error messages, such as x, x['left'] or x[0]."""
    if not isinstance(value, list | tuple | Mapping) or len(arrays) == 1:
        return [argument] * len(arrays)
    keys = names or (sorted(value) if isinstance(value, Mapping) else range(len(arrays)))
    return [f"{argument}[{key!r}]" for key in keys]


def parts(value: Any, argument: str, names: Sequence[str] | None) -> list[Any]:
    """Converts a user's value for inputs or outputs with these names (one array, a list or a dict) to a list.

    Without names, a list or tuple of arrays and a dict count as several arrays.
    """
    if isinstance(value, Mapping):
        keys = sorted(value) if names is None else list(names)
        if set(value) != set(keys):
            raise ValueError(f"{argument} must have the keys {keys}. Received: the keys {list(value)}.")
        return [value[name] for name in keys]
    is_list = isinstance(value, list | tuple) and value and all(getattr(a, "ndim", 0) > 0 or a is None for a in value)
    if names is None:
        return list(value) if is_list else [value]
    if len(names) == 1:
        return list(value) if is_list and len(value) == 1 else [value]
    if value is None:
        return [None] * len(names)
    if not isinstance(value, list | tuple) or len(value) != len(names):
        count = len(value) if isinstance(value, list | tuple) else 1
        raise ValueError(f"{argument} must have {len(names)} arrays, given as a list or as a dict "
                         f"with the keys {list(names)}. Received number of arrays: {count}.")
    return list(value)


def list_leaves(values: Any, like: Any) -> list[Any] | None:
    """Converts values in the structure `like` of a model's inputs or outputs to a list with one item per leaf, in
    the order of `flatten`. A missing key gives None for all leaves below it. Returns None if the structures differ.
    """
    if not isinstance(like, dict | list | tuple):
        return [values]
    if isinstance(like, dict):
        if not isinstance(values, Mapping) or not values.keys() <= like.keys():
            return None
        pairs = [(values.get(key), like[key]) for key in sorted(like)]
    else:
        if not isinstance(values, list | tuple) or len(values) != len(like):
            return None
        pairs = list(zip(values, like))
    result: list[Any] = []
    for item, part in pairs:
        leaves = [None] * len(flatten(part)) if item is None else list_leaves(item, part)
        if leaves is None:
            return None
        result += leaves
    return result


def structure(value: Any, names: Sequence[str] | None) -> Callable[[list[Any]], Any]:
    """Returns a function that converts a list from `parts` to the structure that a model's `call` expects."""
    if names is None and isinstance(value, Mapping):
        return _make_dict(tuple(sorted(value)))
    is_single = len(names) == 1 if names is not None else len(parts(value, "x", None)) == 1
    return _first if is_single else list


@lru_cache
def _make_dict(keys: tuple[str, ...]) -> Callable[[list[Any]], Any]:
    """Returns a function that builds a dict with these keys. Equal keys give the same function."""
    return lambda items: dict(zip(keys, items))


def batch_parts(batch: Any) -> tuple[Any, Any, Any]:
    """Splits a batch x, (x,), (x, y) or (x, y, sample_weight) into x, y and sample_weight."""
    if not isinstance(batch, tuple | list):
        return batch, None, None
    if len(batch) not in (1, 2, 3):
        raise ValueError("A batch must be x, (x, y) or (x, y, sample_weight). "
                         f"Received: {type(batch).__name__} of length {len(batch)}.")
    return (*batch, None, None)[:3]  # type: ignore[return-value]


def _numbers(name: str, value: Any) -> Any:
    value = value if isinstance(value, Tensor) else detach(value)
    if hasattr(value, "__dlpack__") and not isinstance(value, Tensor) and value.__dlpack_device__()[0] == _CUDA:
        value = from_dlpack(value)  # an array of CuPy, PyTorch or JAX, which stays on its device
    if isinstance(value, Tensor):
        value._refuse_loss("np.asarray")
    try:
        array = value.data if isinstance(value, Tensor) else np.asarray(value)
    except ValueError as error:
        if "inhomogeneous" not in str(error):
            raise
        remedy = (f"Pass {name} as one array, without other arrays in a tuple." if isinstance(value, tuple) else
                  "Pad, crop or resize them to one shape.")
        raise ValueError(f"All samples in {name} must have the same shape. Received: a {type(value).__name__} of "
                         f"{len(value)} items whose shapes differ. {remedy}") from None
    if array.dtype.kind not in "biuf":
        received = "None" if value is None else f"{type(value).__name__} of dtype {array.dtype}"
        raise TypeError(f"{name} must be an array of numbers. Received: {received}.{_remedy(name, value, array)}")
    if not array.ndim:
        raise ValueError(f"{name} must be an array with the samples along its first axis. Received: {value!r}. For a "
                         "single sample, add an axis for the batch: x[None], and np.array([label]) as y.")
    return array


def _remedy(name: str, value: Any, array: np.ndarray) -> str:
    """Returns advice on converting an array of text or objects to numbers."""
    items = array.ravel().tolist() if array.dtype.kind == "O" else []
    is_text = array.dtype.kind in "SUT" or any(isinstance(item, str) for item in items)
    if array.ndim and (is_text or items):
        with suppress(ValueError, TypeError):
            np.asarray(array, np.float32)  # "3.5" is a number
            return f" Convert it to numbers: np.asarray({name}, 'float32')."
    if is_text and name == "y":
        return " Number the classes: classes, y = np.unique(y, return_inverse=True)."
    if is_text and hasattr(value, "columns"):
        return f" Replace columns of text by numbers, e.g. with pandas.get_dummies({name}, dtype='float32')."
    if any(hasattr(item, "__len__") and not isinstance(item, str | bytes) for item in items):
        return f" If all samples have the same shape, use np.stack({name})."
    return ""


def split_validation(data: Data, share: float) -> tuple[Data, Data]:
    """Splits off the last samples, a fraction `share`, before any shuffling as in Keras. Returns both parts."""
    if not 0 <= share < 1:
        raise ValueError(f"validation_split must lie in [0, 1). Received: {share}.")
    cut = int(len(data) * (1 - share))
    if cut in (0, len(data)):
        raise ValueError("The training set and the validation set must each contain at least one "
                         f"sample. Received: validation_split={share} with {len(data)} samples.")
    return data.rows(0, cut), data.rows(cut, len(data))


def class_weights(y: np.ndarray, class_weight: Mapping[int, float]) -> np.ndarray:
    """Returns each sample's weight by its class, 1 by default. y has labels (N,) or (N, 1), or one-hot
    rows (N, C). For labels (N, H, W, 1) or one-hot rows (N, H, W, C), the weights are per pixel.
    """
    numbers = isinstance(class_weight, Mapping) and all(
        isinstance(key, Integral) and isinstance(weight, Real) for key, weight in class_weight.items())
    if not numbers:
        raise ValueError("class_weight must be a dict {class: weight} with integers as classes and numbers as "
                         "weights, such as {0: 2.0}. Classes without an entry have the weight 1. Received: "
                         f"{class_weight!r}. Convert a list with dict(enumerate(class_weight)).")
    one_hot = y.ndim > 1 and y.shape[-1] > 1
    if one_hot and y.ndim > 2 and y.dtype.kind in "iu" and (y.sum(-1) != 1).any():
        raise ValueError("With class_weight, labels of more than two axes must be one-hot or have "
                         f"a last axis of length 1. Received: integer labels of shape {y.shape}. "
                         "For one label per pixel, pass y[..., None].")
    labels = y.argmax(-1) if one_hot else y.reshape(y.shape[:1] if y.ndim == 1 else y.shape[:-1])
    classes, position = np.unique(labels, return_inverse=True)
    weights = np.array([class_weight.get(c, 1.0) for c in classes.tolist()], np.float64)[position]
    return weights.reshape(labels.shape)


def validates_in(freq: Any) -> Callable[[int], bool]:
    """Returns a function that reports whether validation follows an epoch, counted from 1."""
    if isinstance(freq, Iterable) and not isinstance(freq, str):
        epochs = set(freq)
        return lambda epoch: epoch in epochs
    check_count("validation_freq", freq, 1)
    return lambda epoch: epoch % freq == 0


def sample_weights(y: Any, sample_weight: Any, class_weight: Mapping[int, float] | None) -> Any:
    """Returns each sample's weight, from sample_weight or from class_weight."""
    if class_weight is None:
        return sample_weight
    if sample_weight is not None:
        raise ValueError("Only one of class_weight and sample_weight can be given. Received: "
                         "both. Leave out one of them.")
    if isinstance(y, Mapping) or len(parts(y, "y", None)) > 1:
        raise ValueError("class_weight is supported only for models with one output. Received: "
                         "targets for several outputs. Pass sample_weight instead.")
    return class_weights(np.asarray(y), class_weight)


def drop_batch(shapes: Any) -> Any:
    """Replaces the batch size by None in all shapes of a structure."""
    if isinstance(shapes, dict):
        return {name: drop_batch(shape) for name, shape in shapes.items()}
    return [drop_batch(s) for s in shapes] if isinstance(shapes, list) else (None, *shapes[1:])
