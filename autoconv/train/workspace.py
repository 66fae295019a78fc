"""`Workspace` is the data that a step's phases share. `Work` is a step's kind and settings."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..engine.ranks import ALONE, Ranks
from ..engine.symbolic import flatten, pack
from ..engine.tensor import Tensor
from ..engine.versions import can_change, find_mutable_values
from ..kernels import trace
from ..kernels.precision import get_precision
from .compiled import Goal, Score
from .source import Source
from .staging import Staging
from .sums import Sums
from .user_arrays import Data, Model


class Work(NamedTuple):
    """The work of a step besides running the model: nothing in prediction, losses and metrics in evaluation, gradients
    and updates as well in training. With several `ranks`, gradients are summed over the ranks during the backward pass.
    """

    kind: str  # "predict", "test" or "train"
    goals: Sequence[Goal] = ()
    scores: Sequence[Score] = ()
    sums: Sums | None = None
    optimizer: Any = None
    ranks: Ranks = ALONE
    own_method: str | None = None  # the overridden method that makes the step run through Python


class Workspace:
    """The data that a step's phases read and write: the arrays of a batch (inputs x, targets y, sample weights) and
    the results that one phase leaves for the next. An array is None if it is missing or not copied to the device.

    `like` has the shapes of the batch's samples. `shards` is the whole batch's sample count divided
    by this rank's. `reasons` maps each phase to the reason why it is not recorded, or to None.
    """

    def __init__(self, model: Model, work: Work, like: Data, samples: int, shards: float,
                 reasons: dict[str, str | None]) -> None:
        self.model, self.work, self.form, self.device = model, work, like.form, model.device
        self.is_tuple = like.is_tuple
        self.ranks, self.shards, self.reasons = work.ranks, shards, reasons
        self.goals = {goal.output: goal for goal in work.goals}
        self.samples = samples
        self.x = [self.device.fresh((samples, *a.shape[1:]), dtype)
                  for a, dtype in zip(like.x, model._dtypes(len(like.x)))]
        self.y: list[Any] = [None] * len(like.y)
        self.weights: list[Any] = [None] * len(like.y)
        for goal in work.goals if work.own_method is None else ():
            y, weights = like.y[goal.output], like.weights[goal.output]
            if is_recordable(goal.loss):
                self.y[goal.output] = self.device.fresh((samples, *y.shape[1:]), goal.loss.target_dtype(model.dtype))
            if weights is not None:
                self.weights[goal.output] = self.device.fresh((samples, *weights.shape[1:]), model.dtype)
        self.arrays = [*self.x, *self.y, *self.weights]
        self.source: Source | Staging | None = None  # the source from which `load` reads the batch
        self.sink: Sequence[Any] | None = None  # the arrays to which `store` writes the predictions
        self.batch: Sequence[Any] = ()  # the user's arrays of a batch that was fed directly
        self.first: Any = 0  # placeholder for the position of the batch's first sample in the epoch's order
        self.is_duplicate = False  # whether every rank runs the same whole batch
        self.trains = work.optimizer is not None and work.optimizer.flat is not None
        self.updates_in_kernels = False  # whether kernels update the weights; the host then counts the step
        self.moving: list[Any] = []  # weight arrays that training changes without gradients: moving averages
        self.structure: Any = None  # the result of the model's call; `outputs` lists its tensors
        self.outputs: list[Tensor] = []
        self.penalties: list[Tensor] = []  # penalties that layers and weights add to the loss
        self.leaves: dict[int, Tensor] = {}  # the outputs as leaves of the loss's tape
        self.values: list[tuple[Tensor, Any]] = []  # each output's losses per sample, and the samples' weights
        self.gradients: dict[tuple[int, bool], Any] = {}  # gradients of outputs or of their logits
        self.arrivals: dict[int, int] = {}  # number of recorded calls until each parameter's gradient was complete
        self.calls = 0  # number of recorded calls in the backward pass
        self.is_summing = False  # whether a replay has started to sum gradients over the ranks
        self.value_counts = [0] * len(work.scores)

    def versions(self) -> list[tuple[Any, Any]]:
        """Returns pairs of an object on which a recording depends and the number of its last change, or None."""
        work, layers = self.work, list(self.model._walk())
        things: list[Any] = [w for layer in layers for w in layer._own_weights()]
        if self.reasons["forward"] is None:
            things += layers
        uncounted = [thing for thing in (*(goal.loss for goal in work.goals), *(score.metric for score in work.scores),
                                         work.optimizer) if thing is not None and is_recordable(thing)]
        return [*((thing, thing.version) for thing in things), *((thing, None) for thing in uncounted),
                (self.device, get_precision())]

    def find_mutable_values(self) -> Iterator[Any]:
        """Yields the values, on which a recording depends, that can change in place, such as arrays and lists."""
        for thing, _ in self.versions():
            if hasattr(thing, "bookkeeping"):
                yield from find_mutable_values(thing)
        for layer in self.model._walk():
            graph = getattr(layer, "_graph", None)
            for node in () if graph is None else graph.nodes:
                yield from filter(can_change, flatten((node.args, node.kwargs)))

    def restructure(self, outputs: list[Any]) -> Any:
        """Converts a list with one item per output to the structure of the model's result."""
        return outputs[0] if isinstance(self.structure, Tensor) else pack(self.structure, outputs)

    def is_recorded(self, score: Score) -> bool:
        """Whether kernels compute a metric's sums. Kernels count each sample once, unweighted."""
        goal = self.goals.get(score.output)
        if score.uses_weights and self.weights[score.output] is not None:
            return False
        return is_recordable(score.metric) and goal is not None and self.takes_tensors(goal)

    def takes_tensors(self, goal: Goal) -> bool:
        """Whether a loss receives its targets as a device tensor, not as the user's array."""
        return self.y[goal.output] is not None and is_recordable(goal.loss)

    def user_array(self, index: int) -> Any:
        """Returns the user's array number `index` of the batch, in the order x, y, weights."""
        return self.batch[index] if self.source is None else self.source.host(index, self.samples)

    def user_targets(self, output: int) -> np.ndarray:
        """Returns the targets of output number `output` as the user's NumPy array."""
        return np.asarray(self.user_array(len(self.x) + output))


def is_recordable(thing: Any) -> bool:
    """Whether a loss, metric or optimizer is declared to run only kernels in a step."""
    return trace.declared_recordable(thing, "__call__", "call", "update_state", "values", "update_step", "update",
                                     "apply")
