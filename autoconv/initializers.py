"""Initial values of weights, by Keras's formulas. An initializer maps (shape, dtype) to an array.

With an int `seed` or without a seed, an initializer returns the same values at every call. With a
`random.SeedGenerator` as seed, it draws new values at each call.
"""

from collections.abc import Iterator, Sequence
from itertools import chain, count
from math import prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from . import random
from .arguments import names
from .arguments.serialization import Configurable, Registry
from .engine.tensor import Tensor

# Standard deviation of a standard normal distribution that is truncated to [-2, 2].
TRUNCATED_DEVIATION = 0.87962566103423978
BLOCK = 64  # number of rows from which the directions of all earlier rows are removed together
FURTHER_STREAMS = 2**62 + 2**61  # first stream for later draws in a call without a seed
OWN_STREAMS = 2**63  # first stream of seeded initializers, not used by autoconv.random


class Initializer(Configurable):
    """Base class of initializers: `initializer(shape, dtype)` returns the values of a new weight."""

    def __call__(self, shape: tuple[int, ...], dtype: DTypeLike = "float32") -> np.ndarray:
        raise NotImplementedError(f"{type(self).__name__} must define __call__(self, shape, dtype).")

    def clone(self) -> "Initializer":
        """Returns a copy of the initializer. A copy without a seed draws its own numbers."""
        return type(self).from_config(self.get_config())


class Random(Initializer):
    """Base class of initializers that draw random numbers."""

    _key: random.Key | None = None  # key drawn at the first call if there is no seed

    @property
    def seed(self) -> random.Seed:
        """The seed: None, an int or a `random.SeedGenerator`."""
        return self._seed

    @seed.setter
    def seed(self, seed: random.Seed) -> None:
        if not isinstance(seed, random.SeedGenerator) and seed is not None and (
                isinstance(seed, bool) or not hasattr(seed, "__index__")):
            raise ValueError("`seed` argument should be an instance of `random.SeedGenerator()` or "
                             f"an integer. Received: seed={seed!r}")
        self._seed = seed
        self._key = None

    def _keys(self) -> Iterator[random.Key]:
        """Returns an iterator over the keys for the random draws of one call."""
        if isinstance(self._seed, random.SeedGenerator):
            return iter(self._seed.stream, None)
        if self._seed is None:
            self._key = self._key or random.stream()
            seed, first = self._key
            return chain([self._key], ((seed, FURTHER_STREAMS + (first << 20) + i) for i in count()))
        return ((self._seed, OWN_STREAMS + i) for i in count())

    def __getstate__(self) -> dict[str, Any]:
        """Returns the state without the key, so that a copy without a seed draws its own numbers."""
        return vars(self) | {"_key": None}


class Zeros(Initializer):
    """Fills the weight with 0."""

    def __call__(self, shape: tuple[int, ...], dtype: DTypeLike = "float32") -> np.ndarray:
        return np.zeros(shape, dtype)


class Ones(Initializer):
    """Fills the weight with 1."""

    def __call__(self, shape: tuple[int, ...], dtype: DTypeLike = "float32") -> np.ndarray:
        return np.ones(shape, dtype)


class Constant(Initializer):
    """Fills the weight with `value`."""

    def __init__(self, value: float = 0.0) -> None:
        self.value = value

    def __call__(self, shape: tuple[int, ...], dtype: DTypeLike = "float32") -> np.ndarray:
        return np.full(shape, self.value, dtype)


