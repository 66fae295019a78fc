"""Launches of a recording that one launch of joint.py does in their place, with the same bits: a
launch costs a graph more than most of these do.

Which launches belong together follows from the memory that they share: the crossentropy from logits
takes along the softmax of the same logits, its own gradient, and so on down the tables. Each is
taken only where that changes nothing:

- all other launches can come before the joint one or behind it, and everything still waits for what it waited for;
- each array that the joint launch writes shares no memory with its others, so its threads do not meet.

Sums over a batch need one block to have all samples. Of more samples than a block has threads they
stay a launch of their own, which waits for nothing but the losses and has nothing wait for it: it
runs beside the backward pass.
"""

import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from . import joint, loss, pointwise, step
from .array import Array, empty
from .kernels import CudaKernel, Launch
from .order import conflict
from .runtime import pointer


class Member(NamedTuple):
    """A launch that may be taken along: its kernel, the part of joint.py that does its work, and
    the names that its arguments have there, `_` for what follows from the shapes. Those that are
    `known` must be there already, as the same memory.
    """

    kernel: CudaKernel
    part: int
    names: str
    known: str
    writes: str


ROWS = (
    Member(loss._one_hot, joint.ONE_HOT, "_ labels t", "t", "t"),
    Member(pointwise._softmax, joint.SOFTMAX, "_ x y", "x", "y"),
    Member(loss._categorical_logits_grad, joint.GRADIENT, "_ classes t x dy dx", "t x", "dx"),
)
HITS = (  # `scores` are the softmax that was taken, else the logits
    Member(step._label_hits, joint.LABEL_HITS, "_ classes true_classes scores hits", "scores", "hits"),
    Member(step._class_hits, joint.CLASS_HITS, "_ classes targets scores hits", "scores", "hits"),
)
CLOSE = Member(step._close_step, joint.CLOSE, "_ totals", "totals", "totals")
SUMS_OF_ROWS = (
    Member(step._accumulate, joint.SUM, "loss weights factor totals slot", "loss", "totals"),
    Member(step._accumulate, joint.SECOND_SUM, "hits more_weights more_factor totals more_slot", "hits", "totals"),
    CLOSE,
)
SUMS = (
    Member(step._accumulate, joint.SECOND_SUM, "more more_weights more_factor totals more_slot", "totals", "totals"),
    CLOSE,
)

# What is launched in the place of others, by the one of them that is always there.
JOINT: dict[CudaKernel, CudaKernel] = {loss._categorical_logits: joint._classifier, step._accumulate: joint._sums}


