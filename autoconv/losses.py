"""Losses with Keras's names. A loss class returns one number per batch, the loss function one number per sample.

`functional/loss_functions.py` has the formulas. `_loss` creates a class for each formula.
"""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Any, ClassVar

import numpy as np
from numpy.typing import DTypeLike

from . import functional as F
from .arguments import keywords, names
from .arguments.serialization import Configurable, Registry
from .engine.symbolic import flatten, map_structure
from .engine.tensor import Tensor, enter_formula, refuse_gradient, stack_all
from .functional.layer_functions import TensorLike
from .functional.loss_functions import *  # noqa: F403
from .functional.loss_functions import mask_class, whole_labels
from .kernels.device import real_numbers

__all__ = ["BinaryCrossentropy", "BinaryFocalCrossentropy", "CategoricalCrossentropy",
           "CategoricalFocalCrossentropy", "CategoricalGeneralizedCrossEntropy", "CategoricalHinge",
           "CosineSimilarity", "Dice", "Hinge", "Huber", "KLDivergence", "LogCosh", "Loss",
           "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredError",
           "MeanSquaredLogarithmicError", "Poisson", "SparseCategoricalCrossentropy",
           "SquaredHinge", "Tversky", "deserialize", "get", "serialize", *F.loss_functions.__all__]

MEANS = ("sum_over_batch_size", "mean")
REDUCTIONS = (*MEANS, "mean_with_sample_weight", "sum", "none")