class RandomNormal(Random):
    """Draws from a normal distribution with mean `mean` and standard deviation `stddev`."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: random.Seed = None) -> None:
        self.mean = mean
        self.stddev = stddev
        self.seed = seed

    def __call__(self, shape: tuple[int, ...], dtype: DTypeLike = "float32") -> np.ndarray:
        return _draw_normal(shape, self.mean, self.stddev, dtype, self._keys())


class RandomUniform(Random):
    """Draws from a uniform distribution over [minval, maxval)."""

    def __init__(self, minval: float = -0.05, maxval: float = 0.05,
                 seed: random.Seed = None) -> None:
        self.minval = minval
        self.maxval = maxval
        self.seed = seed

    def __call__(self, shape: tuple[int, ...], dtype: DTypeLike = "float32") -> np.ndarray:
        return _draw_uniform(shape, self.minval, self.maxval, dtype, self._keys())


class TruncatedNormal(Random):
    """Draws from a normal distribution. Values beyond two standard deviations are drawn again."""

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: random.Seed = None) -> None:
        self.mean = mean
        self.stddev = stddev
        self.seed = seed

    def __call__(self, shape: tuple[int, ...], dtype: DTypeLike = "float32") -> np.ndarray:
        return _draw_truncated(shape, self.mean, self.stddev, dtype, self._keys())


class VarianceScaling(Random):
    """Draws random numbers with variance `scale / fan`, to keep the size of signals from layer to layer.

    mode: the fan that is used: "fan_in", "fan_out", or "fan_avg" for their mean. distribution:
    "truncated_normal", "untruncated_normal" or "uniform".
    """

    def __init__(self, scale: float = 1.0, mode: str = "fan_in",
                 distribution: str = "truncated_normal", seed: random.Seed = None,
                 input_axes: Sequence[int] | None = None,
                 output_axes: Sequence[int] | None = None) -> None:
        distribution = "truncated_normal" if distribution == "normal" else distribution
        if not scale > 0:
            raise ValueError(f"scale must be positive. Received: {scale!r}.")
        names.lookup("mode", mode, dict.fromkeys(("fan_in", "fan_out", "fan_avg")))
        distributions = ("truncated_normal", "untruncated_normal", "uniform")
        names.lookup("distribution", distribution, dict.fromkeys(distributions))
        self.scale = scale
        self.mode = mode
        self.distribution = distribution
        self.seed = seed
        self.input_axes = input_axes
        self.output_axes = output_axes

    def __call__(self, shape: tuple[int, ...], dtype: DTypeLike = "float32") -> np.ndarray:
        fan_in, fan_out = fans(shape, self.input_axes, self.output_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        variance = self.scale / max(1.0, fan)
        if self.distribution == "uniform":
            limit = sqrt(3 * variance)
            return _draw_uniform(shape, -limit, limit, dtype, self._keys())
        if self.distribution == "untruncated_normal":
            return _draw_normal(shape, 0.0, sqrt(variance), dtype, self._keys())
        return _draw_truncated(shape, 0.0, sqrt(variance) / TRUNCATED_DEVIATION, dtype, self._keys())


class _FixedScaling(VarianceScaling):
    """A `VarianceScaling` whose scale, mode and distribution are fixed."""

    _choice: tuple[float, str, str]

    def __init__(self, seed: random.Seed = None, input_axes: Sequence[int] | None = None,
                 output_axes: Sequence[int] | None = None) -> None:
        super().__init__(*self._choice, seed=seed, input_axes=input_axes, output_axes=output_axes)


class GlorotUniform(_FixedScaling):
    """Draws uniformly from [-a, a), a = sqrt(6 / (fan_in + fan_out)): Keras's default (Glorot and Bengio, 2010)."""

    _choice = (1.0, "fan_avg", "uniform")


class GlorotNormal(_FixedScaling):
    """Draws from a truncated normal with variance 2 / (fan_in + fan_out) (Glorot and Bengio, 2010)."""

    _choice = (1.0, "fan_avg", "truncated_normal")


class HeUniform(_FixedScaling):
    """Draws uniformly from [-a, a), where a = sqrt(6 / fan_in), for ReLU (He et al., 2015)."""

    _choice = (2.0, "fan_in", "uniform")


class HeNormal(_FixedScaling):
    """Draws from a truncated normal with variance 2 / fan_in, for ReLU (He et al., 2015)."""

    _choice = (2.0, "fan_in", "truncated_normal")


class LecunUniform(_FixedScaling):
    """Draws uniformly from [-a, a), where a = sqrt(3 / fan_in) (LeCun et al., 1998)."""

    _choice = (1.0, "fan_in", "uniform")


class LecunNormal(_FixedScaling):
    """Draws from a truncated normal with variance 1 / fan_in (LeCun et al., 1998)."""

    _choice = (1.0, "fan_in", "truncated_normal")


class Identity(Initializer):
    """Returns a matrix (N, M) with `gain` on its diagonal and 0 elsewhere. Raises ValueError for other ranks."""

    def __init__(self, gain: float = 1.0) -> None:
        self.gain = gain

    def __call__(self, shape: tuple[int, ...], dtype: DTypeLike = "float32") -> np.ndarray:
        if len(shape) != 2:
            raise ValueError("Identity matrix initializer can only be used for 2D matrices. "
                             f"Received: shape={shape} of rank {len(shape)}.")
        return self.gain * np.eye(*shape, dtype=dtype)


