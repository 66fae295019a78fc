"""Nets as scikit-learn estimators, for pipelines, hyperparameter searches and cross-validation.

    from autoconv.wrappers import Classifier

    def net(input_shape, outputs, units=64, dropout=0.0):
        return [layers.Dense(units, "relu"), layers.Dropout(dropout), layers.Dense(outputs, "softmax")]

    GridSearchCV(Classifier(net, random_state=0), {"units": [32, 128], "dropout": [0, 0.3]}).fit(X, y)

Needs scikit-learn: `pip install 'autoconv[sklearn]'`. `import autoconv` does not import this module.
"""

from collections.abc import Callable
from copy import deepcopy
from inspect import Parameter, signature
from typing import Any

import numpy as np

from . import layers, models, random
from .arguments import extras, names
from .arguments.keywords import UnknownArgumentError

_sklearn = extras.load("sklearn.utils.validation", "scikit-learn", "sklearn", "autoconv.wrappers")
if not hasattr(_sklearn, "validate_data"):
    raise extras.ExtraError("autoconv.wrappers needs scikit-learn 1.6 or newer. Install it with "
                            "pip install 'autoconv[sklearn]'.")

# isort: split
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin  # noqa: E402
from sklearn.utils.multiclass import check_classification_targets  # noqa: E402
from sklearn.utils.validation import (  # noqa: E402
    _check_sample_weight,
    check_is_fitted,
    check_random_state,
    validate_data,
)

__all__ = ["Classifier", "Regressor"]

Net = Callable[..., Any]
_TYPES = [np.float32, np.uint8]  # input dtypes used unchanged; others are converted to float32


class _Estimator(BaseEstimator):
    """Base class of both estimators: stores the arguments, and creates and trains the net in `fit`."""

    _loss: str
    _metrics: tuple[str, ...] = ()
    _last: str | None = None  # the activation of the default net's last layer

    def __init__(self, net: Net | None = None, *, epochs: int = 100, batch_size: int = 32,
                 optimizer: Any = "adam", loss: Any = None, random_state: Any = None,
                 verbose: str | int = 0, **settings: Any) -> None:
        self.net = net
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.loss = loss
        self.random_state = random_state
        self.verbose = verbose
        known = [*self._get_param_names(), *self._net_settings()]
        for name in settings:
            if name not in known:
                raise UnknownArgumentError(
                    f"{type(self).__name__} and its function net have no argument {name!r}."
                    f"{names.suggestion(name, known)} The arguments are {', '.join(known)}.")
        self.__dict__.update(settings)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Returns the arguments by name, including those of the function `net` after input_shape and outputs."""
        return {**super().get_params(deep), **self._net_settings()}

    def set_params(self, **params: Any) -> "_Estimator":
        """Sets arguments of this estimator or of its function `net`. Returns the estimator."""
        self.net = params.get("net", self.net)  # first, because it determines which names are valid
        return super().set_params(**params)

    def _net_settings(self) -> dict[str, Any]:
        """Returns the current values of the arguments of `net`, except input_shape and outputs."""
        if not callable(self.net):
            return {}
        parameters = list(signature(self.net).parameters.values())
        own = self._get_param_names()
        return {each.name: vars(self).get(each.name, None if each.default is Parameter.empty else each.default)
                for each in parameters[2 * self._takes_shapes():]
                if each.name not in own and each.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)}

    def _takes_shapes(self) -> bool:
        """Returns whether the first arguments of `net` are input_shape and outputs, not settings with defaults."""
        first = next(iter(signature(self.net).parameters.values()), None)  # type: ignore[arg-type]
        return first is not None and (first.default is Parameter.empty or first.name == "input_shape")

    def _train(self, x: np.ndarray, y: np.ndarray, outputs: int, sample_weight: Any) -> None:
        """Creates the net and trains it. Restores the process's random state afterwards."""
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, x, dtype=np.float32)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with random.process_generator().holding():
            random.set_seed(seed)
            self.model_ = self._create_net(x.shape[1:], outputs)
            self.model_.compile(deepcopy(self.optimizer), self._loss if self.loss is None
                                else self.loss, metrics=list(self._metrics))
            history = self.model_.fit(x, y, self.batch_size, self.epochs, self.verbose, sample_weight=sample_weight)
        self.history_ = history.history
        self.input_shape_ = x.shape[1:]

    def _create_net(self, input_shape: tuple[int, ...], outputs: int) -> models.Model:
        """Creates the net. Raises TypeError if `net` returns no layers or model, ValueError for wrong output shapes."""
        if self.net is None:
            flat = [layers.Flatten()] if len(input_shape) > 1 else []
            net: Any = [*flat, layers.Dense(64, "relu"), layers.Dense(outputs, self._last)]
        elif not callable(self.net):
            raise TypeError(f"net must be a function net(input_shape, outputs). Received: {self.net!r}.")
        else:
            net = self.net(*(input_shape, outputs)[:2 * self._takes_shapes()], **self._net_settings())
        if isinstance(net, list | tuple):
            net = models.Sequential([layers.Input(input_shape), *net])
        if not isinstance(net, models.Model):
            raise TypeError("The function net(input_shape, outputs) must return a list of layers, "
                            f"or a model. Received: {net!r}.")
        if not net.built:
            net.build((None, *input_shape))
        if net.output_shape != (None, outputs):
            raise ValueError(f"The net must return {outputs} numbers per sample, e.g. with layers.Dense({outputs}) as "
                             f"its last layer. Received: outputs of shape {net.output_shape}.")
        return net

    def _outputs(self, x: Any) -> np.ndarray:
        """Returns the net's outputs for x. Raises ValueError if the sample shape differs from `fit`."""
        check_is_fitted(self)
        x = validate_data(self, x, reset=False, allow_nd=True, dtype=_TYPES)
        if x.shape[1:] != self.input_shape_:
            raise ValueError("X must have samples of the same shape as in fit, "
                             f"{self.input_shape_}. Received: samples of shape {x.shape[1:]}.")
        return self.model_.predict(x, self.batch_size, 0)


