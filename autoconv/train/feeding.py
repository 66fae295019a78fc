"""Checks a model's data (arrays or iterables of batches) and converts it to batches in the model's dtypes."""

from collections.abc import Mapping
from dataclasses import replace
from os import PathLike
from typing import Any

import numpy as np

from ..engine.ranks import ALONE
from ..engine.symbolic import flatten
from .own import find_override
from .running import flatten_values, is_nested, output_names
from .source import Source
from .stream import Stream, is_stream
from .user_arrays import Data, Model, batch_parts, check_data, drop_batch, list_leaves, sample_weights, split_validation


def check_arrays(model: Model, x: Any, y: Any, sample_weight: Any = None) -> Data:
    """Checks the arrays of a data set or batch, including targets, and returns them as `Data`."""
    if y is None and _wants_targets(model):
        raise ValueError("y is missing, but the model needs targets. Pass x and y as separate "
                         "arrays, or as batches (x, y). Received: y=None.")
    names = getattr(model, "output_keys", None)
    x = _list_inputs(model, x)
    if names is None and (isinstance(y, Mapping) or is_nested(y)):  # `model.call` determines the outputs
        build_model(model, check_inputs(model, x))
        defaults = output_names(model, 0)
        names = defaults if isinstance(y, Mapping) and set(defaults) == set(y) else None
    targets = _all_targets(model, flatten_values(y, model), names)
    weights = flatten_values(sample_weight, model)
    return _adjust_ranks(model, check_data(x, targets, weights, getattr(model, "input_names", None), names))


def check_inputs(model: Model, x: Any) -> Data:
    """Checks input arrays without targets and returns them as `Data`."""
    return _adjust_ranks(model, check_data(_list_inputs(model, x), names=getattr(model, "input_names", None)))


def _list_inputs(model: Model, x: Any) -> Any:
    """Converts a dict to a list if the graph's inputs are a dict with the same keys; returns other inputs unchanged."""
    graph = getattr(model, "graph", None)
    like = None if graph is None else graph.input_structure
    if not isinstance(like, dict) or not isinstance(x, Mapping) or set(x) != set(like):
        return x
    values = list_leaves(x, like)
    return x if values is None or len(values) == 1 else values


def _all_targets(model: Model, y: Any, names: list[str] | None) -> Any:
    """Returns the targets. Adds None for outputs without a loss if only the other outputs have targets."""
    losses = [] if model.loss is None else flatten(flatten_values(model.loss, model))
    has_loss = [loss is not None for loss in losses]
    targets = y if isinstance(y, list | tuple) else [y]
    is_partial = names is not None and len(names) == len(has_loss) > sum(has_loss) == len(targets)
    if y is None or isinstance(y, Mapping) or not is_partial:
        return y
    remaining = iter(targets)
    return [next(remaining) if is_trained else None for is_trained in has_loss]


def _adjust_ranks(model: Model, data: Data) -> Data:
    """Returns data whose inputs have as many axes as the model's inputs."""
    inputs = model._adjust_ranks(data.x if len(data.x) > 1 else data.x[0])
    return replace(data, x=inputs if len(data.x) > 1 else [inputs])


def _wants_targets(model: Model) -> bool:
    """Whether training needs targets. A model that overrides its steps or has no compiled loss needs none."""
    return not any(find_override(model, kind) for kind in ("train", "test"))


def prepare_data(model: Model, x: Any, y: Any = None, sample_weight: Any = None, class_weight: Any = None,
                 targets: bool = True, **order: Any) -> Data | Stream:
    """Checks a user's arrays or iterable of batches, and builds the model for the data. The batches
    of an iterable keep their sizes, as in Keras.
    """
    def prepare(x: Any, y: Any, sample_weight: Any) -> Data:
        data = (check_arrays(model, x, y, sample_weights(y, sample_weight, class_weight)) if targets
                else check_inputs(model, x))
        build_model(model, data)
        return data

    if isinstance(x, str | PathLike):
        raise TypeError(f"x must be arrays or an iterable of batches. Received: the text {x!r}. Read the data first, "
                        "e.g. with autoconv.datasets, np.load, or utils.image_dataset_from_directory for a folder.")
    if not is_stream(x):
        return prepare(x, y, sample_weight)
    for name, value in (("y", y), ("sample_weight", sample_weight)):
        if value is not None:
            raise ValueError(f"When providing `x` as a {type(x).__name__}, `{name}` should not be "
                             f"passed. Include `{name}` in the batches of `x`.")
    return Stream(x, lambda batch: replace(prepare(*batch_parts(batch)), is_tuple=isinstance(batch, tuple | list)),
                  ranks=model.ranks if targets else ALONE, **order)


def training_and_validation(
    model: Model, x: Any, y: Any, sample_weight: Any, class_weight: Any, share: float, validation_data: Any,
    **order: Any,
) -> tuple[Data | Stream, Data | Stream | None]:
    """Checks and returns the training and validation data. Class weights apply only to training."""
    tests = validation_data
    is_batches = tests is not None and is_stream(tests)
    parts = tests if isinstance(tests, tuple | list) else (tests,)
    if tests is not None and not is_batches and len(parts) not in ((2, 3) if _wants_targets(model) else (1, 2, 3)):
        raise ValueError("validation_data must be (x, y) or (x, y, sample_weight), or an iterable of batches. "
                         f"Received: {type(tests).__name__ if parts is not tests else f'{len(tests)} items'}.")
    data = prepare_data(model, x, y, sample_weight, class_weight, **order)
    if tests is not None:
        return data, prepare_data(model, tests, peek=True) if is_batches else prepare_data(model, *parts)
    if not share:
        return data, None
    if isinstance(data, Stream):
        raise ValueError("validation_split is only supported for arrays. Received an iterable of "
                         "batches. Pass validation_data instead.")
    data, validation = split_validation(data, share)
    unweighted = [None] * len(validation.weights)
    return data, validation if class_weight is None else replace(validation, weights=unweighted)


def build_model(model: Model, data: Data) -> None:
    """Builds the model if it is not built. Raises ValueError if the data do not fit its inputs."""
    shapes = data.form([a.shape for a in data.x])
    if not model.built:
        model.build(drop_batch(shapes))
    model.check_input(shapes)


def make_source(model: Model, data: Data | Stream, batch_size: int | None, shuffle: bool = False,
                stage: bool = False) -> Source | Stream:
    """Returns the data as a source of batches. Each rank reads its part of every batch."""
    if isinstance(data, Stream):
        return data
    dtype = np.dtype(model.dtype)
    targets: list[Any] = [dtype] * len(data.y)
    for goal in model._trainer.running.goals if _wants_targets(model) else ():
        targets[goal.output] = goal.loss.target_dtype(model.dtype)
    dtypes = [*model._dtypes(len(data.x)), *targets, *(dtype for _ in data.weights)]
    return Source(data, dtypes, batch_size, model.device, shuffle, model.ranks, stage)