class Loss(Configurable):
    """Base class of custom losses: override `call(y_true, y_pred)`, which returns one number per
    sample as a tensor.

    `loss(y_true, y_pred, sample_weight=None)` weights the sample losses and reduces them. The
    reduction "sum_over_batch_size" or "mean" divides their sum by the number of samples,
    "mean_with_sample_weight" divides it by the sum of the weights, and "sum" returns it. With
    "none" or None, all sample losses are returned; training cannot use these.
    """

    recordable = False  # whether `call` consists only of functions on tensors
    bookkeeping: ClassVar[frozenset[str]] = frozenset()  # attributes on which no recording depends

    def __init__(self, name: str | None = None, reduction: str | None = "sum_over_batch_size",
                 dtype: str | None = None) -> None:
        names.lookup("reduction", "none" if reduction is None else reduction, dict.fromkeys(REDUCTIONS))
        self.name = name or names.snake_case(type(self).__name__)
        self.reduction = reduction
        self.dtype = dtype or "float32"

    def call(self, y_true: TensorLike, y_pred: Tensor) -> Tensor:
        """Returns one loss per sample, as a tensor."""
        raise NotImplementedError(f"{type(self).__name__} must override call(self, y_true, y_pred).")

    def sample_losses(self, y_true: TensorLike, y_pred: Tensor) -> Tensor:
        """Returns the result of `call`. Raises TypeError if `call` loses the predictions' gradient."""
        with enter_formula(f"loss {self.name!r}"):
            values = self.call(y_true, y_pred)
        if values is None:
            raise TypeError(f"The loss {self.name!r} must return a tensor. Received: None. Add a return statement.")
        return values if isinstance(values, Tensor) else F.loss_functions._tensor(values)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: TensorLike | None = None) -> Tensor:
        refuse_gradient("A loss", sample_weight=sample_weight)
        mask = getattr(y_pred, "_keras_mask", None)  # nonzero for samples that count
        if mask is not None:
            sample_weight = _apply_mask(sample_weight, np.asarray(mask, self.dtype), self.reduction)
        y_pred = self._map_arrays(self._prediction, y_pred)
        if not self.recordable:
            y_true = self._map_arrays(partial(self._target, like=flatten(y_pred)[0]), y_true)
        values = self.sample_losses(y_true, y_pred)
        if self.reduction in (None, "none") or values.shape == (0,):
            return values if sample_weight is None else values * Tensor(
                values.device.asarray(_fit_weights(sample_weight, values)), device=values.device)
        weights = values.device.asarray(self.normalized_weights(values, sample_weight))
        return (values * Tensor(weights, device=values.device)).sum()

    def has_own_call(self) -> bool:
        """Returns whether a user's class overrides `__call__`. Training then uses the result of `__call__`."""
        return type(self).__call__ not in (Loss.__call__, LossFunction.__call__)

    def _map_arrays(self, function: Callable[[Any], Any], value: Any) -> Any:
        """Applies the function to a value, or to each array in a dict or list."""
        is_list = isinstance(value, list | tuple) and any(isinstance(array, Tensor | np.ndarray) for array in value)
        return map_structure(function, value) if is_list or isinstance(value, dict) else function(value)

    def _prediction(self, y_pred: TensorLike) -> Tensor:
        """Returns predictions as a tensor; arrays are converted to the loss's dtype."""
        y_pred = stack_all(y_pred)
        return y_pred if isinstance(y_pred, Tensor) else F.loss_functions._predictions(real_numbers(y_pred, self.dtype))

    def _target(self, y_true: TensorLike, like: Tensor) -> Tensor:
        y_true = stack_all(y_true)
        if isinstance(y_true, Tensor):
            return y_true
        return Tensor(like.device.asarray(y_true, self.target_dtype(like.dtype)), device=like.device)

    def normalized_weights(self, values: Tensor, sample_weight: TensorLike | None = None,
                           shards: float = 1) -> np.ndarray:
        """Returns, per sample loss, its factor weight / N in the batch's loss, which is also the gradient.
        shards: the number of samples in the whole batch, divided by the number of samples in `values`.
        """
        weights = None if sample_weight is None else _fit_weights(sample_weight, values)
        size = values.size if weights is None else weights.size
        count = 1 if self.reduction == "sum" else max(size, 1) * shards
        if weights is None:
            return np.full(values.shape, 1 / count, values.dtype)
        if self.reduction == "mean_with_sample_weight":
            count = weights.sum(dtype=np.float64) or 1
        return weights / values.dtype.type(count)

    def target_dtype(self, dtype: DTypeLike) -> np.dtype:
        """Returns the dtype of targets for a model that computes in `dtype`."""
        return np.dtype(dtype)

    def check_targets(self, y_true: np.ndarray, output_shape: tuple[int | None, ...]) -> None:
        """Raises ValueError if targets (N, ...) do not match a model's outputs (None, ...)."""

    def find_mismatch(self, y_pred: Tensor) -> str:
        """Returns a warning if this loss needs probabilities, but a model's outputs (N, ..., units) are not suitable
        ones; otherwise "". Raises ValueError for a softmax over one unit.
        """
        units = y_pred.shape[-1] if y_pred.ndim else 1
        if y_pred.activation == "softmax" and units == 1:
            raise ValueError("A softmax needs at least 2 units, because over one class it is always 1. Received: "
                             f"outputs of shape {(None, *y_pred.shape[1:])}. For two classes use Dense(1, "
                             "activation='sigmoid') with loss='binary_crossentropy'.")
        needed = _NEEDED_ACTIVATIONS.get(type(self))
        if needed is None or getattr(self, "from_logits", False):
            return ""
        kind = type(self).__name__
        if y_pred.activation is None:
            values = y_pred.numpy()
            low = values.min() if values.size else 0
            high = values.max() if values.size else 0
            remedy = f", or use losses.{kind}(from_logits=True)" if hasattr(self, "from_logits") else ""
            return "" if not (low < -1e-6 or high > 1 + 1e-6) else (
                f"{kind} needs probabilities from 0 to 1. Received: outputs from {low:.3g} to {high:.3g}. Add "
                f"activation={needed!r} to the last layer{remedy}.")
        if y_pred.activation == needed or units == 1:
            return ""
        if needed == "softmax":
            return (f"{kind} needs probabilities that sum to 1, as from a softmax. Received: {units} outputs of a "
                    "sigmoid. Use activation='softmax' in the last layer; or, if a sample can belong to several "
                    "classes, loss='binary_crossentropy'.")
        return (f"{kind} needs an independent probability per unit, as from a sigmoid. Received: {units} outputs of a "
                "softmax. If each sample belongs to one class, use loss='categorical_crossentropy'; otherwise use "
                "activation='sigmoid' in the last layer.")

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data, without the dtype."""
        return {name: value for name, value in super().get_config().items() if name != "dtype"}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} name={self.name}>"


class LossFunction(Loss):
    """Turns a function `(y_true, y_pred, **options) -> tensor` into a loss. Each option becomes an attribute."""

    recordable = True

    def __init__(self, fn: Callable, reduction: str | None = "sum_over_batch_size",
                 name: str | None = None, dtype: str | None = None, **options: Any) -> None:
        if not (isinstance(name, str | None) and isinstance(reduction, str | None)):
            kind = type(self).__name__
            raise TypeError(f"{kind}(...) creates a loss from its settings and accepts no data. Received: "
                            f"reduction of type {type(reduction).__name__}, name of type {type(name).__name__}. "
                            f"Create the loss, then call it: {kind}()(y_true, y_pred).")
        super().__init__(name or getattr(fn, "__name__", "loss"), reduction, dtype)
        self._function = fn
        self.recordable = getattr(fn, "recordable", False)
        self._options = tuple(options)
        for option, value in options.items():
            setattr(self, option, _CHECKS[option](option, value) if option in _CHECKS else value)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: TensorLike | None = None) -> Tensor:
        y_pred = self._prediction(y_pred)
        if y_pred.ndim == 1 and np.ndim(y_true) == 2 and np.shape(y_true)[1] == 1:
            y_pred = y_pred.reshape(-1, 1)
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: TensorLike, y_pred: Tensor) -> Tensor:
        if not isinstance(y_true, Tensor) and not self.recordable:
            y_true = Tensor(y_pred.device.asarray(y_true), device=y_pred.device)
        return self._function(y_true, y_pred, **self._get_options())

    def _map_arrays(self, function: Callable[[Any], Any], value: Any) -> Any:
        return function(value)

    def _get_options(self) -> dict[str, Any]:
        return {option: getattr(self, option) for option in self._options}


class _SameShape(LossFunction):
    """A loss whose targets have the same shape as the outputs."""

    def check_targets(self, y_true: np.ndarray, output_shape: tuple[int | None, ...]) -> None:
        shape = tuple(output_shape[1:])
        if not _fits(y_true.shape[1:], shape) and not (shape[-1:] == (1,) and _fits(y_true.shape[1:], shape[:-1])):
            remedy = ""
            if shape[-1:] != (1,) and (_fits(y_true.shape[1:], shape[:-1]) or _fits(y_true.shape[1:], (*shape[:-1], 1))
                                       ) and not np.any(np.asarray(y_true) % 1):
                remedy = " For integer labels use SparseCategoricalCrossentropy, or utils.to_categorical."
            elif len(shape) > 1 and y_true.ndim < 3:
                remedy = " Is a Flatten or a global pooling missing before the last layer?"
            raise ValueError(f"{type(self).__name__} needs targets with the shape of the model's outputs, "
                             f"{('N', *shape)}. Received y of shape {y_true.shape}.{remedy}".replace("'N'", "N"))


class _Labels(LossFunction):
    """A loss whose targets are integer labels, one per output."""

    recordable = True

    def target_dtype(self, dtype: DTypeLike) -> np.dtype:
        return np.dtype(np.int64)

    def call(self, y_true: TensorLike, y_pred: Tensor) -> Tensor:
        ignored_class = self._get_options().get("ignore_class")
        values = super().call(y_true, y_pred)
        if ignored_class is None or self.reduction not in MEANS:
            return values
        fraction = mask_class(y_true, ignored_class)[1].mean()  # fraction of samples that count
        return values / (fraction + F.loss_functions.EPSILON)

    def check_targets(self, y_true: np.ndarray, output_shape: tuple[int | None, ...]) -> None:
        sizes = tuple(output_shape[1:-1])
        classes = output_shape[-1]
        if not _fits(y_true.shape[1:], sizes) and not _fits(y_true.shape[1:], (*sizes, 1)):
            remedy = "For one-hot targets use CategoricalCrossentropy." if y_true.ndim > len(sizes) + 1 else (
                "Is a Flatten or a global pooling missing before the last layer?")
            shape = str(("N", *sizes, classes)).replace("'N'", "N")
            raise ValueError(f"{type(self).__name__} needs integer labels with the shape of the "
                             "model's outputs without the last axis. Received y of shape "
                             f"{y_true.shape} for outputs of shape {shape}. {remedy}")
        y_true = np.asarray(y_true)  # labels on a GPU are copied to the host
        whole_labels(y_true, None)
        ignored_class = self._get_options().get("ignore_class")
        labels = y_true if ignored_class is None else y_true[y_true != ignored_class]
        if classes is None or not labels.size:
            return
        low = labels.min()
        high = labels.max()
        if low < 0 or high >= classes:
            remedy = "" if high < classes else f" The last layer needs {int(high) + 1} units, one for each class."
            if classes == 1 and low == 0 and high == 1:
                remedy = " For two classes it needs 2 units; or 1 with a sigmoid, and loss='binary_crossentropy'."
            elif low == 1 and high == classes:
                remedy = " Count the labels from 0."
            elif (low < 0 or high >= 2 * classes) and len(np.unique(labels)) <= classes > 1:
                remedy = " Number the classes from 0: classes, y = np.unique(y, return_inverse=True)."
            raise ValueError(f"Labels must be in 0..{classes - 1} for a model whose last layer has {classes} "
                             f"output{'s' * (classes > 1)}. Received labels from {low} to {high}.{remedy}")


def _loss(name: str, function: Callable, base: type[LossFunction] = _SameShape,
          loss_name: str | None = None) -> Any:
    """Creates the loss class for a function. Its constructor accepts the function's options and those of `Loss`."""
    reduction, default_name, dtype = keywords.parameters(LossFunction.__init__, 2, 5)
    parameters = [*keywords.parameters(function, 2), reduction,
                  default_name.replace(default=loss_name or function.__name__), dtype]
    return type(name, (base,), {"__init__": keywords.constructor(parameters, base, function),
                                "__doc__": function.__doc__, "__module__": __name__})


