"""Random numbers of one counter-based generator, Philox4x32-10, the same on every device.

A key is (seed, stream): each draw takes the next stream of the seed, in which number i depends only
on i. Taken streams count from 1; stream 0 is for seeds given to one draw.
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


_EPOCHS = 2**61  # from here on streams are epochs' orders


def check_seed(seed: Any) -> int:
    """The seed as an int, or a ValueError."""
    if isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= int(seed) < 2**64:
        raise ValueError("Argument `seed` must be an integer. A seed must be an integer between 0 "
                         f"and 2**64 - 1. Received: {seed!r}.")
    return int(seed)


class SeedGenerator(Stateful):
    """A source of random numbers, under Keras's name: `Dropout(0.5, seed=1).seed_generator`.

    state: a variable of the seed and the number of draws; `next()` returns it, and counts a draw.
    Draw n has the key (seed, first + n).
    """

    def __init__(self, seed: int | None = None, name: str | None = None, *, first: int = 0,
                 **_: Any) -> None:
        seed = int.from_bytes(os.urandom(4), "little") if seed is None else check_seed(seed)
        self.name = name or "seed_generator"
        self.first = first
        self.state = Variable.over(np.array([seed, 0], np.uint64), f"{self.name}_state", self.name)

    @property
    def seed(self) -> int:
        """The seed. Setting it starts no other stream: the draws go on being counted."""
        return self.state.data.item(0)

    @property
    def streams(self) -> int:
        """How many draws were made."""
        return self.state.data.item(1)

    @streams.setter
    def streams(self, count: int) -> None:
        self.state.data[1] = count

    @property
    def variables(self) -> list[Variable]:
        """The state."""
        return [self.state]

    def stream(self) -> Key:
        """The next key: (seed, number of the stream)."""
        state = self.state.data
        seed, count = state.tolist()
        state[1] = count = count + 1
        return seed, self.first + count

    def next(self, ordered: bool = True) -> np.ndarray:
        """The state before this draw, which is counted."""
        before = self.state.numpy()
        self.stream()
        return before

    def get_config(self) -> dict[str, Any]:
        """Returns the seed: a generator made from it starts anew."""
        return {"seed": self.seed}


Registry("seed generator", "keras.random", SeedGenerator, {"SeedGenerator": SeedGenerator})
_generator = SeedGenerator(int.from_bytes(os.urandom(8), "little"))


def process_generator() -> SeedGenerator:
    """The generator of `set_seed`, from which all draws come that have none of their own."""
    return _generator


def generators_of(layers: Iterable[Any]) -> list[SeedGenerator]:
    """The process's generator, and those that layers have of their own."""
    return [_generator, *(value for layer in layers for value in vars(layer).values()
                          if isinstance(value, SeedGenerator))]


def set_seed(seed: int) -> None:
    """Starts the streams of `seed`, an integer in 0..2**64-1."""
    _generator.state.data[:] = check_seed(seed), 0


def stream() -> Key:
    """The next key of the process's seed."""
    return _generator.stream()


def epoch_stream(key: Key, epoch: int) -> Key:
    """Returns the key of an epoch's order, from the training's key and the epoch's number."""
    return key[0], _EPOCHS + (key[1] << 24) + epoch


def state() -> dict[str, int]:
    """What `set_state` takes to draw the same numbers from here on."""
    return {"seed": _generator.seed, "streams": _generator.streams}


def set_state(state: dict[str, int]) -> None:
    """Continues where `state()` was taken."""
    _generator.state.data[:] = check_seed(state["seed"]), int(state["streams"])


def bits(n: int, key: Key | None = None) -> np.ndarray:
    """n random uint32 of the stream `key`, of the next one by default."""
    seed, number = key or stream()
    memory = np.empty(-(-n // 4) * 4, np.float32)  # whole blocks of four words
    devices.get("cpu").kernels("random").bits(memory, np.uint64(seed), np.uint64(number), np.uint64(0))
    return memory.view(np.uint32)[:n]


def uniform(shape: Sequence[int], minval: float = 0.0, maxval: float = 1.0,
            dtype: DTypeLike | None = None, seed: Any = None, *,
            key: Key | None = None) -> np.ndarray:
    """Numbers in [minval, maxval), on a grid of 2**24 steps: the same in float32 and float64. seed:
    an int, for the same numbers at every call, a `SeedGenerator`, or None.
    """
    steps = bits(int(np.prod(shape)), key or _key_of(seed)) >> 8
    return (minval + (maxval - minval) * 2.0**-24 * steps).astype(dtype or "float32").reshape(shape)


def normal(shape: Sequence[int], mean: float = 0.0, stddev: float = 1.0,
           dtype: DTypeLike | None = None, seed: Any = None, *,
           key: Key | None = None) -> np.ndarray:
    """Normally distributed numbers, by Box and Muller's transform (1958): sqrt(-2 ln u) cos(2 pi
    v). seed: as in `uniform`.
    """
    words = bits(2 * int(np.prod(shape)), key or _key_of(seed)).reshape(2, -1)
    u, v = (words[0] + 1.0) * 2.0**-32, words[1] * 2.0**-32  # u in (0, 1]
    z = np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)
    return (mean + stddev * z).astype(dtype or "float32").reshape(shape)


def randint(shape: Sequence[int], minval: int, maxval: int, dtype: DTypeLike = "int32",
            seed: Any = None) -> np.ndarray:
    """Integers spread evenly over minval..maxval - 1. `seed` is that of `uniform`."""
    if maxval <= minval:
        raise ValueError(f"maxval must be larger than minval. Received: minval={minval}, maxval={maxval}.")
    places = bits(int(np.prod(shape)), _key_of(seed)).astype(np.uint64) * np.uint64(maxval - minval) >> np.uint64(32)
    return (minval + places.astype(np.int64)).astype(dtype).reshape(shape)


def _key_of(seed: Any) -> Key:
    """The key of a draw with this seed."""
    if isinstance(seed, SeedGenerator):
        return seed.stream()
    return stream() if seed is None else (check_seed(seed), 0)


def permutation(n: int, key: Key | None = None) -> np.ndarray:
    """0..n-1 in random order: the order that sorts n random numbers of 64 bits."""
    return np.argsort(bits(2 * n, key).view(np.uint64), kind="stable")
