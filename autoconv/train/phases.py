"""The phases of a step. Each phase is a function that runs one part of a step on a batch. `Step` records the phases.

    load | forward | loss | backward | reduce | account | score | store | update

The weights are updated last, so a step that is interrupted earlier leaves all weights unchanged.
"""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from ..arguments.batches import pack_x_y_sample_weight
from ..engine.symbolic import flatten
from ..engine.tape import walk_back
from ..engine.tensor import Tensor, enter_formula, no_grad
from ..kernels import trace
from ..losses import weights_shape
from .compiled import Goal
from .recorder import Phase
from .workspace import Workspace, is_recordable


def load(space: Workspace) -> None:
    """Copies the next batch from the data set into the step's arrays."""
    space.source.read(space.first, space.arrays)  # type: ignore[union-attr]


def _inputs(space: Workspace) -> Any:
    """Returns the batch's inputs in the structure that the model's call expects."""
    arrays = space.x
    if space.reasons["forward"] is not None:  # copied, because a user's layer may keep its inputs
        arrays = [space.device.empty(a.shape, a.dtype) for a in space.x]
        for source, target in zip(space.x, arrays):
            space.device.kernels("arith").copy(source, target)
    return space.form([Tensor(a, device=space.device) for a in arrays])


def run_own_step(space: Workspace) -> None:
    """Runs a whole step through the model's `train_step`, `test_step` or `predict_step`."""
    x, kind, model = _inputs(space), space.work.kind, space.model
    if kind == "predict":
        with no_grad():
            space.structure = model.predict_step((x,) if space.is_tuple else pack_x_y_sample_weight(x))
        space.outputs = flatten(space.structure)
        return
    tensors: list[Tensor | None] = []
    for i in range(2 * len(space.y)):
        values = space.user_array(len(space.x) + i)
        array = None if values is None else np.asarray(values)
        dtype = model.dtype if array is None or array.dtype.kind == "f" else array.dtype
        tensors.append(None if array is None else Tensor(space.device.array(array, dtype), device=space.device))
    y, weights, is_multi = tensors[: len(space.y)], tensors[len(space.y) :], len(space.y) > 1
    if y == [None]:
        data = (x,) if space.is_tuple else pack_x_y_sample_weight(x)
    else:
        has_weights = any(weight is not None for weight in weights)
        data = pack_x_y_sample_weight(x, y if is_multi else y[0],
                                      None if not has_weights else weights if is_multi else weights[0])
    model._trainer.running.kind = kind
    if kind == "train":
        with enter_formula(f"train_step of {model.name!r}"):
            logs = model.train_step(data)
        space.work.sums.take(logs)  # type: ignore[union-attr]
        return
    with no_grad():
        space.work.sums.take(model.test_step(data))  # type: ignore[union-attr]


def forward(space: Workspace) -> None:
    """Calls the model on the batch's inputs and stores its outputs."""
    inputs = _inputs(space)
    if space.trains:
        outputs = space.model(inputs, training=True)
        space.penalties = space.model.losses
    else:
        with no_grad():
            outputs = space.model(inputs, training=space.work.kind == "train")
            space.penalties = space.model.losses if space.work.goals else []
    space.structure, space.outputs = outputs, flatten(outputs)


def compute_losses(space: Workspace) -> None:
    """Computes the losses and, in training, the gradients of the outputs, on a separate tape."""
    space.values = []
    space.leaves = {output: _leaf(space, output) for output in space.goals}
    if space.reasons["loss"] is not None:  # zeros, because a user's loss need not use every output each time
        for gradient in space.gradients.values():
            space.device.kernels("arith").copy(0, gradient)
    for goal in space.work.goals:
        values, weights = _compute_loss(space, goal)
        space.values.append((values, weights))
        if space.trains:
            dy = weights
            if goal.weight != 1:
                dy = space.device.empty(weights.shape, weights.dtype)
                space.device.kernels("arith").multiply(weights, weights.dtype.type(goal.weight), dy)
            values.backward(Tensor(dy, device=space.device))