BinaryCrossentropy = _loss("BinaryCrossentropy", F.binary_crossentropy)
BinaryFocalCrossentropy = _loss("BinaryFocalCrossentropy", F.binary_focal_crossentropy)
CategoricalCrossentropy = _loss("CategoricalCrossentropy", F.categorical_crossentropy)
CategoricalFocalCrossentropy = _loss("CategoricalFocalCrossentropy", F.categorical_focal_crossentropy)
CategoricalGeneralizedCrossEntropy = _loss(
    "CategoricalGeneralizedCrossEntropy", F.categorical_generalized_cross_entropy, _Labels)
CategoricalHinge = _loss("CategoricalHinge", F.categorical_hinge)
CosineSimilarity = _loss("CosineSimilarity", F.cosine_similarity)
Dice = _loss("Dice", F.dice)
Hinge = _loss("Hinge", F.hinge)
Huber = _loss("Huber", F.huber, loss_name="huber_loss")
KLDivergence = _loss("KLDivergence", F.kl_divergence)
LogCosh = _loss("LogCosh", F.log_cosh)
MeanAbsoluteError = _loss("MeanAbsoluteError", F.mean_absolute_error)
MeanAbsolutePercentageError = _loss("MeanAbsolutePercentageError", F.mean_absolute_percentage_error)
MeanSquaredError = _loss("MeanSquaredError", F.mean_squared_error)
MeanSquaredLogarithmicError = _loss("MeanSquaredLogarithmicError", F.mean_squared_logarithmic_error)
Poisson = _loss("Poisson", F.poisson)
SparseCategoricalCrossentropy = _loss("SparseCategoricalCrossentropy", F.sparse_categorical_crossentropy, _Labels)
SquaredHinge = _loss("SquaredHinge", F.squared_hinge)
Tversky = _loss("Tversky", F.tversky)