def with_joint(found: Iterable[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Kernels, each for a dtype, and those that may be launched in their place once they are recorded."""
    found = list(found)
    return [*found, *((JOINT[kernel], dtype) for kernel, dtype in found if kernel in JOINT)]


def joined(launches: Sequence[Launch]) -> list[Launch]:
    """Launches that leave in memory what these leave, some of them as one."""
    found = list(launches)
    for kernel, join in ((loss._categorical_logits, _classifier), (step._accumulate, _sums)):
        for core in launches:
            if core.kernel is kernel and _is_of(core, core.dtype) and any(core is launch for launch in found):
                found = join(found, core)
    return found


def _classifier(launches: list[Launch], core: Launch) -> list[Launch]:
    """With all that a crossentropy can take along."""
    count, classes, t, x, values = core.arguments
    rows = ((count * classes,), (count, classes), (count, classes, 1))
    shapes = {**dict.fromkeys(("t", "x", "y", "dx", "scores", "targets"), rows),
              **dict.fromkeys(("labels", "dy", "true_classes", "hits", "weights", "more_weights"), ((count,),))}
    group = _Group(launches, core, joint.CROSSENTROPY, {"t": t, "x": x, "loss": values, "classes": classes}, "loss",
                   shapes)
    group.take(*ROWS)
    group.roles["scores"] = group.roles.get("y", x)
    group.take(*HITS)
    if count <= step.TEAM:
        group.take(*SUMS_OF_ROWS)
    if group.is_alone:
        return launches
    of_no_part = dict.fromkeys(shapes, values)
    of_no_part.update(dict.fromkeys(("labels", "true_classes"), empty(core.gpu, (1,), np.int64)))
    of_no_part.update(totals=empty(core.gpu, (1,), np.float64))
    return group.replaced(joint._classifier, -(-count // step.TEAM), {**of_no_part, "count": count})


def _sums(launches: list[Launch], core: Launch) -> list[Launch]:
    """With another sum, and the end of the step."""
    values, weights, factor, totals, slot = core.arguments
    roles = {"values": values, "weights": weights, "factor": factor, "slot": slot, "totals": totals}
    group = _Group(launches, core, joint.SUM, roles, "totals", {})
    group.take(*SUMS)
    return launches if group.is_alone else group.replaced(joint._sums, 1, {"more": values, "more_weights": weights})


class _Group:
    """Launches that are to be one: at first the `core`, which is that part of it. `roles` are their
    arguments by the names of joint.py, `written` those of them that it writes. shapes: by name
    those that an array may have, if that matters; it then gets the first one.
    """

    def __init__(self, launches: list[Launch], core: Launch, part: int, roles: dict[str, Any], written: str,
                 shapes: Mapping[str, tuple[tuple[int, ...], ...]]) -> None:
        self._launches = launches
        self.roles = roles
        self._written = {written}
        self._shapes = shapes
        self._core = next(i for i, launch in enumerate(launches) if launch is core)
        self._parts = {self._core: part}  # of each member
        self._accesses = [launch.accesses() for launch in launches]

    @property
    def is_alone(self) -> bool:
        return len(self._parts) == 1

    def take(self, *members: Member) -> None:
        """Takes along, for each of these, the nearest launch that fits, if there is one."""
        nearest = sorted(range(len(self._launches)), key=lambda i: abs(i - self._core))
        for member in members:
            of_kernel = (i for i in nearest if self._launches[i].kernel is member.kernel and i not in self._parts)
            next((i for i in of_kernel if self._takes(i, member)), None)

    def replaced(self, kernel: Any, blocks: int, others: dict[str, Any]) -> list[Launch]:
        """All launches, with those of the group as one of this kernel; `others` are arguments that have no role."""
        given = {"factor": 0.0, "more_factor": 0.0, "slot": 0, "more_slot": 0, **others, **self.roles,
                 "parts": sum(self._parts.values())}
        arguments = tuple(given[name] for name in inspect.signature(kernel.function).parameters)
        late = self._behind(self._parts) or ()
        last = max(self._parts)
        early = [i for i in range(last) if i not in self._parts and i not in late]
        return [*(self._launches[i] for i in early), Launch(kernel, (blocks,), kernel.threads, arguments),
                *(self._launches[i] for i in late), *self._launches[last + 1 :]]

    def _takes(self, i: int, member: Member) -> bool:
        launch = self._launches[i]
        written = self._written | {member.writes}
        roles = self._with(launch, member)
        parts = {**self._parts, i: member.part}
        if not roles or not _is_of(launch, self._launches[self._core].dtype):
            return False
        if not _are_apart(roles, written) or self._behind(parts) is None:
            return False
        self.roles = roles
        self._written = written
        self._parts = parts
        return True

    def _with(self, launch: Launch, member: Member) -> dict[str, Any]:
        """The roles with those of one more launch; none where it is not of the same samples."""
        roles = dict(self.roles)
        for name, argument in zip(member.names.split(), launch.arguments, strict=True):
            if name == "_":
                continue
            shapes = self._shapes.get(name)
            if shapes is not None and argument.shape not in shapes:
                return {}
            if name in roles and not _is_same(roles[name], argument):
                return {}
            if name not in roles:
                if name in member.known.split():
                    return {}
                roles[name] = argument if shapes is None else argument.reshape(shapes[0])
        return roles

    def _behind(self, parts: Mapping[int, int]) -> list[int] | None:
        """The other launches among these that come behind them all, as one of these comes before; None where such a
        one must also come before one of them, or where they would come in another order than joint.py has its parts.
        """
        late: list[int] = []
        before: list[int] = []
        for i in range(min(parts), max(parts) + 1):
            if i not in parts:
                if self._waits(i, (*before, *late)):
                    late.append(i)
                continue
            if self._waits(i, late) or self._waits(i, [j for j in before if parts[j] > parts[i]]):
                return None
            before.append(i)
        return late

    def _waits(self, i: int, others: Iterable[int]) -> bool:
        """Whether a launch has to wait for one of these."""
        return any(conflict(self._accesses[i], self._accesses[j]) for j in others)


def _is_of(launch: Launch, dtype: Any) -> bool:
    """Whether all that has a floating type has this one, and joint.py has kernels for it."""
    return launch.dtypes <= {dtype} and str(dtype) in CudaKernel.dtypes


def _is_same(a: Any, b: Any) -> bool:
    """Whether two arguments are one number, or the same memory as items of one dtype."""
    return a.dtype == b.dtype and _span(a) == _span(b) if isinstance(a, Array) else a == b


def _are_apart(roles: Mapping[str, Any], written: Iterable[str]) -> bool:
    """Whether what is written shares no memory with another role. The softmax may be what a
    sample's hit is seen from: one thread writes both.
    """
    spans = {name: _span(role) for name, role in roles.items() if isinstance(role, Array)}
    for name in written:
        start, stop = spans[name]
        for other, (begin, end) in spans.items():
            own = other == name or ({name, other} == {"y", "scores"} and (start, stop) == (begin, end))
            if not own and start < end and begin < stop:
                return False
    return True


def _span(array: Array) -> tuple[int, int]:
    """The first byte of an array and the one behind the last."""
    start = pointer(array.native)
    return start, start + array.nbytes