def pretend_gradients(space: Workspace) -> None:
    """Replaces `compute_losses` in a dry run, which does not call a user's loss."""
    space.leaves = {output: _leaf(space, output) for output in space.goals}
    for leaf in space.leaves.values():
        leaf.grad = leaf._grad_buffer


def backward(space: Workspace) -> None:
    """Walks the tape backwards and writes the gradients of all weights into one flat array."""
    flat, section = space.work.optimizer.flat, trace.current()
    roots = []
    for goal in space.work.goals:
        output, leaf = space.outputs[goal.output], space.leaves[goal.output]
        pairs = [(output, leaf)]
        if output.logits is not None and leaf.logits is not None:
            pairs.append((output.logits, leaf.logits))
        for result, start in pairs:
            if start.grad is None and space.reasons["loss"] is not None:
                start.grad = start._grad_buffer  # zeros, because a later step may need this gradient
            if start.grad is not None and result.requires_grad:
                roots.append((result, start.grad))

    for penalty in space.penalties:
        if penalty.requires_grad:
            share = np.full(penalty.shape, 1 / space.shards, penalty.dtype)
            roots.append((penalty, space.device.constant(share)))
    calls = section.calls if isinstance(section, trace.Section) else []
    space.arrivals = {}

    def note_arrival(leaf: Tensor) -> None:
        space.arrivals[id(leaf)] = len(calls)

    flat.bind_gradients()
    try:
        walk_back(roots, note_arrival)
        flat.collect([p.grad for p in flat.parameters])
    finally:
        flat.release_gradients()
    space.calls = len(calls)


def update(space: Workspace) -> None:
    """Updates all weights with the optimizer, which clips the gradients first if configured."""
    if space.updates_in_kernels or space.reasons["update"] is None:
        space.work.optimizer.update()
    else:
        space.work.optimizer.apply(space.work.optimizer.flat.gradients)


def account(space: Workspace) -> None:
    """Adds the batch's losses and metric values to the running sums."""
    sums: Any = space.work.sums
    sums.add_losses([(goal.weight, values.data, weights) for goal, (values, weights) in zip(
        space.work.goals, space.values)], space.samples * space.shards)
    for penalty in space.penalties:
        sums.add_penalty(penalty.data, space.samples)
    for j, score in enumerate(space.work.scores):
        if space.is_recorded(score):
            output = space.outputs[score.output]
            prediction = output.detach()
            if output.logits is not None:
                prediction.logits = output.logits.detach()
                prediction.activation = output.activation
            target: Any = _target(space, space.goals[score.output])
            values = score.metric.values(target, prediction)  # type: ignore[attr-defined]
            sums.add_score(j, values)
            space.value_counts[j] = values.size
    sums.close_step()


def score_by_numpy(space: Workspace) -> None:
    """Updates the metrics that kernels do not compute, with NumPy arrays."""
    for score in space.work.scores:
        if not space.is_recorded(score):
            outputs = np.array(space.device.numpy(space.outputs[score.output].data))  # a copy that the metric may keep
            args = [space.user_targets(score.output), outputs]
            if score.uses_weights and space.weights[score.output] is not None:
                args.append(np.asarray(space.user_array(len(space.x) + len(space.y) + score.output)))
            if space.ranks.size > 1 and not space.is_duplicate:  # gather the whole batch on every rank
                args = [np.concatenate(parts) for parts in zip(*space.ranks.exchange(args))]
            score.metric.update_state(*args)


def store(space: Workspace) -> None:
    """Copies the batch's predictions to the rows of its samples in the output arrays."""
    for output, rows in zip(space.outputs, space.sink):  # type: ignore[arg-type]
        if space.reasons.get("store") is None:
            space.device.kernels("step").put_rows(output.data, space.first, rows)
        else:
            first = space.source.first  # type: ignore[union-attr]
            rows[first : first + len(output)] = output.data


# Helpers of the phases.


