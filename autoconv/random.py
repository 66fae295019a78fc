"""Random numbers from one counter-based generator, Philox4x32-10, identical on all devices.

A key is a pair (seed, stream). Each draw uses the next stream of the seed, counted from 1. Number i
of a stream depends only on the key and on i. A draw with its own int seed uses stream 0 of that seed.
"""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from .arguments.serialization import Registry
from .engine.variable import Stateful, Variable
from .kernels import device as devices

Key = tuple[int, int]


_EPOCHS = 2**61  # first stream for the sample orders of epochs


def check_seed(seed: Any) -> int:
    """Returns the seed as an int. Raises ValueError unless it is an integer in 0..2**64-1."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= int(seed) < 2**64:
        raise ValueError(f"A seed must be an integer between 0 and 2**64 - 1. Received: {seed!r}.")
    return int(seed)


class SeedGenerator(Stateful):
    """A seed and a count of draws, which determine random numbers, as in `Dropout(0.5).seed_generator`.

    state: a variable with the seed and the number of draws. Draw n has the key (seed, first + n).
    """

    def __init__(self, seed: int | None = None, name: str | None = None, *, first: int = 0,
                 **_: Any) -> None:
        seed = int.from_bytes(os.urandom(4), "little") if seed is None else check_seed(seed)
        self.name = name or "seed_generator"
        self.first = first
        self.state = Variable.wrap(np.array([seed, 0], np.uint64), f"{self.name}_state", self.name)

    @property
    def seed(self) -> int:
        """The seed. Setting it does not reset the number of draws."""
        return self.state.data.item(0)

    @property
    def streams(self) -> int:
        """The number of draws."""
        return self.state.data.item(1)

    @streams.setter
    def streams(self, count: int) -> None:
        self.state.data[1] = count

    @property
    def variables(self) -> list[Variable]:
        """A list that contains the state variable."""
        return [self.state]

    def stream(self) -> Key:
        """Counts a draw and returns its key: (seed, stream number)."""
        state = self.state.data
        seed, count = state.tolist()
        state[1] = count = count + 1
        return seed, self.first + count

    def next(self, ordered: bool = True) -> np.ndarray:
        """Counts a draw and returns the previous state."""
        state = self.state.numpy()
        self.stream()
        return state

    def get_config(self) -> dict[str, Any]:
        """Returns the seed. A generator created from it begins at the first draw."""
        return {"seed": self.seed}


Seed = int | SeedGenerator | None

Registry("seed generator", "keras.random", SeedGenerator, {"SeedGenerator": SeedGenerator})
_generator = SeedGenerator(int.from_bytes(os.urandom(8), "little"))


def process_generator() -> SeedGenerator:
    """Returns the process's generator, which `set_seed` seeds. Draws that have no other generator use it."""
    return _generator


def find_generators(layers: Iterable[Any]) -> list[SeedGenerator]:
    """Returns the process's generator and the layers' own generators."""
    return [_generator, *(value for layer in layers for value in vars(layer).values()
                          if isinstance(value, SeedGenerator))]


def set_seed(seed: int) -> None:
    """Seeds the process's generator. seed: an integer in 0..2**64-1."""
    _generator.state.data[:] = check_seed(seed), 0


def stream() -> Key:
    """Returns the next key of the process's generator."""
    return _generator.stream()


def epoch_stream(key: Key, epoch: int) -> Key:
    """Returns the key for the order of the samples in an epoch. key: the key of the training run."""
    return key[0], _EPOCHS + (key[1] << 24) + epoch


def state() -> dict[str, int]:
    """Returns the state of the process's generator. After `set_state`, the generator repeats the same draws."""
    return {"seed": _generator.seed, "streams": _generator.streams}


def set_state(state: dict[str, int]) -> None:
    """Restores the process's generator to a state returned by `state()`."""
    _generator.state.data[:] = check_seed(state["seed"]), int(state["streams"])


def bits(n: int, key: Key | None = None) -> np.ndarray:
    """Returns n random uint32 numbers from the stream of `key`, by default the next stream."""
    seed, number = key or stream()
    memory = np.empty(-(-n // 4) * 4, np.float32)  # whole blocks of four words
    devices.get("cpu").kernels("random").bits(memory, np.uint64(seed), np.uint64(number), np.uint64(0))
    return memory.view(np.uint32)[:n]


def uniform(shape: Sequence[int], minval: float = 0.0, maxval: float = 1.0,
            dtype: DTypeLike | None = None, seed: Seed = None, *,
            key: Key | None = None) -> np.ndarray:
    """Returns uniform random numbers in [minval, maxval), in 2**24 equal steps. In [0, 1), float32
    and float64 give the same numbers. seed: an int, which gives the same numbers at every call, a
    `SeedGenerator`, or None for the process's generator.
    """
    steps = bits(int(np.prod(shape)), key or _make_key(seed)) >> 8
    return (minval + (maxval - minval) * 2.0**-24 * steps).astype(dtype or "float32").reshape(shape)


def normal(shape: Sequence[int], mean: float = 0.0, stddev: float = 1.0,
           dtype: DTypeLike | None = None, seed: Seed = None, *,
           key: Key | None = None) -> np.ndarray:
    """Returns normally distributed numbers. seed: as in `uniform`."""
    z = np.zeros(int(np.prod(shape)))  # not empty, because a dry run does not fill it
    devices.get("cpu").kernels("random").normal(bits(2 * z.size, key or _make_key(seed)).reshape(2, -1), z)
    return (mean + stddev * z).astype(dtype or "float32").reshape(shape)


def randint(shape: Sequence[int], minval: int, maxval: int, dtype: DTypeLike = "int32",
            seed: Seed = None) -> np.ndarray:
    """Returns uniform integers in minval..maxval - 1. seed: as in `uniform`."""
    if maxval <= minval:
        raise ValueError(f"maxval must be larger than minval. Received: minval={minval}, maxval={maxval}.")
    places = bits(int(np.prod(shape)), _make_key(seed)).astype(np.uint64) * np.uint64(maxval - minval) >> np.uint64(32)
    return (minval + places.astype(np.int64)).astype(dtype).reshape(shape)


def _make_key(seed: Seed) -> Key:
    if isinstance(seed, SeedGenerator):
        return seed.stream()
    return stream() if seed is None else (check_seed(seed), 0)


def permutation(n: int, key: Key | None = None) -> np.ndarray:
    """Returns 0..n-1 in random order, by sorting n random 64-bit numbers."""
    return np.argsort(bits(2 * n, key).view(np.uint64), kind="stable")
