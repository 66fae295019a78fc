"""`Workspace`: what the phases of a step share; `Work`: what a step does."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..engine.ranks import ALONE, Ranks
from ..engine.symbolic import flatten, pack
from ..engine.tensor import Tensor
from ..engine.versions import can_change, watched
from ..kernels import trace
from ..kernels.precision import get_precision
from .compiled import Goal, Score
from .source import Source
from .staging import Staging
from .sums import Sums
from .user_arrays import Data, Model


class Work(NamedTuple):
    """What a step does besides running the model: nothing in prediction, losses and metrics in evaluation, all of it in
    training. With several `ranks` gradients are summed over them while the backward pass goes on.
    """

    kind: str  # "predict", "test" or "train"
    goals: Sequence[Goal] = ()
    scores: Sequence[Score] = ()
    sums: Sums | None = None
    optimizer: Any = None
    ranks: Ranks = ALONE
    own: str | None = None  # the method of the model's class that makes it run `train_step` or its like


class Workspace:
    """What the phases of a step read and write: a batch of inputs x, targets y and sample weights, in arrays (None for
    what is missing, or not copied to the device), and what one phase leaves for the next.

    like: has the shapes of the batch's samples. shards: how many times as many samples the whole batch has, of which
    these are one rank's. reasons: of each phase why it is not recorded, None if it is.
    """

    def __init__(self, model: Model, work: Work, like: Data, samples: int, shards: float,
                 reasons: dict[str, str | None]) -> None:
        self.model, self.work, self.form, self.device = model, work, like.form, model.device
        self.ranks, self.shards, self.reasons = work.ranks, shards, reasons
        self.goals = {goal.output: goal for goal in work.goals}
        self.samples = samples
        self.x = [self.device.fresh((samples, *a.shape[1:]), dtype)
                  for a, dtype in zip(like.x, model._dtypes(len(like.x)))]
        self.y: list[Any] = [None] * len(like.y)
        self.weights: list[Any] = [None] * len(like.y)
        for goal in work.goals if work.own is None else ():
            y, weights = like.y[goal.output], like.weights[goal.output]
            if is_recordable(goal.loss):
                self.y[goal.output] = self.device.fresh((samples, *y.shape[1:]), goal.loss.target_dtype(model.dtype))
            if weights is not None:
                self.weights[goal.output] = self.device.fresh((samples, *weights.shape[1:]), model.dtype)
        self.arrays = [*self.x, *self.y, *self.weights]
        self.source: Source | Staging | None = None  # where `load` reads the batch
        self.sink: Sequence[Any] | None = None  # where `store` writes the predictions
        self.given: Sequence[Any] = ()  # a batch that was fed, as the user has it
        self.first: Any = 0  # placeholder for the position of the batch's first sample in the epoch's order
        self.duplicated = False  # whether every rank runs the same whole batch
        self.trains = work.optimizer is not None and work.optimizer.flat is not None
        self.by_kernels = False  # whether `optimizer.update()` makes the update, which counts no step
        self.moving: list[Any] = []  # the arrays of weights that training changes by themselves: moving averages
        self.structure: Any = None  # what the model's call returned, and its tensors in a list
        self.outputs: list[Tensor] = []
        self.penalties: list[Tensor] = []  # what layers and weights add to the loss
        self.leaves: dict[int, Tensor] = {}  # the outputs as beginnings of a tape
        self.values: list[tuple[Tensor, Any]] = []  # the losses of the samples with their weights
        self.gradients: dict[tuple[int, bool], Any] = {}  # of outputs, or of the logits that they came from
        self.arrivals: dict[int, int] = {}  # how many calls were recorded when a parameter's gradient was complete
        self.calls = 0  # of the backward pass
        self.is_summing = False  # whether a replay began to sum gradients over the ranks
        self.value_counts = [0] * len(work.scores)

    def versions(self) -> list[tuple[Any, Any]]:
        """Returns everything that a recording depends on, with the number of its last change, if it counts them."""
        work, layers = self.work, list(self.model._walk())
        things: list[Any] = [w for layer in layers for w in layer._own_weights()]
        if self.reasons["forward"] is None:
            things += layers
        uncounted = [thing for thing in (*(goal.loss for goal in work.goals), *(score.metric for score in work.scores),
                                         work.optimizer) if thing is not None and is_recordable(thing)]
        return [*((thing, thing.version) for thing in things), *((thing, None) for thing in uncounted),
                (self.device, get_precision())]

    def watched(self) -> Iterator[Any]:
        """What a recording depends on that can change in place, also in the arguments of functions in graphs."""
        for thing, _ in self.versions():
            if hasattr(thing, "unwatched"):
                yield from watched(thing)
        for layer in self.model._walk():
            graph = getattr(layer, "_graph", None)
            for node in () if graph is None else graph.nodes:
                yield from filter(can_change, flatten((node.args, node.kwargs)))

    def put_together(self, outputs: list[Any]) -> Any:
        """A list with one thing for each output in the structure in which the model's call gives outputs."""
        return outputs[0] if isinstance(self.structure, Tensor) else pack(self.structure, outputs)

    def is_recorded(self, score: Score) -> bool:
        """Whether a metric's sums are taken by kernels, which count each sample once."""
        goal = self.goals.get(score.output)
        if score.weighted and self.weights[score.output] is not None:
            return False
        return is_recordable(score.metric) and goal is not None and self.takes_tensors(goal)

    def takes_tensors(self, goal: Goal) -> bool:
        """Whether a loss gets the targets that are on the device, not the user's array."""
        return self.y[goal.output] is not None and is_recordable(goal.loss)

    def given_array(self, which: int) -> Any:
        """Array number `which` of the batch, x, y, then weights, as the user has it."""
        return self.given[which] if self.source is None else self.source.host(which, self.samples)

    def given_targets(self, output: int) -> np.ndarray:
        """The targets of an output as the user has them."""
        return np.asarray(self.given_array(len(self.x) + output))


def is_recordable(thing: Any) -> bool:
    """Whether what a loss, metric or optimizer does in a step is kernels alone."""
    return trace.declared_recordable(thing, "__call__", "call", "update_state", "values", "update_step", "update",
                                     "apply")