def _leaf(space: Workspace, i: int) -> Tensor:
    """Returns output `i` as a leaf of a new tape. The gradient of the leaf or its logits has a permanent array."""
    output = space.outputs[i]
    leaf = _new_leaf(space, output, (i, False))
    if output.logits is not None:
        leaf.logits = _new_leaf(space, output.logits, (i, True))
        leaf.activation = output.activation
    return leaf


def _new_leaf(space: Workspace, tensor: Tensor, key: tuple[int, bool]) -> Tensor:
    data = tensor.data
    if space.reasons.get("forward") is None and space.reasons.get("loss") is not None:  # a user's loss may keep `data`
        data = space.device.empty(tensor.shape, tensor.dtype)
        space.device.kernels("arith").copy(tensor.data, data)
    leaf = Tensor(data, space.trains, space.device)
    if space.trains:
        if key not in space.gradients:
            space.gradients[key] = space.device.fresh(tensor.shape, tensor.dtype)
        leaf._grad_buffer = space.gradients[key]
    return leaf


def _target(space: Workspace, goal: Goal) -> Any:
    """Returns the targets of a loss: a tensor, or the user's array for a user's loss."""
    if space.takes_tensors(goal):
        return Tensor(space.y[goal.output], device=space.device)
    return space.user_targets(goal.output)


def _compute_loss(space: Workspace, goal: Goal) -> tuple[Tensor, Any]:
    """Returns each sample's loss and normalized weight. For a loss class that overrides `__call__`,
    returns that method's result and a constant weight.
    """
    target = _target(space, goal)
    leaf = space.leaves[goal.output]
    weights = space.weights[goal.output]
    if not goal.loss.has_own_call():
        values = goal.loss.sample_losses(target, leaf)
        return values, _normalized_weights(space, goal, values)
    values = goal.loss(target, leaf, None if weights is None else np.array(space.device.numpy(weights))).reshape(1)
    return values, space.device.constant(np.full(1, 1 / space.shards, values.dtype))


def _normalized_weights(space: Workspace, goal: Goal, values: Tensor) -> Any:
    """Returns each sample's normalized weight (`Loss.normalized_weights`) as a device array."""
    user_weights, device = space.weights[goal.output], space.device
    if user_weights is None:
        return device.constant(goal.loss.normalized_weights(values, None, space.shards))
    is_shared = values.size == 1 < user_weights.size  # a single loss value is weighted by the sum of all weights
    shape = user_weights.shape if is_shared else values.shape
    spread = user_weights.reshape(weights_shape(user_weights.shape, shape))
    k, weighted = device.kernels("select"), device.empty(shape, values.dtype)
    if goal.loss.reduction == "mean_with_sample_weight":
        if space.ranks.size > 1:
            raise ValueError("A loss with reduction='mean_with_sample_weight' needs the sample weights of the whole "
                             f"batch, but each process has only a part of the batch. Received: {space.ranks.size} "
                             "processes. Use reduction='sum_over_batch_size'.")
        k.copy(spread, weighted)
        total = _sum(space, weighted)
        k.maximum(total, device.constant(np.full(total.shape, 1e-30, total.dtype)), total)
        device.kernels("arith").divide(weighted, total, weighted)
    else:
        weights = device.constant(goal.loss.normalized_weights(weighted, None, space.shards))
        device.kernels("arith").multiply(weights, spread, weighted)
    return _sum(space, weighted).reshape(values.shape) if is_shared else weighted


def _sum(space: Workspace, array: Any) -> Any:
    """Returns the sum of all elements of an array, as an array with the same number of axes, each of length 1."""
    total = space.device.empty((1,) * array.ndim, array.dtype)
    space.device.kernels("select").sum(array, tuple(range(array.ndim)), total)
    return total


def _buckets(space: Workspace) -> list[tuple[int, int]]:
    """Returns the buckets (start, stop) of the flat gradient in the order in which they are summed over
    ranks, last layers first. The buckets and their order are the same on all ranks and in all steps.
    """
    flat, cuts = space.work.optimizer.flat, [space.work.optimizer.flat.size]
    for start in reversed(flat.starts):
        if start == 0 or (cuts[-1] - start) * flat.dtype.itemsize >= space.ranks.bucket_bytes:
            cuts.append(start)
    return [(stop, start) for start, stop in pairwise(cuts)]


