"""The tape of recorded ops, and the backward pass over it."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from contextvars import ContextVar
from itertools import count
from typing import TYPE_CHECKING, Any
from weakref import ref

from ..kernels import device as devices
from ..kernels import trace
from ..operators.registry import MASKED, Masked, Op

if TYPE_CHECKING:
    from .tensor import Tensor

_order = count()
DROPPED = 1 << 19  # minimum number of elements of an array that is dropped and restored
FREED = "This graph was freed by an earlier backward(). Compute the result again before you call backward() again."


class TapeNode:
    """One entry of the tape: the op, the tensors and parameters that it was called with, and the function
    that computes these tensors' gradients from the output's gradient. `ends_in_relu` is true if that
    function accepts a `Masked` gradient. `retains_grad` is true if the backward pass stores the output's
    gradient in its `.grad`. `part` is the dropped part that the node belongs to, or None.
    `restore` computes the output again; it is None if the op cannot, or if another op keeps it.
    `reread` is the array that the backward pass reads again, or None if it was or may be dropped;
    then the first input has it. `was_recorded` is true if the output was dropped in a recording.
    """

    __slots__ = ("backward", "ends_in_relu", "inputs", "op", "order", "parameters", "part",
                 "reread", "restore", "retains_grad", "was_recorded")

    def __init__(self, op: Op, inputs: tuple[Tensor | None, ...], backward: Callable, parameters: dict[str, Any],
                 ends_in_relu: bool = False) -> None:
        self.op, self.inputs, self.backward, self.order = op, inputs, backward, next(_order)
        self.parameters, self.ends_in_relu = parameters, ends_in_relu
        self.retains_grad = False
        self.part: DroppedPart | None = None
        self.restore: Callable | None = getattr(backward, "restore", None)
        self.was_recorded = False
        for t in () if op.forgets else inputs[op.rereads:]:
            if t is not None and t._node is not None:
                t._node.restore = None
        first = inputs[0] if op.rereads else None
        self.reread: object = None
        if first is not None and (first._node is None or first._node.restore is None):
            self.reread = first.data

    def find_array(self, result: Tensor) -> object:
        """Returns a dropped result's array, computed again; None if the result was not dropped.

        Between the recording and its replays, the array is not kept: each replay computes others.
        """
        if self.part is not None:
            self.part.recompute()  # which sets the attribute
            return result.data
        if self.restore is None:
            return None
        array = self.restore()
        if not self.was_recorded or trace.count_calls() is not None:
            result.data = array
        return array


# The part of the tape whose ops are running; None outside all parts.
current_part: ContextVar[DroppedPart | None] = ContextVar("current_part", default=None)


def drop(t: Tensor, needed: Sequence[object]) -> None:
    """Drops the array of a tensor that only backward passes will read, if one pass restores it.
    A normalization and the convolution behind it then keep one array instead of two. Arrays on
    GPUs stay, and so do small ones, and a tensor that is among those still needed, because a layer
    returned its input.
    """
    node = t._node
    if node is None or node.restore is None or current_part.get() is not None or _is_dropped(t):
        return
    if t.device.drops_results and t.size >= DROPPED and all(other is not t for other in needed):
        node.was_recorded = trace.count_calls() is not None
        del t.data  # a later access calls Tensor.__getattr__


def _is_dropped(t: Tensor) -> bool:
    try:
        object.__getattribute__(t, "data")  # does not call Tensor.__getattr__
    except AttributeError:
        return True
    return False


class DroppedPart:
    """A part of the tape whose intermediate results are dropped after the forward pass. The
    backward pass runs the part's ops again, with the same parameters, so the gradients have the same
    bits. Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost" (2016).

    `with DroppedPart(kept):` adds the ops that run in the block. The list `kept` contains the
    tensors whose arrays remain after the block; it may also contain None.
    """

    def __init__(self, kept: list[Tensor | None]) -> None:
        self._kept = kept
        self._results: list[ref[Tensor]] = []
        self._dropped_ids: set[int] = set()  # ids of the results without an array

    def __enter__(self) -> None:
        self._token = current_part.set(self)

    def __exit__(self, *error: object) -> None:
        current_part.reset(self._token)
        operations = list(self._find_operations())
        read_ids = {id(t) for _, node in operations for t in node.inputs}
        kept = [t for t in self._kept if t is not None]
        inner_ids = read_ids.difference(map(id, kept), (id(t.logits) for t in kept))
        for result, node in operations:
            node.backward = node.restore = node.reread = None  # type: ignore[assignment]
            if id(result) in inner_ids:  # only ops of this part have read it
                self._dropped_ids.add(id(result))
                del result.data  # a later access calls Tensor.__getattr__
        self._kept = []

    def add(self, result: Tensor, node: TapeNode) -> None:
        """Adds the op that computed `result`, unless it read moving averages, which may change."""
        if node.parameters.get("training", True):
            node.part = self
            self._results.append(ref(result))

    def recompute(self) -> None:
        """Runs the ops again, which restores the dropped arrays and the gradients' functions."""
        for result, node in self._find_operations():
            node.part = None
            arrays = [None if t is None else t.data for t in node.inputs]
            earlier_calls = trace.count_calls()
            array, node.backward = node.op(result.device, *arrays, **node.parameters)
            check_recording(node.op.name, earlier_calls, arrays, [array])
            if id(result) in self._dropped_ids:
                result.data = array
        self._results.clear()

    def _find_operations(self) -> Iterator[tuple[Tensor, TapeNode]]:
        """Yields the result and node of each op whose result still exists."""
        for reference in self._results:
            result = reference()
            if result is not None and result._node is not None:
                yield result, result._node