class Orthogonal(Random):
    """Returns `gain` times a matrix with orthogonal rows or columns, reshaped to (..., C_out) (Saxe
    et al., 2014). Raises ValueError for fewer than two axes.
    """

    def __init__(self, gain: float = 1.0, seed: random.Seed = None) -> None:
        self.gain = gain
        self.seed = seed

    def __call__(self, shape: tuple[int, ...], dtype: DTypeLike = "float32") -> np.ndarray:
        if len(shape) < 2:
            raise ValueError("The tensor to initialize must be at least two-dimensional. Received: "
                             f"shape={shape} of rank {len(shape)}.")
        rows = prod(shape[:-1])
        columns = shape[-1]
        draws = random.normal((max(rows, columns), min(rows, columns)), 0.0, 1.0, dtype, key=next(self._keys()))
        q = _orthonormal_rows(draws.T)  # all orthogonal matrices are equally likely
        return (self.gain * (q.T if rows >= columns else q)).reshape(shape).astype(dtype)


def _orthonormal_rows(matrix: np.ndarray) -> np.ndarray:
    """Returns a matrix (M,N) of orthonormal rows in float64. The first i of them span the same
    space as the first i rows of `matrix`, for i = 1 to M. M must not exceed N.

    Gram and Schmidt's method, twice per row (Giraud et al., 2005). Unlike LAPACK, which NumPy
    calls, it gives the same bits on every processor.
    """
    result = np.zeros(matrix.shape)
    for start in range(0, len(matrix), BLOCK):
        rows = matrix[start : start + BLOCK].astype(np.float64)
        for _ in range(2):
            rows = _remove_directions(rows, result[:start])
        for i, row in enumerate(rows, start):
            for _ in range(2):
                row = _remove_directions(row, result[start:i])
            result[i] = row / sqrt((Tensor(row) @ row).item())
    return result


def _remove_directions(rows: np.ndarray, basis: np.ndarray) -> np.ndarray:
    """Returns rows, or one row, without their components along the orthonormal rows of `basis`.
    """
    directions = Tensor(basis)
    return rows - (Tensor(rows) @ directions.transpose() @ directions).numpy()


def fans(shape: tuple[int, ...], input_axes: Sequence[int] | None = None,
         output_axes: Sequence[int] | None = None) -> tuple[int, int]:
    """Returns (fan_in, fan_out) of a weight (..., C_in, C_out): the number of inputs per output,
    and the number of outputs per input. With input_axes and output_axes, returns the products of
    the sizes of these axes.
    """
    if input_axes is not None and output_axes is not None:
        return prod(shape[axis] for axis in input_axes), prod(shape[axis] for axis in output_axes)
    if len(shape) < 2:
        size = prod(shape)
        return size, size
    window = prod(shape[:-2])
    return window * shape[-2], window * shape[-1]


def _check_floating(dtype: DTypeLike) -> np.dtype:
    """Returns the dtype, float32 for None. Raises ValueError if it is not a floating-point dtype."""
    dtype = np.dtype(dtype or "float32")
    if dtype.kind != "f":
        raise ValueError(f"Random weights must have a floating-point dtype. Received: dtype={dtype.name!r}.")
    return dtype


def _draw_normal(shape: tuple[int, ...], mean: float, stddev: float, dtype: DTypeLike,
                 keys: Iterator[random.Key]) -> np.ndarray:
    return random.normal(shape, mean, stddev, _check_floating(dtype), key=next(keys))


def _draw_uniform(shape: tuple[int, ...], low: float, high: float, dtype: DTypeLike,
                  keys: Iterator[random.Key]) -> np.ndarray:
    return random.uniform(shape, low, high, _check_floating(dtype), key=next(keys))


def _draw_truncated(shape: tuple[int, ...], mean: float, stddev: float, dtype: DTypeLike,
                    keys: Iterator[random.Key]) -> np.ndarray:
    z = _draw_normal(shape, 0.0, 1.0, dtype, keys)
    far = np.abs(z) > 2
    while far.any():
        z[far] = _draw_normal((int(far.sum()),), 0.0, 1.0, dtype, keys)
        far = np.abs(z) > 2
    return mean + stddev * z


CLASSES: dict[str, type[Initializer]] = {
    **{kind.__name__: kind for kind in (
        Zeros, Ones, Constant, RandomNormal, RandomUniform, TruncatedNormal, VarianceScaling, GlorotUniform,
        GlorotNormal, HeUniform, HeNormal, LecunUniform, LecunNormal, Identity, Orthogonal)},
    "IdentityInitializer": Identity, "OrthogonalInitializer": Orthogonal}
globals().update({**CLASSES, **{names.snake_case(kind.__name__): kind for kind in CLASSES.values()}})  # Keras's names
registry = Registry("initializer", "keras.initializers", Initializer, CLASSES, {
    **{names.snake_case(kind.__name__): kind for kind in CLASSES.values()},
    "normal": RandomNormal, "uniform": RandomUniform, "one": Ones, "zero": Zeros})
get, serialize, deserialize = registry.get, registry.serialize, registry.deserialize