_NEEDED_ACTIVATIONS = {  # activation of the last layer without from_logits, by loss
    **dict.fromkeys((BinaryCrossentropy, BinaryFocalCrossentropy), "sigmoid"),
    **dict.fromkeys((CategoricalCrossentropy, CategoricalFocalCrossentropy, CategoricalGeneralizedCrossEntropy,
                     SparseCategoricalCrossentropy), "softmax")}
CLASSES: dict[str, type[LossFunction]] = {
    name: value for name, value in dict(globals()).items()
    if isinstance(value, type) and issubclass(value, LossFunction) and name in __all__}
_FUNCTION_CLASSES: dict[str, Any] = {names.snake_case(name): kind for name, kind in CLASSES.items()}
FUNCTIONS: dict[str, Callable] = {name: getattr(F, name) for name in _FUNCTION_CLASSES}
_SHORT = {"bce": F.binary_crossentropy, "kld": F.kl_divergence, "mae": F.mean_absolute_error,
          "mape": F.mean_absolute_percentage_error, "mse": F.mean_squared_error,
          "msle": F.mean_squared_logarithmic_error}
registry = Registry("loss", "keras.losses", Loss, CLASSES, {
    **FUNCTIONS, **_SHORT, **{name.upper(): function for name, function in _SHORT.items()}})
