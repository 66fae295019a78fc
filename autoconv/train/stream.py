"""`Stream`: batches from an iterable; `Epochs`: which batches, of a stream or of arrays, make an epoch."""

from collections.abc import Callable, Iterator
from inspect import isclass, isroutine
from itertools import chain
from typing import Any

import numpy as np

from .. import random
from ..backend.turns import turn
from ..tensor import Tensor
from .data import Data, check_count
from .progress import warn
from .source import Source
from .step import Step


def is_stream(x: Any) -> bool:
    """Whether x gives batches one after the other: an iterable, or what has a length and items, but no array.

    Raises ValueError, as Keras does, for a function or a class that makes them.
    """
    if isroutine(x) or isclass(x):
        raise ValueError("Data must be arrays or an iterable of batches, and not what makes it. Received: the "
                         f"{'class' if isclass(x) else 'function'} {x.__name__}. Call it: {x.__name__}().")
    if isinstance(x, np.ndarray | Tensor | list | tuple | dict | str) or hasattr(x, "__array__") or hasattr(x, "shape"):
        return False
    return hasattr(x, "__iter__") or (hasattr(x, "__getitem__") and hasattr(x, "__len__"))


class Stream:
    """Batches as an iterable or a sequence (Keras's PyDataset) gives them, which `parse` turns into `Data`.

    shuffle: a sequence gives its batches in a new order each epoch, by the key that `draw` returns. like: the batch
    that is the next one; before the first that one.
    """

    varies = True  # each batch has arrays of its own
    samples: int | None = None
    shards = 1.0

    def __init__(self, batches: Any, parse: Callable[[Any], Data], shuffle: bool = False, number: int = 0,
                 draw: Callable[[], random.Key] = random.stream) -> None:
        self._batches, self._parse = batches, parse
        self._is_sequence = all(hasattr(batches, name) for name in ("__getitem__", "__len__"))
        self._key = draw() if shuffle and self._is_sequence else None
        begun = self._read(number)
        first = next(begun, None)
        if first is None:
            raise ValueError(f"There is no batch to begin with. Received: {type(batches).__name__} that gives none.")
        self.like: Data = first
        self._begun: Iterator[Data] | None = chain([first], begun)

    @property
    def steps(self) -> int | None:
        """How many batches there are, where that is known."""
        try:
            return len(self._batches) if hasattr(self._batches, "__len__") else None
        except TypeError:  # TensorFlow's, which cannot tell
            return None

    def tickets(self, number: int) -> Iterator[Data]:
        """What `seek` takes for one batch after the other, in epoch `number`."""
        begun, self._begun = self._begun, None
        return self._read(number) if begun is None else begun

    def seek(self, batch: Data) -> int:
        """Makes a batch the next one. Returns how many samples it has."""
        self.like = batch
        return len(batch)

    def run(self, step: Step, sink: Any = None) -> None:
        """One step on the batch that is the next one."""
        with turn:
            step.feed([*self.like.x, *self.like.y, *self.like.weights])
            step.run()

    def end_epoch(self) -> None:
        """Tells a sequence, which may want to change its samples."""
        getattr(self._batches, "on_epoch_end", lambda: None)()

    def _read(self, number: int) -> Iterator[Data]:
        getattr(self._batches, "on_epoch_begin", lambda: None)()
        if not self._is_sequence:
            yield from map(self._parse, self._batches)
            return
        count = len(self._batches)
        for i in range(count) if self._key is None else random.permutation(
                count, random.epoch_stream(self._key, number)):
            yield self._parse(self._batches[int(i)])


class Epochs:
    """The batches of each epoch: all of a source, or `steps` of them from where the last epoch ended."""

    def __init__(self, source: Source | Stream, steps: int | None = None, name: str = "steps") -> None:
        if steps is not None:
            check_count(name, steps, 1)
        self.source, self._steps = source, steps
        self._tickets: Iterator[Any] | None = None
        self._next: Any = None
        self._seen: int | None = None  # in an epoch that went through all of them

    @property
    def steps(self) -> int | None:
        """How many steps an epoch has, where that is known."""
        return self._steps or self.source.steps or self._seen

    def ready(self, number: int) -> bool:
        """Whether there is a batch for epoch `number`. Where all were taken, the source begins again, if it can."""
        if self._next is None and self._tickets is not None:
            self._next = next(self._tickets, None)
        if self._next is None:
            self._tickets = self.source.tickets(number)
            self._next = next(self._tickets, None)
        return self._next is not None

    def epoch(self, number: int) -> Iterator[int]:
        """Makes one batch after the other the source's next one, and gives its number of samples."""
        done = 0
        while done != self._steps and (self._next is not None or (not done and self.ready(number))):
            ticket, self._next = self._next, None
            yield self.source.seek(ticket)
            done += 1
            if done != self._steps:
                self._next = next(self._tickets, None)  # type: ignore[arg-type]
        if done != self._steps:
            self._seen = done
            if self._steps is not None:
                warn_of_end()
        self.source.end_epoch()


def warn_of_end() -> None:
    """Warns, in Keras's words, that there were less batches than were asked for."""
    warn("Your input ran out of data; interrupting training. Make sure that your dataset or generator can generate at "
         "least `steps_per_epoch * epochs` batches.")
