"""`Running` is the state that training and evaluation share from one compile() to the next."""

from collections.abc import Mapping
from typing import Any

from .. import random
from ..engine.symbolic import flat_shapes, map_shapes
from ..engine.versions import contents
from ..kernels.locks import Lock
from . import compiled
from .compiled import Goal, Score
from .step import Steps
from .user_arrays import Data, Model, list_leaves

Shape = tuple[int | None, ...]


class Running:
    """The state that fit, evaluate and *_on_batch share until the next compile(): losses, metrics, sums and steps."""

    def __init__(self) -> None:
        self.steps = Steps()
        self.goals: list[Goal] = []
        self.loss_names: list[str] = []  # names of the outputs' losses in list order; [] for a single loss
        self.orders: dict[tuple[str, ...], list[str]] = {}  # the order of the values in a list, keyed by log names
        self.has_prefixes = False  # whether metric names begin with an output's name
        self.scores: dict[str, list[Score]] = {}  # metrics by kind of run, "train" or "test"
        self.sums: dict[str, Any] = {}  # sums by kind of run, because a callback may evaluate while fit runs
        self.basis: Any = None  # device and compile() arguments from which the losses were created
        self.key: random.Key | None = None  # random key of the last training run's sample orders
        self.nan_seen = False
        self.validates = False  # whether the logs of the running `fit` may contain val_loss
        self.outputs_fit: bool | None = None  # whether the first batch's outputs fit the losses
        self.kind = "train"  # kind of the last run, "train" or "test"
        self.lock = Lock()  # allows one evaluation at a time, because evaluations share the sums

    def training(self) -> random.Key:
        """Returns the random key of this run's sample orders. Continued training keeps its key."""
        self.key = self.key or random.stream()
        return self.key

    def settle(self, model: Model, data: Data) -> None:
        """Checks the targets. Creates losses, metrics and sums if the device or compile()'s arguments changed."""
        shapes = output_shapes(model)
        names = output_names(model, len(shapes))
        trainer = model._trainer
        basis = contents([model.device, trainer.optimizer, trainer.loss, trainer.loss_weights, trainer.metrics,
                          trainer.weighted_metrics])
        if self.basis != basis:
            with self.lock:  # another thread may create the losses at the same time
                if self.basis != basis:
                    self._make(model, data, shapes, names)
                    self.basis = basis
        self.check_targets(model, data)

    def _make(self, model: Model, data: Data, shapes: list[Shape], names: list[str]) -> None:
        """Creates new losses, metrics and sums, and discards all steps."""
        if shapes and len(data.y) != len(shapes) and data.y != [None]:
            raise ValueError(f"y must have {len(shapes)} arrays, one per output. Received number "
                             f"of arrays: {len(data.y)}.")
        trainer = model._trainer
        loss, weights, metrics, weighted_metrics = (flatten_values(value, model) for value in (
            trainer.loss, trainer.loss_weights, trainer.metrics, trainer.weighted_metrics))
        self.goals = [] if loss is None or not shapes else compiled.goals(loss, weights, _names_of_losses(model, names))
        self.loss_names = _loss_names(model, self.goals) if len(self.goals) > 1 else []
        self.has_prefixes = len(shapes) > 1 and bool(_known_names(model))
        targets = [shape if a is None else a.shape for a, shape in zip(data.y * (len(shapes) // len(data.y)), shapes)]
        losses = {goal.output: goal.loss for goal in self.goals}
        self.scores = {kind: [] if not shapes else compiled.scores(metrics, weighted_metrics, names, targets, shapes,
                                             [losses.get(i) for i in range(len(shapes))])
                       for kind in ("train", "test")}
        self.orders = {}
        self.steps.forget()
        self.sums = {kind: trainer.get_sums(kind, self.goals, scores) for kind, scores in self.scores.items()}
        self.steps = Steps()

    def check_targets(self, model: Model, data: Data) -> None:
        """Raises ValueError if targets are missing or do not match the outputs and their losses."""
        shapes = output_shapes(model)
        names = output_names(model, len(shapes))
        for goal in self.goals:
            if data.y[goal.output] is None:
                raise ValueError(f"y has no targets for the output {names[goal.output]!r}, which "
                                 "has a loss. Pass targets for each output with a loss.")
            goal.loss.check_targets(data.y[goal.output], shapes[goal.output])
        for score in self.scores["train"]:
            if data.y[score.output] is None:
                raise ValueError(f"y has no targets for the output {names[score.output]!r}, which "
                                 "has a metric. Pass targets for each output with a metric.")


def output_names(model: Model, count: int) -> list[str]:
    """Returns the outputs' names: from the graph, from the dict that the model's call returns, or numbered names."""
    return _known_names(model) or [f"output_{i + 1}" for i in range(count)]


def _known_names(model: Model) -> list[str] | None:
    if getattr(model, "output_keys", None):
        return model.output_keys
    outputs = output_structure(model)
    return sorted(outputs) if isinstance(outputs, Mapping) and not is_nested(outputs) else None


def output_structure(model: Model) -> Any:
    """Returns the structure of the model's outputs with arbitrary leaves; None if it is unknown or a single output."""
    graph, shape = getattr(model, "graph", None), getattr(model, "output_shape", None)
    if graph is not None or shape is None:
        return None if graph is None else graph.output_structure
    return map_shapes(lambda _: None, shape)


def is_nested(structure: Any) -> bool:
    """Whether a structure is a list, tuple or dict that contains another list, tuple or dict."""
    parts = structure.values() if isinstance(structure, Mapping) else structure
    return isinstance(structure, dict | list | tuple) and any(isinstance(part, dict | list | tuple) for part in parts)


def flatten_values(values: Any, model: Model) -> Any:
    """Flattens values in the structure of nested outputs; returns other values unchanged."""
    outputs = output_structure(model)
    if not is_nested(outputs) or not isinstance(values, Mapping | list | tuple):
        return values
    flat = list_leaves(values, outputs)
    return values if flat is None else flat


def _names_of_losses(model: Model, names: list[str]) -> list[str]:
    """Returns the outputs' names as used in the names of their losses. A nested output's name is its path of keys and
    indices, such as `a/0`. For an output in a list, the last index is replaced by the output's name, if it is known.
    """
    outputs = output_structure(model)
    if not is_nested(outputs):
        return names
    suffixes = names if getattr(model, "graph", None) is not None else [""] * len(names)
    return ["/".join(str(key) for key in (path if isinstance(path[-1], str) else (*path[:-1], name)))
            for path, name in zip(_paths(outputs), suffixes)]


def _paths(structure: Any) -> list[tuple]:
    """Returns the path to each leaf of a structure, as a tuple of keys and indices."""
    if isinstance(structure, dict):
        return [(key, *path) for key in sorted(structure) for path in _paths(structure[key])]
    if isinstance(structure, list | tuple):
        return [(i, *path) for i, part in enumerate(structure) for path in _paths(part)]
    return [()]


def _loss_names(model: Model, goals: list[Goal]) -> list[str]:
    """Returns the names of the outputs' losses in Keras's order, which is the order of the outputs. For a dict of
    outputs, a dict of losses sets the order; a single loss uses the order of the dict that the model's call returns.
    """
    graph = getattr(model, "graph", None)
    outputs = model.output_shape if graph is None else graph.output_structure
    order: Any = sorted(outputs) if isinstance(outputs, Mapping) and not is_nested(output_structure(model)) else ()
    if order and isinstance(model.loss, Mapping):
        order = model.loss
    elif order and graph is None and not isinstance(model.loss, list):
        order = outputs
    names = [goal.name for goal in goals]
    return [f"{name}_loss" for name in order if f"{name}_loss" in names] or names


def output_shapes(model: Model) -> list[Shape]:
    """Returns the shapes of the outputs. For a model class with its own `call`, which accepts
    inputs of other sizes, a single output has None for all axes except the last.
    """
    if not model._can_be_called():
        return []
    shape = model.output_shape
    if getattr(model, "output_names", None) is None and isinstance(shape, tuple) and not isinstance(shape[-1], tuple):
        shape = (None,) * (len(shape) - 1) + shape[-1:]
    return flat_shapes(shape)
