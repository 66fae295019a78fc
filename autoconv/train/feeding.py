"""`Feeding`: what a model is given, arrays or iterables of batches, checked and made the batches of its steps."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from .. import optimizers as optim
from ..backend import device as devices
from ..ranks import ALONE, Ranks
from ..symbolic import flatten
from ..versions import contents
from . import compiled
from .data import Data, arranged, batch_parts, check_data, sample_weights, split_validation, without_batch
from .own import overridden
from .running import Running, as_list, is_nested, output_names
from .source import Source
from .stream import Stream, is_stream


class Feeding:
    """The part of a `Trainer` that comes before its first step."""

    # What the layer brings.
    build: Callable[[Any], None]
    check_input: Callable[[Any], None]
    _with_ranks: Callable[[Any], Any]
    _can_be_called: Callable[[], bool]
    built: bool
    device: devices.Device
    dtype: str

    # What the trainer brings.
    optimizer: optim.Optimizer | None
    loss: Any
    ranks: Ranks
    _running: Callable[[], Running]

    def _names(self, what: str) -> list[str] | None:
        """The names of the model's inputs or outputs, where they are known."""
        return getattr(self, what, None)

    def _check_data(self, x: Any, y: Any, sample_weight: Any) -> Data:
        if y is None and self._wants_targets():
            raise ValueError("y is missing: the targets are passed as an array of their own. Received: y=None.")
        names, x = self._names("output_keys"), self._listed_inputs(x)
        if names is None and (isinstance(y, Mapping) or is_nested(y)):  # of a class whose call says what comes out
            self._build_for(self._check_inputs(x))
            found = output_names(self, 0)
            names = found if isinstance(y, Mapping) and set(found) == set(y) else None
        y, sample_weight = as_list(y, self), as_list(sample_weight, self)
        return self._in_rank(check_data(x, self._all_targets(y, names), sample_weight, self._names("input_names"),
                                        names))

    def _check_inputs(self, x: Any) -> Data:
        return self._in_rank(check_data(self._listed_inputs(x), names=self._names("input_names")))

    def _listed_inputs(self, x: Any) -> Any:
        """Inputs by the keys of the dict that the graph was made with, in a list; anything else as it is."""
        graph = getattr(self, "graph", None)
        like = None if graph is None else graph.input_structure
        if not isinstance(like, dict) or not isinstance(x, Mapping) or set(x) != set(like):
            return x
        found = arranged(x, like)
        return x if found is None or len(found) == 1 else found

    def _all_targets(self, y: Any, names: list[str] | None) -> Any:
        """Targets, with None for the outputs without a loss if only the others have any."""
        losses = [] if self.loss is None else flatten(as_list(self.loss, self))
        given, wanted = y if isinstance(y, list | tuple) else [y], [loss is not None for loss in losses]
        is_partial = names is not None and len(names) == len(wanted) > sum(wanted) == len(given)
        if y is None or isinstance(y, Mapping) or not is_partial:
            return y
        found = iter(given)
        return [next(found) if there else None for there in wanted]

    def _in_rank(self, data: Data) -> Data:
        """Data whose inputs have the ranks of the model's."""
        found = self._with_ranks(data.x if len(data.x) > 1 else data.x[0])
        return replace(data, x=found if len(data.x) > 1 else [found])

    def _wants_targets(self) -> bool:
        """Whether training needs targets: not where a class's own steps, or layers, make the loss."""
        return not any(overridden(self, kind) for kind in ("train", "test"))

    def _given(self, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None,
               targets: bool = True, **order: Any) -> Data | Stream:
        """What a user passed, arrays or an iterable of batches, checked; the model is built for it. An iterable's
        batches have its own sizes, as in Keras.
        """
        if not is_stream(x):
            data = self._check_data(x, y, sample_weights(y, sample_weight, class_weight)) if targets else (
                self._check_inputs(x))
            self._build_for(data)
            return data
        for name, value in (("y", y), ("sample_weight", sample_weight)):
            if value is not None:
                raise ValueError(f"When providing `x` as a {type(x).__name__}, `{name}` should not be passed. It is "
                                 f"part of the batches that the {type(x).__name__} gives.")

        def parse(batch: Any) -> Data:
            of_x, of_y, weights = batch_parts(batch)
            data = (self._check_data(of_x, of_y, sample_weights(of_y, weights, class_weight)) if targets
                    else self._check_inputs(of_x))
            self._build_for(data)
            return data

        return Stream(x, parse, ranks=self.ranks if targets else ALONE, **order)

    def _training_and_validation(
        self, x: Any, y: Any, sample_weight: Any, class_weight: Any, share: float, given: Any, **order: Any,
    ) -> tuple[Data | Stream, Data | Stream | None]:
        """Both data sets. Class weights count in training alone."""
        arrays = isinstance(given, tuple | list)
        if given is not None and not is_stream(given) and (not arrays or len(given) not in (2, 3)):
            raise ValueError("validation_data must be (x, y) or (x, y, sample_weight), or an iterable of batches. "
                             f"Received: {type(given).__name__} of length {len(given)}.")
        data = self._given(x, y, sample_weight, class_weight, **order)
        if given is not None:
            return data, self._given(*given) if arrays else self._given(given, peek=True)
        if not share:
            return data, None
        if isinstance(data, Stream):
            raise ValueError("validation_split is only supported for arrays. Received an iterable: pass "
                             "validation_data.")
        data, validation = split_validation(data, share)
        unweighted = [None] * len(validation.weights)
        return data, validation if class_weight is None else replace(validation, weights=unweighted)

    def _build_for(self, data: Data) -> None:
        """Builds a model that is not built, and asks whether the data fit."""
        shapes = data.form([a.shape for a in data.x])
        if not self.built:
            self.build(without_batch(shapes))
        self.check_input(shapes)

    def _dtypes(self, count: int) -> list[np.dtype]:
        """The dtypes that a model's inputs are converted to."""
        return [np.dtype(self.dtype)] * count

    def _start(self, data: Data) -> None:
        """Losses and metrics for this data, after a look at the targets. What was set after `compile` by its name, a
        loss or an optimizer, becomes an object.
        """
        if not isinstance(self.optimizer, optim.Optimizer):
            self.optimizer = optim.get(self.optimizer)  # type: ignore[arg-type]
        settled = compiled.check_loss(self.loss)
        if contents(settled) != contents(self.loss):
            self.loss = settled
        self._running().settle(self, data)

    def _source(self, data: Data | Stream, batch_size: int | None, shuffled: bool = False,
                staged: bool = False) -> Source | Stream:
        """The data as batches, of which each rank has its part."""
        if isinstance(data, Stream):
            return data
        targets: list[Any] = [np.dtype(self.dtype)] * len(data.y)
        for goal in self._running().goals if self._wants_targets() else ():
            targets[goal.output] = goal.loss.target_dtype(self.dtype)
        dtypes = [*self._dtypes(len(data.x)), *targets, *(np.dtype(self.dtype) for _ in data.weights)]
        return Source(data, dtypes, batch_size, self.device, shuffled, self.ranks, staged)