class Classifier(ClassifierMixin, _Estimator):
    """A scikit-learn classifier for X (N, features) or images (N, H, W, C), with labels y (N,).

    net: a function `net(input_shape, outputs)` that returns a list of new layers or a new model.
    Its last layer must return the probabilities of `outputs` classes (softmax). Further arguments of the
    function, such as `filters` in `net(input_shape, outputs, filters=32)`, are arguments of the classifier as
    well, so a search can vary them. A function whose arguments all have defaults receives no shapes. The
    default net has one hidden layer of 64 units. optimizer, loss: as in `Model.compile`; the default loss is
    sparse_categorical_crossentropy. random_state: an integer, with which each `fit` gives the same
    result.

    `fit` sets classes_, n_features_in_, model_ and history_. It raises ValueError if X contains
    NaN, if y contains no class labels, or if the net has another number of outputs, and TypeError
    for sparse X.
    """

    _loss = "sparse_categorical_crossentropy"
    _metrics = ("accuracy",)
    _last = "softmax"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Classifier":
        """Creates a net and trains it on X and the labels y, with a weight (N,) for each sample. Returns the
        classifier.
        """
        X, y = validate_data(self, X, y, allow_nd=True, dtype=_TYPES)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        self._train(X, numbers, len(self.classes_), sample_weight)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Returns the probabilities of the classes, in the order of `classes_`: (N, classes)."""
        return self._outputs(X)

    def predict(self, X: Any) -> np.ndarray:
        """Returns the most probable class of each sample: (N,)."""
        outputs = self._outputs(X)
        return self.classes_[outputs.argmax(1)]


class Regressor(RegressorMixin, _Estimator):
    """A scikit-learn regressor for X (N, features) or images (N, H, W, C), with targets y (N,) or
    (N, targets).

    Arguments and errors are as in `Classifier`, except that the net's last layer returns `outputs`
    numbers and the default loss is mse. `fit` sets n_features_in_, model_ and history_.
    """

    _loss = "mse"

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "Regressor":
        """Creates a net and trains it on X and the targets y, with a weight (N,) for each sample. Returns the
        regressor.
        """
        X, y = validate_data(self, X, y, allow_nd=True, dtype=_TYPES, multi_output=True, y_numeric=True)
        self._one_target = y.ndim == 1
        self._type = np.result_type(y.dtype, np.float32)
        y = y.reshape(len(y), -1).astype(np.float32)
        self._train(X, y, y.shape[1], sample_weight)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Returns predictions in the shape of y in `fit`. Their dtype is NumPy's common dtype of y and float32."""
        outputs = self._outputs(X)
        outputs = outputs.astype(self._type, copy=False)
        return outputs[:, 0] if self._one_target else outputs

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
