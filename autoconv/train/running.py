"""`Running`: what the methods of a model that train and evaluate share, from one compile() to the next."""

from collections.abc import Mapping
from typing import Any

from .. import random
from ..backend.locks import Lock
from ..metrics import Mean
from ..symbolic import flat_shapes
from ..versions import contents
from . import compiled
from .compiled import Goal, Score
from .data import Data
from .step import Steps

Shape = tuple[int | None, ...]


class Running:
    """What fit, evaluate and the *_on_batch methods share until the next compile(): losses, metrics, sums, steps."""

    def __init__(self) -> None:
        self.steps = Steps()
        self.goals: list[Goal] = []
        self.loss_names: list[str] = []  # the outputs' losses, if there are several, in the order of lists
        self.prefixed = False  # whether the names of metrics begin with the name of an output
        self.scores: dict[str, list[Score]] = {}  # of training and of evaluation, like the sums
        self.sums: dict[str, Any] = {}  # of training and of evaluation: a callback may evaluate while fit runs
        self.made_for: Any = None  # the device, and what `compile` was given, that they are of
        self.key: random.Key | None = None  # of the last training's orders
        self.nan_seen = False
        self.now = "train"  # what ran last, training or evaluation
        self._trackers: dict[tuple[str, str], Mean] = {}
        self.lock = Lock()  # one evaluation at a time: they share the sums

    def tracker(self, kind: str, name: str = "loss") -> Mean:
        """The mean of a loss, for steps of a class's own."""
        return self._trackers.setdefault((kind, name), Mean(name))

    def loss_trackers(self, kind: str) -> list[Mean]:
        """The mean of the loss, and of each output's loss where there are several that such steps computed."""
        return [self.tracker(kind), *(mean for (of, name), mean in self._trackers.items()
                                      if of == kind and name != "loss")]

    def training(self) -> random.Key:
        """The key of this training's orders: that of the last one where it goes on, else the next key."""
        self.key = self.key or random.stream()
        return self.key

    def __reduce__(self) -> tuple:
        return Running, ()  # a copy of a model makes its own

    def settle(self, model: Any, data: Data) -> None:
        """Losses and metrics of a model for this data, after a look at the targets; sums that start anew."""
        shapes = output_shapes(model)
        names = output_names(model, len(shapes))
        made_for = contents([model.device, model.optimizer, model.loss, model._loss_weights, model._metrics_wanted,
                             model._weighted_wanted])
        if self.made_for != made_for:
            with self.lock:  # another thread may evaluate for the first time as well
                if self.made_for != made_for:
                    self._make(model, data, shapes, names)
                    self.made_for = made_for
        self.check_targets(model, data)

    def _make(self, model: Any, data: Data, shapes: list[Shape], names: list[str]) -> None:
        """Losses, metrics and sums anew, and no steps."""
        if len(data.y) != len(shapes) and data.y != [None]:
            raise ValueError(f"y must have {len(shapes)} arrays, one an output. Received: {len(data.y)}.")
        self.goals = [] if model.loss is None else compiled.goals(model.loss, model._loss_weights, names)
        self.loss_names = _loss_names(model, self.goals) if len(self.goals) > 1 else []
        self.prefixed = len(shapes) > 1 and bool(_known_names(model))
        targets = [shape if a is None else a.shape for a, shape in zip(data.y * (len(shapes) // len(data.y)), shapes)]
        losses = {goal.output: goal.loss for goal in self.goals}
        self.scores = {kind: compiled.scores(model._metrics_wanted, model._weighted_wanted, names, targets, shapes,
                                             [losses.get(i) for i in range(len(shapes))])
                       for kind in ("train", "test")}
        self.steps.forget()
        self.sums = {kind: model._sums(kind, self.goals, scores) for kind, scores in self.scores.items()}
        self.steps = Steps()

    def check_targets(self, model: Any, data: Data) -> None:
        """Raises ValueError where targets do not go with the outputs and their losses."""
        shapes = output_shapes(model)
        names = output_names(model, len(shapes))
        for goal in self.goals:
            if data.y[goal.output] is None:
                raise ValueError(f"y has no targets for the output {names[goal.output]!r}, which has a loss.")
            goal.loss.check_targets(data.y[goal.output], shapes[goal.output])
        for score in self.scores["train"]:
            if data.y[score.output] is None:
                raise ValueError(f"y has no targets for the output {names[score.output]!r}, which has a metric.")


def output_names(model: Any, count: int) -> list[str]:
    """The names of the outputs: those of the graph, the keys of the dict that a class's call returns, or numbers."""
    return _known_names(model) or [f"output_{i + 1}" for i in range(count)]


def _known_names(model: Any) -> list[str] | None:
    shape = None if getattr(model, "output_keys", None) else getattr(model, "output_shape", None)
    return sorted(shape) if isinstance(shape, Mapping) else getattr(model, "output_keys", None)


def _loss_names(model: Any, goals: list[Goal]) -> list[str]:
    """Returns the names of the outputs' losses in Keras's order: that of the outputs. If the outputs are a dict, a dict
    of losses brings its own order, and a single loss has the order of the dict that a class's call returns.
    """
    graph = getattr(model, "graph", None)
    outputs = model.output_shape if graph is None else graph.output_structure
    order: Any = sorted(outputs) if isinstance(outputs, Mapping) else ()
    if order and isinstance(model.loss, Mapping):
        order = model.loss
    elif order and graph is None and not isinstance(model.loss, list):
        order = outputs
    names = [goal.name for goal in goals]
    return [f"{name}_loss" for name in order if f"{name}_loss" in names] or names


def output_shapes(model: Any) -> list[Shape]:
    """The shapes of the outputs; of a class with a call of its own, which takes other sizes too, the last axis."""
    found = model.output_shape
    if getattr(model, "output_names", None) is None and isinstance(found, tuple) and not isinstance(found[-1], tuple):
        found = (None,) * (len(found) - 1) + found[-1:]
    if isinstance(found, Mapping):
        return flat_shapes(found)
    return list(found) if found and isinstance(found[0], tuple | list) else [found]
