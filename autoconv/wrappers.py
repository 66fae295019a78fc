"""Nets as scikit-learn estimators, for pipelines, hyperparameter searches and cross-validation.

    from autoconv.wrappers import Classifier
    GridSearchCV(Classifier(random_state=0), {"epochs": [50, 200]}).fit(X, y)

Needs scikit-learn: `pip install 'autoconv[sklearn]'`. `import autoconv` does not import this module.
"""

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

from . import layers, models, random
from .arguments import extras

_sklearn = extras.load("sklearn.utils.validation", "scikit-learn", "sklearn", "autoconv.wrappers")
if not hasattr(_sklearn, "validate_data"):
    raise extras.ExtraError("autoconv.wrappers needs scikit-learn 1.6 or newer. Install it with "
                            "pip install 'autoconv[sklearn]'.")

# isort: split
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin  # noqa: E402
from sklearn.utils.multiclass import check_classification_targets  # noqa: E402
from sklearn.utils.validation import check_is_fitted, check_random_state, validate_data  # noqa: E402

__all__ = ["Classifier", "Regressor"]

Net = Callable[[tuple[int, ...], int], Any]
_TYPES = [np.float32, np.uint8]  # input dtypes used unchanged; others are converted to float32


class _Estimator(BaseEstimator):
    """Base class of both estimators: stores the arguments, and creates and trains the net in `fit`."""

    _loss: str
    _metrics: tuple[str, ...] = ()
    _last: str | None = None  # the activation of the default net's last layer

    def __init__(self, net: Net | None = None, *, epochs: int = 100, batch_size: int = 32,
                 optimizer: Any = "adam", loss: Any = None, random_state: Any = None,
                 verbose: str | int = 0) -> None:
        self.net = net
        self.epochs = epochs
        self.batch_size = batch_size
        self.optimizer = optimizer
        self.loss = loss
        self.random_state = random_state
        self.verbose = verbose

    def _train(self, x: np.ndarray, y: np.ndarray, outputs: int) -> None:
        """Creates the net and trains it. Restores the process's random state afterwards."""
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        with random.process_generator().holding():
            random.set_seed(seed)
            self.model_ = self._create_net(x.shape[1:], outputs)
            self.model_.compile(deepcopy(self.optimizer), self._loss if self.loss is None
                                else self.loss, metrics=list(self._metrics))
            history = self.model_.fit(x, y, self.batch_size, self.epochs, self.verbose)
        self.history_ = history.history
        self.input_shape_ = x.shape[1:]

    def _create_net(self, input_shape: tuple[int, ...], outputs: int) -> models.Model:
        """Creates the net. Raises TypeError if `net` returns no layers or model, ValueError for wrong output shapes."""
        if self.net is None:
            flat = [layers.Flatten()] if len(input_shape) > 1 else []
            net: Any = [*flat, layers.Dense(64, "relu"), layers.Dense(outputs, self._last)]
        else:
            net = self.net(input_shape, outputs)
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
    Its last layer must return the probabilities of `outputs` classes (softmax). The default net has
    one hidden layer of 64 units. optimizer, loss: as in `Model.compile`; the default loss is
    sparse_categorical_crossentropy. random_state: an integer, with which each `fit` gives the same
    result.

    `fit` sets classes_, n_features_in_, model_ and history_. It raises ValueError if X contains
    NaN, if y contains no class labels, or if the net has another number of outputs, and TypeError
    for sparse X.
    """

    _loss = "sparse_categorical_crossentropy"
    _metrics = ("accuracy",)
    _last = "softmax"

    def fit(self, X: Any, y: Any) -> "Classifier":
        """Creates a net and trains it on X and the labels y. Returns the classifier."""
        X, y = validate_data(self, X, y, allow_nd=True, dtype=_TYPES)
        check_classification_targets(y)
        self.classes_, numbers = np.unique(y, return_inverse=True)
        self._train(X, numbers, len(self.classes_))
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

    def fit(self, X: Any, y: Any) -> "Regressor":
        """Creates a net and trains it on X and the targets y. Returns the regressor."""
        X, y = validate_data(self, X, y, allow_nd=True, dtype=_TYPES, multi_output=True, y_numeric=True)
        self._one_target = y.ndim == 1
        self._type = np.result_type(y.dtype, np.float32)
        y = y.reshape(len(y), -1).astype(np.float32)
        self._train(X, y, y.shape[1])
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
