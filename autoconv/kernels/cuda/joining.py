"""Merges several launches of a recording into one launch of a kernel in joint.py, with bit-for-bit
equal results. In a graph, launching takes longer than running most of these kernels.

Launches that belong together are found through the memory that they share. For example, the
cross-entropy from logits is merged with the softmax of the same logits, with its own gradient, and
with further launches in the tables below. A launch is merged only if that cannot change any result:

- All other launches can run before or after the joint launch, and each still waits for the same
  results.
- No array that the joint launch writes shares memory with its other arrays, so its threads do not
  conflict.

Sums over a batch need one block that processes all samples. If there are more samples than threads
in a block, the sums remain a separate launch. That launch waits only for the losses, and no other
launch waits for it, so it runs in parallel with the backward pass.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from . import joint, loss, pointwise, step
from .array import Array, empty
from .kernels import CudaKernel, Launch
from .order import conflict
from .runtime import pointer


class Member(NamedTuple):
    """A kind of launch that may be merged: its kernel, the flag of the operation in joint.py that
    replaces it, and joint.py's parameter names for its arguments. `_` marks arguments that the
    shapes determine. Arguments in `required_names` must be memory that the group already uses under
    that name. `writes` names the array that the launch writes.
    """

    kernel: CudaKernel
    part: int
    names: str
    required_names: str
    writes: str


ROWS = (
    Member(loss._one_hot, joint.ONE_HOT, "_ labels t", "t", "t"),
    Member(pointwise._softmax, joint.SOFTMAX, "_ x y", "x", "y"),
    Member(loss._categorical_logits_grad, joint.GRADIENT, "_ classes t x dy dx", "t x", "dx"),
)
HITS = (  # `scores` are the softmax if it was merged, otherwise the logits
    Member(step._label_hits, joint.LABEL_HITS, "_ classes true_classes scores hits", "scores", "hits"),
    Member(step._class_hits, joint.CLASS_HITS, "_ classes targets scores hits", "scores", "hits"),
)
CLOSE = Member(step._close_step, joint.CLOSE, "_ totals", "totals", "totals")
SUMS_OF_ROWS = (
    Member(step._accumulate, joint.SUM, "loss weights factor totals slot", "loss", "totals"),
    Member(step._accumulate, joint.SECOND_SUM, "hits weights2 factor2 totals slot2", "hits", "totals"),
    CLOSE,
)
SUMS = (
    Member(step._accumulate, joint.SECOND_SUM, "values2 weights2 factor2 totals slot2", "totals", "totals"),
    CLOSE,
)

# The joint kernels, keyed by the kernel whose launch each group begins with.
JOINT: dict[CudaKernel, CudaKernel] = {loss._categorical_logits: joint._classifier, step._accumulate: joint._sums}


def add_joint_kernels(kernels: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Returns these pairs of a kernel and a dtype, and pairs for the joint kernels that may replace
    launches of these kernels in a recording.
    """
    kernels = list(kernels)
    return [*kernels, *((JOINT[kernel], dtype) for kernel, dtype in kernels if kernel in JOINT)]


def join_launches(launches: Sequence[Launch]) -> list[Launch]:
    """Returns launches with the same effect on memory as these, some of them merged."""
    result = list(launches)
    for kernel, join in ((loss._categorical_logits, _classifier), (step._accumulate, _sums)):
        for core in launches:
            if core.kernel is kernel and _has_only_dtype(core, core.dtype) and any(core is launch for launch in result):
                result = join(result, core)
    return result