def cuts(space: Workspace) -> list[tuple[int, Callable[[], Any]]]:
    """Returns the positions at which the recorded backward pass is cut, each with a function to call there.
    The first starts averaging the moving averages over ranks; each other starts summing a gradient bucket.
    """
    flat, complete = space.work.optimizer.flat, 0
    result: list[tuple[int, Callable[[], Any]]] = []
    if space.moving:
        result.append((0, partial(space.ranks.start_mean, space.moving)))
    for start, stop in _buckets(space):
        parameters = [p for p, first in zip(flat.parameters, flat.starts) if start <= first < stop]
        complete = max(complete, *(space.arrivals.get(id(p), space.calls) for p in parameters))
        result.append((complete, partial(_begin_sum, space, start, stop)))
    return result


def _begin_sum(space: Workspace, start: int, stop: int) -> None:
    space.is_summing = True
    space.ranks.start(space.work.optimizer.flat.gradient[start:stop])


def reduce(space: Workspace) -> None:
    """Waits for the sums of the gradients over all ranks. Starts these sums first if a replay has not started them."""
    if not space.is_summing:
        for _, begin in cuts(space):
            begin()
    space.is_summing = False
    space.ranks.finish()


# The list of a step's phases, and the reasons why a phase is not recorded.


def pieces(space: Workspace) -> list[Phase]:
    """Returns the phases that this step needs, in execution order."""
    has_source, has_sink = space.source is not None, space.sink is not None
    if space.work.own_method is not None:
        is_shared = False
        phases = [("load", load, has_source), ("forward", run_own_step, True), ("store", store, has_sink)]
    else:
        is_shared = space.trains and space.ranks.size > 1
        goals = bool(space.work.goals)
        has_user_metrics = any(not space.is_recorded(score) for score in space.work.scores)
        phases = [
            ("load", load, has_source), ("forward", forward, True), ("loss", compute_losses, goals),
            ("backward", backward, space.trains), ("reduce", reduce, is_shared), ("account", account, goals),
            ("score", score_by_numpy, has_user_metrics), ("store", store, has_sink), ("update", update, space.trains)]
    return [Phase(name, partial(phase, space), partial(cuts, space) if name == "backward" and is_shared else None)
            for name, phase, is_wanted in phases if is_wanted]


def obstacle(space: Workspace, phase: str, reason: str | None) -> str | None:
    """Returns the reason why a phase cannot be recorded, or None. `reason` is the model's reason."""
    work = space.work
    if work.own_method is not None and phase != "load":
        return f"{type(space.model).__name__} runs its own {work.own_method}()"
    if space.model.run_eagerly and phase != "load":  # loading a batch runs no user code
        return "compile(run_eagerly=True)"
    if phase in ("forward", "backward", "store", "loss", "account"):
        if phase == "store" and not all(map(space.device.writes_to, space.sink or ())):
            return reason or "the predictions do not fit into the GPU's memory"
        if reason is not None or phase in ("forward", "backward", "store"):
            return reason
        odd = next((goal.loss for goal in work.goals if not space.takes_tensors(goal)), None)
        return None if odd is None else f"the loss {odd.name} does not say recordable = True"
    if phase == "update" and not is_recordable(work.optimizer):
        return f"the optimizer {work.optimizer.name} does not say recordable = True"
    if phase == "score":
        score = next(score for score in work.scores if not space.is_recorded(score))
        return f"the metric {score.name} is computed by NumPy"
    return "the gradients are summed over several processes" if phase == "reduce" else None


def shared_obstacle(space: Workspace) -> str | None:
    """Returns the reason why several ranks cannot record a step whose layers could be recorded, or None."""
    if space.ranks.size > 1 and space.work.kind == "train":
        for layer in space.model._walk():
            if getattr(layer, "synchronized", False):
                return f"{layer.name} uses the mean over the images of all processes"
    return None


