"""What layers that draw random numbers share."""

from typing import Any

import numpy as np

from .. import random
from ..engine import ranks
from ..engine.tensor import Tensor
from .layer import Layer

_OWN_STREAMS = 2**62  # far from those that autoconv.random hands out and from the initializers'


class RandomLayer(Layer):
    """A layer that draws from the generator of `utils.set_random_seed`, or with a `seed` from one of its own."""

    generator_name = "seed_generator"  # of the attribute in Keras

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed = seed

    @property
    def seed(self) -> int | None:
        """The seed of the layer's own draws, which begin anew when it is set."""
        return self._seed

    @seed.setter
    def seed(self, seed: int | None) -> None:
        self._seed = None if seed is None else random.check_seed(seed)
        self._generator = None if self._seed is None else random.SeedGenerator(self._seed, first=_OWN_STREAMS)

    @property
    def seed_generator(self) -> random.SeedGenerator:
        """What it draws from: its own generator, or without a seed the process's."""
        if not self._draws():
            raise AttributeError  # __getattr__ says what is missing
        return self._generator or random.process_generator()

    def _draws(self) -> bool:
        """Whether it draws at all."""
        return True

    def _generators(self) -> list[random.SeedGenerator]:
        return [self.seed_generator] if self._draws() else []

    def _draw(self, x: Tensor) -> dict[str, Any]:
        """What numbers for x are drawn from: the next key, and the number of x's first sample in the whole batch. Each
        replay of a recording draws both anew.
        """
        stream = random.stream if self._generator is None else self._generator.stream
        return {"key": x.device.dynamic(stream, np.uint64, 2),
                "first": x.device.dynamic(ranks.current.get().first_sample, np.uint64)}