def check_recording(name: str, earlier_calls: int | None, arrays: Sequence[Any],
                    results: Sequence[Any]) -> None:
    """Checks that an op, or the gradient of an op, was recorded. Marks the section being recorded as
    incomplete if it still has `earlier_calls` calls and one of the results is not a view of `arrays`.
    """
    if earlier_calls is None or trace.count_calls() != earlier_calls:
        return
    inputs = [a for a in arrays if a is not None]
    if any(r is not None and not any(devices.share_memory(r, a) for a in inputs) for r in results):
        trace.stop(f"the op {name} recorded nothing")


class _Pending:
    """Gradients of tensors that the backward pass has not reached yet, keyed by tensor id."""

    def __init__(self, notify: Callable[[Tensor], None] | None) -> None:
        self.gradients: dict[int, Any] = {}
        self._masked_ids: set[int] = set()  # ids of tensors that received only Masked gradients
        self._tensors: list[tuple[int, int, Tensor]] = []  # a heap, newest tensors first
        self._notify = notify

    def add(self, t: Tensor, gradient: Any) -> None:
        """Adds a gradient to a tensor's earlier gradient, or pairs the two if the op that made t accepts pairs."""
        is_masked = isinstance(gradient, Masked)
        gradient = _array(gradient)
        if id(t) in self.gradients:
            earlier = self.gradients[id(t)]
            if isinstance(earlier, tuple):
                earlier = _sum(t, *earlier)
            takes_two = t._node is not None and t._node.op.takes_two
            self.gradients[id(t)] = (earlier, gradient) if takes_two else _sum(t, earlier, gradient)
            if not is_masked:
                self._masked_ids.discard(id(t))
        else:
            self.gradients[id(t)] = gradient
            if is_masked:
                self._masked_ids.add(id(t))
            heapq.heappush(self._tensors, (-(t._node.order if t._node else -1), id(t), t))
        if self._notify is not None and self.gradients[id(t)] is t._grad_buffer:
            self._notify(t)

    def take(self) -> Iterator[tuple[Tensor, Any, bool]]:
        """Yields each tensor, newest first, with its gradient and whether the gradient is Masked."""
        while self._tensors:
            _, key, t = heapq.heappop(self._tensors)
            is_masked = key in self._masked_ids
            self._masked_ids.discard(key)
            yield t, self.gradients.pop(key), is_masked


@contextmanager
def select_paths(root: Tensor, inputs: Tensor | Sequence[Tensor] | None) -> Iterator[set[int] | None]:
    """Yields the ids of the inputs, and of all tensors between an input and `root`; for the inputs
    None, yields None. In the block, the inputs retain their gradients. Raises ValueError if there
    is no input or one requires no gradient, RuntimeError if the tape was freed.
    """
    if inputs is None:
        yield None
        return
    targets = inputs if isinstance(inputs, Sequence) else [inputs]
    if not targets or not all(getattr(t, "requires_grad", False) for t in targets):
        raise ValueError("backward(inputs=...) needs one or more tensors that require gradients. "
                         f"Received: {targets}. Leave out `inputs` for the gradients of all tensors.")
    only = _find_paths(root, set(map(id, targets)))
    nodes = [t._node for t in targets if t._node is not None and not t._node.retains_grad]
    for node in nodes:
        node.retains_grad = True
    try:
        yield only
    finally:
        for node in nodes:
            node.retains_grad = False


def _find_paths(root: Tensor, target_ids: set[int]) -> set[int]:
    """Returns the ids of the targets, and of all tensors between a target and `root`."""
    nodes: dict[int, TapeNode] = {}
    seen_ids: set[int] = set()
    pending = [root]
    while pending:
        t = pending.pop()
        if id(t) not in seen_ids:
            seen_ids.add(id(t))
            if t._node is not None:
                nodes[id(t)] = t._node
                pending.extend(i for i in t._node.inputs if i is not None and i.requires_grad)
    is_freed = any(node.backward is None and node.part is None for node in nodes.values())
    if is_freed and not seen_ids >= target_ids:
        raise RuntimeError(FREED)
    ids = set(target_ids)
    for key, node in sorted(nodes.items(), key=lambda item: item[1].order):
        if any(id(i) in ids for i in node.inputs):
            ids.add(key)
    return ids