def _classifier(launches: list[Launch], core: Launch) -> list[Launch]:
    """Merges `core`, a cross-entropy, with all launches that can join its group."""
    count, classes, t, x, values = core.arguments
    rows = ((count * classes,), (count, classes), (count, classes, 1))
    shapes = {**dict.fromkeys(("t", "x", "y", "dx", "scores", "targets"), rows),
              **dict.fromkeys(("labels", "dy", "true_classes", "hits", "weights", "weights2"), ((count,),))}
    group = _Group(launches, core, joint.CROSSENTROPY,
                   {"t": t, "x": x, "loss": values, "classes": classes}, "loss", shapes)
    group.take(*ROWS)
    group.roles["scores"] = group.roles.get("y", x)
    group.take(*HITS)
    if count <= step.TEAM:
        group.take(*SUMS_OF_ROWS)
    if group.is_alone:
        return launches
    fillers = dict.fromkeys(shapes, values)
    fillers.update(dict.fromkeys(("labels", "true_classes"), empty(core.gpu, (1,), np.int64)))
    fillers.update(totals=empty(core.gpu, (1,), np.float64))
    return group.replace(joint._classifier, -(-count // step.TEAM), {**fillers, "count": count})


def _sums(launches: list[Launch], core: Launch) -> list[Launch]:
    """Merges `core`, a sum, with another sum and with the launch that ends the step."""
    values, weights, factor, totals, slot = core.arguments
    roles = {"values": values, "weights": weights, "factor": factor, "slot": slot, "totals": totals}
    group = _Group(launches, core, joint.SUM, roles, "totals", {})
    group.take(*SUMS)
    return launches if group.is_alone else group.replace(joint._sums, 1, {"values2": values, "weights2": weights})


class _Group:
    """Launches to merge: at first only `core`. The operation `part` of joint.py replaces `core`.
    `roles` are the launches' arguments, keyed by joint.py's parameter names. `output` is the name
    of the array that `core` writes.

    `shapes`: the allowed shapes of each argument whose shape matters, by name. The argument is
    reshaped to the first allowed shape.
    """

    def __init__(self, launches: list[Launch], core: Launch, part: int, roles: dict[str, Any],
                 output: str, shapes: Mapping[str, tuple[tuple[int, ...], ...]]) -> None:
        self._launches = launches
        self.roles = roles
        self._written_names = {output}
        self._shapes = shapes
        self._core = next(i for i, launch in enumerate(launches) if launch is core)
        self._parts = {self._core: part}  # the operation that replaces each merged launch
        self._accesses = [launch.accesses() for launch in launches]

    @property
    def is_alone(self) -> bool:
        return len(self._parts) == 1

    def take(self, *members: Member) -> None:
        """Merges, for each of these members, the nearest matching launch, if there is one."""
        nearest = sorted(range(len(self._launches)), key=lambda i: abs(i - self._core))
        for member in members:
            candidates = (i for i in nearest if self._launches[i].kernel is member.kernel and i not in self._parts)
            next((i for i in candidates if self._try_take(i, member)), None)

    def replace(self, kernel: Any, blocks: int, defaults: dict[str, Any]) -> list[Launch]:
        """Returns all launches, with the group's launches replaced by one launch of `kernel`.
        `defaults` are the arguments for parameters without a role.
        """
        values = {"factor": 0.0, "factor2": 0.0, "slot": 0, "slot2": 0, **defaults, **self.roles,
                 "parts": sum(self._parts.values())}
        arguments = tuple(values[name] for name in inspect.signature(kernel.function).parameters)
        late = self._find_late(self._parts) or ()
        last = max(self._parts)
        early = [i for i in range(last) if i not in self._parts and i not in late]
        return [*(self._launches[i] for i in early), Launch(kernel, (blocks,), kernel.threads, arguments),
                *(self._launches[i] for i in late), *self._launches[last + 1 :]]

    def _try_take(self, i: int, member: Member) -> bool:
        launch = self._launches[i]
        written_names = self._written_names | {member.writes}
        roles = self._extend_roles(launch, member)
        parts = {**self._parts, i: member.part}
        if not roles or not _has_only_dtype(launch, self._launches[self._core].dtype):
            return False
        if not _are_apart(roles, written_names) or self._find_late(parts) is None:
            return False
        self.roles = roles
        self._written_names = written_names
        self._parts = parts
        return True

    def _extend_roles(self, launch: Launch, member: Member) -> dict[str, Any]:
        """Returns the roles, extended by those of one more launch. Returns {} if that launch's
        arguments do not match those of the group.
        """
        roles = dict(self.roles)
        for name, argument in zip(member.names.split(), launch.arguments, strict=True):
            if name == "_":
                continue
            shapes = self._shapes.get(name)
            if shapes is not None and argument.shape not in shapes:
                return {}
            if name in roles and not _are_equal(roles[name], argument):
                return {}
            if name not in roles:
                if name in member.required_names.split():
                    return {}
                roles[name] = argument if shapes is None else argument.reshape(shapes[0])
        return roles

    def _find_late(self, parts: Mapping[int, int]) -> list[int] | None:
        """Returns the other launches between those of the group that must run after the merged
        launch, because each waits for a launch of the group. Returns None if merging is impossible:
        it would reverse the order of two launches that depend on each other.
        """
        late: list[int] = []
        early: list[int] = []
        for i in range(min(parts), max(parts) + 1):
            if i not in parts:
                if self._waits(i, (*early, *late)):
                    late.append(i)
                continue
            if self._waits(i, late) or self._waits(i, [j for j in early if parts[j] > parts[i]]):
                return None
            early.append(i)
        return late

    def _waits(self, i: int, earlier: Iterable[int]) -> bool:
        """Whether launch number i must wait for one of the launches in `earlier`."""
        return any(conflict(self._accesses[i], self._accesses[j]) for j in earlier)


def _has_only_dtype(launch: Launch, dtype: DTypeLike) -> bool:
    """Whether a launch's T arrays all have this dtype, and joint.py has kernels for it."""
    return launch.dtypes <= {dtype} and str(dtype) in CudaKernel.dtypes


def _are_equal(a: Any, b: Any) -> bool:
    """Whether two arguments are equal numbers, or the same memory with the same dtype."""
    return a.dtype == b.dtype and _span(a) == _span(b) if isinstance(a, Array) else a == b


def _are_apart(roles: Mapping[str, Any], written_names: Iterable[str]) -> bool:
    """Whether the arrays that are written share no memory with the arrays of other roles. The
    softmax `y` may also be the `scores`, because the same thread writes `y` and reads `scores`.
    """
    spans = {name: _span(role) for name, role in roles.items() if isinstance(role, Array)}
    for name in written_names:
        start, stop = spans[name]
        for other_name, (begin, end) in spans.items():
            own = other_name == name or ({name, other_name} == {"y", "scores"} and (start, stop) == (begin, end))
            if not own and start < end and begin < stop:
                return False
    return True


def _span(array: Array) -> tuple[int, int]:
    """Returns the addresses of an array's first byte and of the byte after its last."""
    start = pointer(array.native)
    return start, start + array.nbytes
