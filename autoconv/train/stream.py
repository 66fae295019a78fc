"""`Stream` reads batches from an iterable. `Epochs` divides the batches of a stream or of arrays into epochs."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from copy import deepcopy
from inspect import isclass, isroutine
from itertools import chain
from typing import Any

import numpy as np

from .. import random
from ..arguments.batches import count_batches, is_sequence
from ..arguments.shapes import check_count
from ..engine.ranks import ALONE, Ranks
from ..engine.tensor import Tensor
from . import state
from .progress import warn
from .source import Source
from .user_arrays import Batch, Data

# (whole batch, None), or (this process's part of a batch, number of samples in the whole batch).
Ticket = tuple[Data, int | None]


def is_stream(x: Any) -> bool:
    """Whether x provides batches: an iterable, or an object with a length and items, but not an array.

    Raises ValueError, as Keras does, for a function or class that creates batches.
    """
    if isroutine(x) or isclass(x):
        raise ValueError("Data must be arrays or an iterable of batches, not a class or function "
                         f"that creates it. Received: the {'class' if isclass(x) else 'function'} "
                         f"{x.__name__}. Call {x.__name__}() and pass the result.")
    if isinstance(x, np.ndarray | Tensor | list | tuple | dict | str) or hasattr(x, "__array__") or hasattr(x, "shape"):
        return False
    return hasattr(x, "__iter__") or is_sequence(x)


class Stream:
    """Batches of an iterable or a sequence (Keras's PyDataset). `parse` converts each batch to
    `Data`. Each of `ranks` has its part of each batch. An image dataset loads only this part;
    other iterables load the whole batch.

    With `shuffle`, a sequence's batches have a new order in each epoch, from the key that `draw`
    returns. With `peek`, a sequence's first batch is only inspected. It is created again when
    training uses it, with the same random numbers.
    """

    samples: int | None = None

    def __init__(self, batches: Any, parse: Callable[[Any], Data], shuffle: bool = False, number: int = 0,
                 draw: Callable[[], random.Key] = random.stream, peek: bool = False, ranks: Ranks = ALONE) -> None:
        self._batches, self._parse, self._ranks = batches, parse, ranks
        self.is_sequence = is_sequence(batches)
        self.key = draw() if shuffle and self.is_sequence else None  # random key for the order of batches
        self._first_state = self._copy_state()  # state before the first batch, which is read now and used later
        peek = peek and self.is_sequence
        tickets = self._read(number)
        with state.preserve_random() if peek else nullcontext():
            first = next(tickets, None)
        if first is None:
            raise ValueError("An iterable of batches must contain at least one batch. Received: "
                             f"an empty or exhausted {type(batches).__name__}.")
        self._first = self.batch([first])
        self._tickets: Iterator[Ticket] | None = None if peek else chain([first], tickets)

    @property
    def steps(self) -> int | None:
        """The number of batches per epoch; None if unknown."""
        return count_batches(self._batches)

    @property
    def like(self) -> Data:
        """The first batch, as an example of the batches' shapes."""
        return self._first.data

    def tickets(self, number: int, skip_count: int = 0) -> Iterator[Ticket]:
        """Returns an iterator over the batches of epoch `number`. Skips a sequence's first
        `skip_count` batches. Other iterables skip none, because their restored state is past them.
        """
        tickets, self._tickets = self._tickets, None
        return self._read(number, skip_count) if tickets is None else tickets

    def identity(self) -> dict[str, Any]:
        """Returns the iterable's class name and number of batches, which identify it as far as possible."""
        return {"class": type(self._batches).__name__, "steps": self.steps}

    def check_position(self) -> None:
        """Raises ValueError if the position in the batches cannot be saved for a later process."""
        if self.is_sequence:
            hook = getattr(type(self._batches), "on_epoch_end", None)
            if hook is None or self._has_state() or str(hook.__module__).split(".")[0] in ("keras", "tensorflow"):
                return
            description = "a sequence that changes in on_epoch_end"
        elif self._has_state():
            return
        else:
            description = f"a {type(self._batches).__name__}"
        raise ValueError(f"Training on {description} cannot be resumed, because the position in the data cannot be "
                         "saved. Pass arrays, an image dataset, or an object with __getitem__ and __len__ but "
                         "without on_epoch_end. Or define get_state(), which returns the position as plain data, "
                         "and set_state(state), which restores the position.")

    def check_apart(self, stream: "Stream") -> None:
        """Raises ValueError if `stream` uses the same iterable, because an iterable has only one position."""
        if self._batches is stream._batches and self._has_state():
            raise ValueError("If checkpoints are saved, the training data and the validation data "
                             "must be two objects. Received the same "
                             f"{type(self._batches).__name__} for both. Create a second one.")

    def get_state(self) -> dict[str, Any]:
        """Returns the iterable's position in its batches, for `set_state`."""
        waiting = self._tickets is not None
        return {"waiting": waiting, "held": self._first_state if waiting else self._copy_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores a position that `get_state` returned."""
        self._tickets = None
        if state["held"] is not None:
            self._batches.set_state(state["held"])

    def _has_state(self) -> bool:
        return hasattr(self._batches, "get_state") and hasattr(self._batches, "set_state")

    def _copy_state(self) -> Any:
        return deepcopy(self._batches.get_state()) if self._has_state() else None

    def batch(self, tickets: Sequence[Ticket] | None = None) -> Batch:
        """Returns this process's part of the batch in `tickets`, or of the first batch if `tickets` is None."""
        if tickets is None:
            return self._first
        [(data, samples)] = tickets
        part = self._ranks.part(len(data) if samples is None else samples)
        return Batch(None, data if samples is not None else data.rows(part.start, part.start + part.samples), part)

    def together(self, ticket: Ticket) -> int:
        """Returns 1, because the batches of a stream are run one by one."""
        return 1

    def end_epoch(self) -> None:
        """Calls a sequence's `on_epoch_end`, which may change its samples."""
        getattr(self._batches, "on_epoch_end", lambda: None)()

    def _read(self, number: int, skip_count: int = 0) -> Iterator[Ticket]:
        getattr(self._batches, "on_epoch_begin", lambda: None)()
        if self._ranks.size > 1 and hasattr(self._batches, "shared_by"):
            for part, samples in self._batches.shared_by(self._ranks):
                yield self._parse(part), samples
            return
        if not self.is_sequence:
            for batch in self._batches:
                yield self._parse(batch), None
            return
        count = self.steps
        order: Any = range(sys.maxsize if count is None else count)
        if count is not None and self.key is not None:
            order = random.permutation(count, random.epoch_stream(self.key, number))
        for i in order[skip_count:]:
            yield self._parse(self._batches[int(i)]), None


class Epochs:
    """The batches of each epoch: all batches of a source, or the next `steps` batches."""

    def __init__(self, source: Source | Stream, steps: int | None = None, name: str = "steps") -> None:
        if steps is not None:
            check_count(name, steps, 1)
        elif isinstance(source, Stream) and source.is_sequence and source.steps is None:
            raise ValueError(f"An endless PyDataset (num_batches is None) needs the number of steps. Pass {name}.")
        self.source, self.limit = source, steps
        self._tickets: Iterator[Any] | None = None
        self._next: Any = None
        self._number, self._index = 0, 0  # number of the pass over the source, and of tickets used in it
        self._steps: int | None = None  # number of batches in the last epoch that read the source to its end

    @property
    def steps(self) -> int | None:
        """The number of steps per epoch; None if unknown."""
        return self.limit or self.source.steps or self._steps

    def ready(self, number: int) -> bool:
        """Whether epoch `number` has a batch. Restarts the source if all its batches were used."""
        self._fetch()
        if self._next is None:
            self._begin(number)
            self._fetch()
        return self._next is not None

    def get_state(self) -> dict[str, Any]:
        """Returns the position in the source and in the epoch, for `set_state`."""
        return {"number": None if self._tickets is None else self._number, "taken": self._index, "seen": self._steps,
                "source": self.source.get_state()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restores a position that `get_state` returned."""
        self.source.set_state(state["source"])
        self._next, self._tickets, self._steps = None, None, state["seen"]
        if state["number"] is not None:
            self._begin(int(state["number"]), int(state["taken"]))

    def _begin(self, number: int, skip_count: int = 0) -> None:
        self._number, self._index, self._tickets = number, skip_count, self.source.tickets(number, skip_count)

    def _fetch(self) -> None:
        """Reads the next batch in advance, unless it was already read or no batch is left."""
        if self._next is None and self._tickets is not None:
            self._next = next(self._tickets, None)
            if self._next is None:
                self._tickets = None

    def epoch(self, number: int, step: int = 0, one_by_one: bool = False) -> Iterator[Batch]:
        """Yields an epoch's batches, grouped if the source's device runs several together. `step`
        is the number of the epoch's completed steps.
        """
        if step and step != self.limit:
            self._fetch()
        while step != self.limit and (self._next is not None or (not step and self.ready(number))):
            tickets, self._next = [self._next], None
            count = 1 if one_by_one else self.source.together(tickets[0])
            while len(tickets) < count and step + len(tickets) != self.limit:
                self._fetch()
                tickets.append(self._next)
                self._next = None
            self._index += len(tickets)
            yield self.source.batch(tickets)
            step += len(tickets)
            if step != self.limit:
                self._fetch()
        if step != self.limit:
            self._steps = step
            if self.limit is not None:
                warn_of_end()
        self.source.end_epoch()


def warn_of_end() -> None:
    """Warns, in Keras's words, that the data had fewer batches than requested."""
    warn("Your input ran out of data; interrupting training. Make sure that your dataset or "
         "generator can generate at least `steps_per_epoch * epochs` batches.")
