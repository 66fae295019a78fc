"""`Phases`: what a step does with a batch, phase by phase, run through Python. How that is recorded is step.py's."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from ..backend import trace
from ..losses import weights_shape
from ..ranks import ALONE, Ranks
from ..symbolic import flatten, pack
from ..tape import walk_back
from ..tensor import Tensor, no_grad, within_formula
from .compiled import Goal, Score
from .source import Source
from .staging import Staging
from .sums import Sums


class Work(NamedTuple):
    """What a step does beside running the model: nothing in prediction, losses and metrics in evaluation, all of it in
    training. With several `ranks` gradients are summed over them while the backward pass goes on.
    """

    kind: str  # "predict", "test" or "train"
    goals: Sequence[Goal] = ()
    scores: Sequence[Score] = ()
    sums: Sums | None = None
    optimizer: Any = None
    ranks: Ranks = ALONE
    own: str | None = None  # the method of the model's class that makes it run `train_step` or its like


class Phases:
    """The phases of a step of `model` over batches of arrays of these shapes and dtypes: inputs x, targets y, sample
    weights; None for what is not there, or not taken to the device.

    form: puts a list of inputs into the form in which the model's call takes it. shards: how many times as many samples
    the whole batch has, of which these are one rank's. reasons: of each phase why it is not recorded, None where it is.
    """

    def __init__(self, model: Any, work: Work, x: Sequence[Any], y: Sequence[Any], weights: Sequence[Any],
                 form: Callable[[list], Any], shards: float = 1.0) -> None:
        self._model, self._work, self._form, self._device = model, work, form, model.device
        self._goals = {goal.output: goal for goal in work.goals}
        self._trains = work.optimizer is not None and work.optimizer.flat is not None
        self._ranks, self._shards = work.ranks, shards
        self._moving: list[Any] = []  # the arrays of weights that training changes by themselves: moving averages
        parts = [[None if like is None else self._device.fresh(*like) for like in part] for part in (x, y, weights)]
        self._x: list[Any] = parts[0]
        self._y, self._weights, self.samples = parts[1], parts[2], len(self._x[0])
        self.arrays = [*self._x, *self._y, *self._weights]  # what a batch is written into
        self._source: Source | Staging | None = None
        self._sink: Sequence[Any] | None = None
        self._penalties: list[Tensor] = []  # what layers and weights add to the loss
        self._duplicated = False  # whether every rank runs the same whole batch
        self._given: Sequence[Any] = ()  # a batch that was fed, as the user has it
        self._gradients: dict[tuple[int, bool], Any] = {}  # of outputs, or of the logits that they came from
        self._arrivals: dict[int, int] = {}  # how many calls were recorded when a parameter's gradient was complete
        self._value_counts = [0] * len(work.scores)
        self._model_obstacle: str | None = None  # why a step with this model cannot be recorded
        self._first: Any = 0  # what stands for the place of the batch's first sample in the order
        self._by_kernels = False  # whether `optimizer.update()` makes the update, which counts no step
        self.reasons: dict[str, str | None] = {}

    def feed(self, arrays: Sequence[Any]) -> None:
        """Writes one batch, x, y and weights as the user has them, into the step's arrays."""
        self._given = arrays
        for array, own in zip(arrays, self.arrays):
            if own is not None:
                own[...] = array

    def outputs(self) -> list[Any]:
        """The predictions of the last run, in arrays of the device that the next run may write to."""
        return [t.data for t in self._outputs]

    def put_together(self, outputs: list[Any]) -> Any:
        """A list with one thing for each output in the structure in which the model's call gives outputs."""
        return outputs[0] if isinstance(self._structure, Tensor) else pack(self._structure, outputs)

    def _works(self) -> list[tuple[str, Callable[[], Any]]]:
        """The phases of this step, in order."""
        if self._work.own is not None:
            return [(name, work) for name, work, wanted in (
                ("load", self._load, self._source is not None), ("forward", self._own_step, True),
                ("store", self._store, self._sink is not None)) if wanted]
        scored = any(not self._is_recorded(score) for score in self._work.scores)
        return [(name, work) for name, work, wanted in (
            ("load", self._load, self._source is not None), ("forward", self._forward, True),
            ("loss", self._loss, self._work.goals), ("backward", self._backward, self._trains),
            ("reduce", self._reduce_all, self._trains and self._ranks.size > 1),
            ("account", self._account, self._work.goals), ("score", self._score, scored),
            ("store", self._store, self._sink is not None), ("update", self._update, self._trains),
        ) if wanted]

    def _obstacle(self, phase: str) -> str | None:
        """Why a phase cannot be recorded, as far as is known before it runs."""
        if self._work.own is not None and phase != "load":
            return f"{type(self._model).__name__} runs its own {self._work.own}()"
        if self._model.run_eagerly and phase != "load":  # which runs nothing of the user's
            return "compile(run_eagerly=True)"
        if phase in ("forward", "backward", "store", "loss", "account"):
            obstacle = self._model_obstacle
            if phase == "store" and not all(map(self._device.writes_to, self._sink or ())):
                return obstacle or "the predictions do not fit into the GPU's memory"
            if obstacle is not None or phase in ("forward", "backward", "store"):
                return obstacle
            odd = next((goal.loss for goal in self._work.goals if not self._takes_tensors(goal)), None)
            return None if odd is None else f"the loss {odd.name} does not say recordable = True"
        if phase == "update" and not is_recordable(self._work.optimizer):
            return f"the optimizer {self._work.optimizer.name} does not say recordable = True"
        if phase == "score":
            score = next(s for s in self._work.scores if not self._is_recorded(s))
            return f"the metric {score.name} is computed by NumPy"
        return "other processes take part" if phase == "reduce" else None

    def _shared_obstacle(self) -> str | None:
        """Why a step that processes share cannot be recorded, though each of its layers could."""
        if self._ranks.size > 1 and self._work.kind == "train":
            for layer in self._model._walk():
                if getattr(layer, "synchronized", False):
                    return f"{layer.name} takes the mean over the images of all processes"
        return None

    def _is_recorded(self, score: Score) -> bool:
        """Whether a metric's sums are taken by kernels, which count each sample once."""
        goal = self._goals.get(score.output)
        if score.weighted and self._weights[score.output] is not None:
            return False
        return is_recordable(score.metric) and goal is not None and self._takes_tensors(goal)

    def _takes_tensors(self, goal: Goal) -> bool:
        """Whether a loss gets the targets that lie on the device, not the user's array."""
        return self._y[goal.output] is not None and is_recordable(goal.loss)

    # The phases.

    def _place(self) -> int:
        return 0 if self._source is None else self._source.first()

    def _load(self) -> None:
        self._source.read(self._first, self.arrays)  # type: ignore[union-attr]

    def _inputs(self) -> Any:
        """What the model is called on."""
        arrays = self._x
        if self.reasons["forward"] is not None:  # a layer of the user's may keep them
            arrays = [self._device.empty(a.shape, a.dtype) for a in self._x]
            for mine, theirs in zip(self._x, arrays):
                self._device.kernels("arith").copy(mine, theirs)
        return self._form([Tensor(a, device=self._device) for a in arrays])

    def _own_step(self) -> None:
        """All of a step by a method of the model."""
        x, kind, model = self._inputs(), self._work.kind, self._model
        if kind == "predict":
            with no_grad():
                self._structure = model.predict_step((x,))
            self._outputs = flatten(self._structure)
            return
        count = len(self._y)
        y, weights = ([self._own_array(at + i) for i in range(count)] for at in (len(self._x), len(self._x) + count))
        several = count > 1
        parts = [x] if y == [None] else [x, y if several else y[0]]
        if len(parts) == 2 and any(weight is not None for weight in weights):
            parts.append(weights if several else weights[0])
        model._trainer.running.now = kind
        if kind == "train":
            with within_formula(f"train_step of {model.name!r}"):
                logs = model.train_step(tuple(parts))
            self._work.sums.take(logs)  # type: ignore[union-attr]
            return
        with no_grad():
            self._work.sums.take(model.test_step(tuple(parts)))  # type: ignore[union-attr]

    def _own_array(self, which: int) -> Tensor | None:
        """Array number `which` of the batch as a tensor: floats in the model's dtype."""
        given = self._given[which] if self._source is None else self._source.host(which, self.samples)
        if given is None:
            return None
        array = np.asarray(given)
        dtype = np.dtype(self._model.dtype) if array.dtype.kind == "f" else array.dtype
        return Tensor(self._device.array(array, dtype), device=self._device)

    def _forward(self) -> None:
        inputs = self._inputs()
        if self._trains:
            outputs = self._model(inputs, training=True)
            self._penalties = self._model.losses
        else:
            with no_grad():
                outputs = self._model(inputs, training=self._work.kind == "train")
                self._penalties = self._model.losses if self._work.goals else []
        self._structure, self._outputs = outputs, flatten(outputs)

    def _loss(self) -> None:
        """Losses, and in training the gradients of the outputs, by tensors that begin a tape of their own."""
        self._values = []
        self._leaves = {output: self._leaf(output) for output in self._goals}
        if self.reasons["loss"] is not None:  # a loss of the user's may reach an output in another way each time
            for gradient in self._gradients.values():
                self._device.kernels("arith").copy(0, gradient)
        for goal in self._work.goals:
            values, weights = self._loss_of(goal)
            self._values.append((values, weights))
            if self._trains:
                values.backward(Tensor(self._times(weights, goal.weight), device=self._device))

    def _pretend_gradients(self) -> None:
        """For a dry run of the backward pass, where the loss is the user's."""
        self._leaves = {output: self._leaf(output) for output in self._goals}
        for leaf in self._leaves.values():
            leaf.grad = leaf._grad_buffer

    def _backward(self) -> None:
        flat, section = self._work.optimizer.flat, trace.current()
        roots = []
        for goal in self._work.goals:
            output, leaf = self._outputs[goal.output], self._leaves[goal.output]
            pairs = [(output, leaf)]
            if output.logits is not None and leaf.logits is not None:
                pairs.append((output.logits, leaf.logits))
            for of, begun in pairs:
                if begun.grad is None and self.reasons["loss"] is not None:
                    begun.grad = begun._grad_buffer  # zeros; another time it may go this way
                if begun.grad is not None and of.requires_grad:
                    roots.append((of, begun.grad))

        for penalty in self._penalties:
            if penalty.requires_grad:
                share = np.full(penalty.shape, 1 / self._shards, penalty.dtype)
                roots.append((penalty, self._device.constant(share)))
        self._arrivals = {}

        def arrived(leaf: Tensor) -> None:
            self._arrivals[id(leaf)] = len(section.calls) if isinstance(section, trace.Section) else 0

        flat.bind_gradients()
        try:
            walk_back(roots, arrived)
            flat.collect([p.grad for p in flat.parameters])
        finally:
            flat.release_gradients()

    def _update(self) -> None:
        if self._by_kernels or self.reasons["update"] is None:
            self._work.optimizer.update()
        else:
            self._work.optimizer.apply(self._work.optimizer.flat.gradients)

    def _account(self) -> None:
        """Adds the losses and the metrics to the running sums."""
        sums: Any = self._work.sums
        sums.add_losses([(goal.weight, values.data, weights) for goal, (values, weights) in zip(
            self._work.goals, self._values)], self.samples * self._shards)
        for penalty in self._penalties:
            sums.add_penalty(penalty.data, self.samples)
        for j, score in enumerate(self._work.scores):
            if self._is_recorded(score):
                output = self._outputs[score.output]
                prediction = output.detach()
                if output.logits is not None:
                    prediction.logits, prediction.activation = output.logits.detach(), output.activation
                values = score.metric.values(self._target(self._goals[score.output]), prediction)  # type: ignore[attr-defined]
                sums.add_score(j, values)
                self._value_counts[j] = values.size
        sums.close_step()

    def _score(self) -> None:
        """Metrics of the user's, on NumPy arrays."""
        for score in self._work.scores:
            if not self._is_recorded(score):
                outputs = np.array(self._device.numpy(self._outputs[score.output].data))  # which it may keep
                given = [self._given_targets(score.output), outputs]
                if score.weighted and self._weights[score.output] is not None:
                    given.append(self._given_weights(score.output))
                if self._ranks.size > 1 and not self._duplicated:  # of the whole batch, on every rank
                    given = [np.concatenate(parts) for parts in zip(*self._ranks.exchange(given))]
                score.metric.update_state(*given)

    def _store(self) -> None:
        for output, rows in zip(self._outputs, self._sink):  # type: ignore[arg-type]
            if self.reasons.get("store") is None:
                self._device.kernels("step").put_rows(output.data, self._first, rows)
            else:
                rows[self._place() : self._place() + len(output)] = output.data

    # What the phases are made of.

    def _given_targets(self, output: int) -> np.ndarray:
        """The targets of the batch as the user's array has them."""
        which = len(self._x) + output
        return np.asarray(self._given[which]) if self._source is None else self._source.host(which, self.samples)

    def _given_weights(self, output: int) -> np.ndarray:
        """The weights of the batch's samples as the user's array has them."""
        which = len(self._x) + len(self._y) + output
        return np.asarray(self._given[which]) if self._source is None else self._source.host(which, self.samples)

    def _leaf(self, i: int) -> Tensor:
        """An output as the beginning of a tape; its gradient, or that of its logits, goes to an array that stays."""
        output = self._outputs[i]
        leaf = self._begun(output, (i, False))
        if output.logits is not None:
            leaf.logits, leaf.activation = self._begun(output.logits, (i, True)), output.activation
        return leaf

    def _begun(self, of: Tensor, key: tuple[int, bool]) -> Tensor:
        data = of.data
        if self.reasons.get("forward") is None and self.reasons.get("loss") is not None:  # a loss may keep it
            data = self._device.empty(of.shape, of.dtype)
            self._device.kernels("arith").copy(of.data, data)
        leaf = Tensor(data, self._trains, self._device)
        if self._trains:
            if key not in self._gradients:
                self._gradients[key] = self._device.fresh(of.shape, of.dtype)
            leaf._grad_buffer = self._gradients[key]
        return leaf

    def _target(self, goal: Goal) -> Any:
        """The targets of a loss: a tensor, or the user's array for a loss of the user's."""
        if self._takes_tensors(goal):
            return Tensor(self._y[goal.output], device=self._device)
        return self._given_targets(goal.output)

    def _loss_of(self, goal: Goal) -> tuple[Tensor, Any]:
        """The losses of the samples with their weights; of a class that overrides `__call__`, what that returns."""
        target, leaf, given = self._target(goal), self._leaves[goal.output], self._weights[goal.output]
        if not goal.loss.has_own_call():
            values = goal.loss.sample_losses(target, leaf)
            return values, self._normalized_weights(goal, values)
        values = goal.loss(target, leaf, None if given is None else np.array(self._device.numpy(given))).reshape(1)
        return values, self._device.constant(np.full(1, 1 / self._shards, values.dtype))

    def _normalized_weights(self, goal: Goal, values: Tensor) -> Any:
        """How much each sample's loss counts, as `Loss.normalized_weights` has it, on the device."""
        given, device = self._weights[goal.output], self._device
        if given is None:
            return device.constant(goal.loss.normalized_weights(values, None, self._shards))
        is_shared = values.size == 1 < given.size  # one number for all samples counts with the sum of their weights
        shape = given.shape if is_shared else values.shape
        spread = given.reshape(weights_shape(given.shape, shape))
        k, weighted = device.kernels("select"), device.empty(shape, values.dtype)
        if goal.loss.reduction == "mean_with_sample_weight":
            if self._ranks.size > 1:
                raise ValueError("A loss with reduction='mean_with_sample_weight' needs the weights of the whole "
                                 "batch, of which each of the processes has a part. Received: "
                                 f"{self._ranks.size} processes. Take 'sum_over_batch_size'.")
            k.copy(spread, weighted)
            total = self._sum(weighted)
            k.maximum(total, device.constant(np.full(total.shape, 1e-30, total.dtype)), total)
            device.kernels("arith").divide(weighted, total, weighted)
        else:
            weights = device.constant(goal.loss.normalized_weights(weighted, None, self._shards))
            device.kernels("arith").multiply(weights, spread, weighted)
        return self._sum(weighted).reshape(values.shape) if is_shared else weighted

    def _sum(self, array: Any) -> Any:
        """The sum of all its elements, with as many axes."""
        total = self._device.empty((1,) * array.ndim, array.dtype)
        self._device.kernels("select").sum(array, tuple(range(array.ndim)), total)
        return total

    def _times(self, weights: Any, factor: float) -> Any:
        if factor == 1:
            return weights
        scaled = self._device.empty(weights.shape, weights.dtype)
        self._device.kernels("arith").multiply(weights, weights.dtype.type(factor), scaled)
        return scaled

    def _buckets(self) -> list[tuple[int, int]]:
        """The parts of the flat gradient that are summed over ranks, one after the other: of the last layers first. On
        each rank, in each step, the same parts in the same order.
        """
        flat, cuts = self._work.optimizer.flat, [self._work.optimizer.flat.size]
        for start in reversed(flat.starts):
            if start == 0 or (cuts[-1] - start) * flat.dtype.itemsize >= self._ranks.bucket_bytes:
                cuts.append(start)
        return [(stop, start) for start, stop in pairwise(cuts)]

    def _reduce(self, start: int, stop: int) -> None:
        self._ranks.start(self._work.optimizer.flat.gradient[start:stop])

    def _average(self) -> None:
        self._ranks.start_mean(self._moving)

    def _reduce_all(self) -> None:
        if self._moving:
            self._average()
        for bucket in self._buckets():
            self._reduce(*bucket)
        self._ranks.finish()


def moving_weights(layers: Iterable[Any]) -> list[Any]:
    """The arrays of weights that a training changes, but not by gradients: those of normalizations."""
    return [weight.data for layer in layers if layer.trainable for weight in layer._own_weights()
            if not weight.learns and weight.dtype.kind == "f"]


def is_recordable(thing: Any) -> bool:
    """Whether what a loss, metric or optimizer does in a step is kernels alone."""
    return trace.declared_recordable(thing, "__call__", "call", "update_state", "values", "update_step", "update",
                                     "apply")