def walk_back(roots: Sequence[tuple[Tensor, Any]], notify: Callable[[Tensor], None] | None = None,
              only: AbstractSet[int] | None = None) -> None:
    """Walks the tape from the newest node to the oldest. Each node converts its output's gradient
    to its inputs' gradients.

    A node is newer than its inputs' nodes, so all its gradients have arrived when the walk reaches
    it. Two gradients of one tensor are added, or passed as a pair to the tensor's op if the op accepts
    pairs. A leaf's gradient is added to its `.grad`, whose memory is the leaf's buffer if it has one (as
    parameters do in training). `notify(leaf)` is called whenever a gradient was added to a leaf. If `only`
    is given, no gradients are computed for tensors whose ids it does not contain.
    """
    pending = _Pending(notify)
    for root, gradient in roots:
        if only is None or id(root) in only:
            pending.add(root, gradient)
    for t, gradient, is_masked in pending.take():
        node = t._node
        if node is None:
            _store_gradient(t, gradient)
            if notify is not None and gradient is not t._grad_buffer:
                notify(t)
            continue
        if node.part is not None:
            node.part.recompute()
        if node.backward is None:
            raise RuntimeError(FREED)
        if node.retains_grad:
            gradient = _sum(t, *gradient) if isinstance(gradient, tuple) else gradient
            _store_gradient(t, gradient)
        needs = _needs(node, pending.gradients.keys(), only)
        if all(need is False for need in needs):
            continue
        grads = _run_backward(node, gradient, is_masked, needs)
        for i, g, need in zip(node.inputs, grads, needs):
            if i is not None and need is not False:
                pending.add(i, Masked(g) if is_masked and node.op.view else g)
        node.backward = node.reread = None  # type: ignore[assignment]
        node.restore = node.restore if _is_dropped(t) else None
        node.inputs = ()
        node.parameters = {}


def _run_backward(node: TapeNode, gradient: Any, is_masked: bool, needs: tuple) -> tuple:
    """Returns the gradients of a node's inputs from its output's gradient, which may be a pair."""
    earlier_calls = trace.count_calls()
    masked = Masked(gradient) if is_masked and node.ends_in_relu else gradient
    first = node.inputs[0] if node.op.rereads else None
    reread = () if first is None else (first.data if node.reread is None else node.reread,)
    grads = node.backward(masked, needs, *reread)
    output_gradients = gradient if isinstance(gradient, tuple) else (gradient,)
    name = f"{node.op.name}'s gradient"
    check_recording(name, earlier_calls, output_gradients, list(map(_array, grads)))
    return grads


def _array(gradient: Any) -> Any:
    return gradient.array if isinstance(gradient, Masked) else gradient


def _ends_in_relu(t: Tensor) -> bool:
    """Whether t is the result of an op that ends in a ReLU, or a view of such a result, and none of these results
    retains its gradient, which must not be Masked.
    """
    node = t._node
    while node is not None and node.op.view and node.inputs and not node.retains_grad:
        node = node.inputs[0]._node if node.inputs[0] is not None else None
    return node is not None and node.ends_in_relu and not node.retains_grad


def _needs(node: TapeNode, pending: AbstractSet[int], only: AbstractSet[int] | None) -> tuple:
    """Returns the kind of gradient requested for each input: False (none), True, MASKED, or an array to write to."""
    needs: list[Any] = []
    offered_ids = set(pending)
    for t in node.inputs:
        needs.append(bool(t is not None and t.requires_grad and (only is None or id(t) in only)))
        if t is not None and t._grad_buffer is not None and needs[-1] and t.grad is None and id(t) not in offered_ids:
            needs[-1] = t._grad_buffer
            offered_ids.add(id(t))
    if node.op.masks and needs[0] is True and node.inputs[0] is not None and _ends_in_relu(node.inputs[0]):
        needs[0] = MASKED
    return tuple(needs)


def _sum(t: Tensor, a: Any, b: Any) -> Any:
    """Returns a + b, two gradients of t. Writes the sum into t's buffer if `a` is already there."""
    total = a if a is t._grad_buffer else t.device.empty(a.shape, a.dtype)
    t.device.kernels("arith").add(a, b, total)
    return total


def _store_gradient(t: Tensor, gradient: Any) -> None:
    """Adds a gradient to a leaf's `grad`. Copies the gradient, unless it is already in the leaf's buffer."""
    if t.grad is not None:
        earlier = t.grad.data if hasattr(t.grad, "requires_grad") else t.grad  # a tensor, from create_graph
        t.grad = _sum(t, earlier, gradient)
    elif gradient is t._grad_buffer:
        t.grad = gradient
    else:
        t.grad = t._grad_buffer
        if t.grad is None:
            t.grad = t.device.empty(gradient.shape, gradient.dtype)
        t.device.kernels("arith").copy(gradient, t.grad)
