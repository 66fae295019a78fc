"""The base of layers that draw random numbers."""

from typing import Any

import numpy as np

from .. import random
from ..engine import ranks
from ..engine.tensor import Tensor
from .layer import Layer

_OWN_STREAMS = 2**62  # first stream of seeded layers, far from other streams


class RandomLayer(Layer):
    """A layer that draws random numbers. Without a `seed` they come from the generator of `utils.set_random_seed`."""

    generator_name = "seed_generator"  # the attribute's name in Keras

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed

    @property
    def seed(self) -> int | None:
        """The seed of the layer's own generator. Setting the seed restarts the generator."""
        return self._seed

    @seed.setter
    def seed(self, seed: int | None) -> None:
        self._seed = None if seed is None else random.check_seed(seed)
        self._generator = None if self._seed is None else random.SeedGenerator(self._seed, first=_OWN_STREAMS)

    @property
    def seed_generator(self) -> random.SeedGenerator:
        """The generator in use: the layer's own if it has a seed, otherwise the process's."""
        if not self._draws():
            raise AttributeError  # __getattr__ reports what is missing
        return self._generator or random.process_generator()

    def _draws(self) -> bool:
        """Whether the layer draws any numbers."""
        return True

    def _generators(self) -> list[random.SeedGenerator]:
        return [self.seed_generator] if self._draws() else []

    def _draw(self, x: Tensor) -> dict[str, Any]:
        """Returns the source of random numbers for x: the next key, and the index of x's first
        sample in the whole batch. Each replay of a recorded step computes a new key and index.
        """
        stream = random.stream if self._generator is None else self._generator.stream
        return {"key": x.device.dynamic(stream, np.uint64, 2),
                "first": x.device.dynamic(ranks.current.get().first_sample, np.uint64)}