get, serialize, deserialize = registry.get, registry.serialize, registry.deserialize


def find_loss(identifier: Any) -> Loss:
    """Returns the loss object for a name, function, configuration or object that `compile` accepts."""
    loss = get(identifier)
    if isinstance(loss, Loss):
        return loss
    name = getattr(loss, "__name__", "")
    return _FUNCTION_CLASSES[name]() if FUNCTIONS.get(name) is loss else LossFunction(loss)


def _fits(shape: tuple[int, ...], target: tuple[int | None, ...]) -> bool:
    """Returns whether a shape matches `target`, in which None matches any size."""
    return len(shape) == len(target) and all(w is None or s == w for s, w in zip(shape, target))


def _apply_mask(sample_weight: TensorLike | None, mask: np.ndarray,
                reduction: str | None) -> np.ndarray:
    """Returns the weights times the mask. For a mean, scales them so that only unmasked values count."""
    if reduction in MEANS:
        mask = mask * mask.dtype.type(mask.size / (mask.sum() + F.loss_functions.EPSILON))
    if sample_weight is None:
        return mask
    weights = np.asarray(sample_weight, mask.dtype)
    if weights.ndim == mask.ndim + 1 and weights.shape[-1] == 1:
        weights = weights[..., 0]
    return weights.reshape(weights.shape + (1,) * (mask.ndim - weights.ndim)) * mask


def _fit_weights(sample_weight: TensorLike, values: Tensor) -> np.ndarray:
    """Returns the weights broadcast to the shape of `values`, (N, ...). If there is one value, all weights are kept."""
    weights = np.asarray(sample_weight, values.dtype)
    if values.size == 1 < weights.size:
        return weights
    return np.broadcast_to(weights.reshape(weights_shape(weights.shape, values.shape)), values.shape)


def weights_shape(weights: tuple[int, ...], values: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the shape in which sample weights broadcast to losses (N, ...). Raises ValueError if there is none."""
    shape = weights[:-1] if len(weights) == len(values) + 1 and weights[-1] == 1 else weights
    if shape == values[: len(shape)]:
        shape += (1,) * (len(values) - len(shape))
    if prod(shape) == 1:
        return (1,) * len(values)
    if len(shape) != len(values) or any(w not in (1, v) for w, v in zip(shape, values)):
        raise ValueError("sample_weight must have one number per sample or one per loss value, for example one per "
                         f"pixel. Received: sample_weight of shape {weights} for loss values of shape {values}.")
    return shape


def _check_fraction(name: str, value: float) -> float:
    if not 0 < value < 1:
        raise ValueError(f"{name} must be greater than 0 and less than 1. Received: {value}.")
    return value


_CHECKS: dict[str, Callable[[str, Any], Any]] = {"q": _check_fraction}
