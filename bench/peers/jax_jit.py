"""JAX: a whole training step, gathering of its batch included, as one jitted function that reuses its buffers."""

from collections.abc import Iterator
from functools import partial
from itertools import repeat

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..workloads import EPSILON, RHO, Conv, Dense, Dropout, Flatten, Pool, Scale, Workload
from .base import Peer, chunks


def forward(workload: Workload, weights: list, x: jax.Array, key: jax.Array | None) -> jax.Array:
    """The logits; dropout only with a key."""
    left = iter(weights)
    for layer in workload.layers:
        match layer:
            case Conv(_, _, padding):
                x = lax.conv_general_dilated(x, next(left), (1, 1), padding.upper(),
                                             dimension_numbers=("NHWC", "HWIO", "NHWC"))
                x = jax.nn.relu(x + next(left))
            case Pool():
                x = _pool(x)
            case Flatten():
                x = x.reshape(len(x), -1)
            case Dense(_, relu):
                x = x @ next(left) + next(left)
                x = jax.nn.relu(x) if relu else x
            case Dropout(rate) if key is not None:
                key, own = jax.random.split(key)
                x = jnp.where(jax.random.bernoulli(own, 1 - rate, x.shape), x / (1 - rate), 0)
            case Scale(factor):
                x = x * factor
    return x


def _pool(x: jax.Array) -> jax.Array:
    """2x2 max pooling by reshaping, whose gradient is many times as fast here as that of `lax.reduce_window`."""
    n, h, w, c = x.shape
    return x[:, : h // 2 * 2, : w // 2 * 2].reshape(n, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))


def mean_loss(workload: Workload, weights: list, x: jax.Array, labels: jax.Array, key: jax.Array | None) -> jax.Array:
    shares = jax.nn.log_softmax(forward(workload, weights, x, key))
    return -jnp.take_along_axis(shares, labels[:, None], axis=1).mean()


class JaxNet(Peer):
    """The net's weights as JAX's arrays, its loss and its answers: on the CPU and on a GPU."""

    def __init__(self, workload: Workload, threads: int, mode: str, seed: int) -> None:
        super().__init__(workload, threads, mode, seed)
        self.key = jax.random.key(seed)
        self.loss_of = jax.jit(lambda weights, x, labels: mean_loss(workload, weights, x, labels, None))
        self.answer = jax.jit(lambda weights, x: jax.nn.softmax(forward(workload, weights, x, None)))

    def versions(self) -> dict[str, str]:
        return {"jax": jax.__version__}

    def load(self, weights: list[np.ndarray]) -> None:
        self.parameters = [jnp.array(w) for w in weights]
        self.squares = [jnp.zeros_like(w) for w in self.parameters]

    def weights(self) -> list[np.ndarray]:
        return [np.asarray(w) for w in self.parameters]

    def loss(self, images: np.ndarray, labels: np.ndarray) -> float:
        return float(self.loss_of(self.parameters, images, labels))


class Jax(JaxNet):
    def __init__(self, workload: Workload, threads: int, mode: str, seed: int) -> None:
        super().__init__(workload, threads, mode, seed)
        self.rates: Iterator[np.float32] = repeat(np.float32(1e-3))
        self.random = np.random.default_rng(seed)

        @partial(jax.jit, donate_argnums=(0, 1))
        def step(weights, squares, images, labels, rows, rate, key):
            key, own = jax.random.split(key)
            gradients = jax.grad(lambda w: mean_loss(workload, w, images[rows], labels[rows], own))(weights)
            squares = [RHO * v + (1 - RHO) * g * g for v, g in zip(squares, gradients)]
            weights = [w - rate * g / jnp.sqrt(v + EPSILON) for w, g, v in zip(weights, gradients, squares)]
            return weights, squares, key

        self._step = step

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        self.images, self.labels, self.batch_size = jnp.array(images), jnp.array(labels), batch_size
        self.batches = [jnp.array(images[rows]) for rows in chunks(len(images), batch_size)]

    def train(self, steps: int) -> None:
        count = steps * self.batch_size
        order = self.random.permutation(count) if self.shuffle else np.arange(count)
        for rows, rate in zip(order.astype(np.int32).reshape(steps, self.batch_size), self.rates):
            self.parameters, self.squares, self.key = self._step(
                self.parameters, self.squares, self.images, self.labels, rows, rate, self.key)
        jax.block_until_ready(self.parameters)

    def infer(self, steps: int) -> None:
        for batch in self.batches[:steps]:
            self.answer(self.parameters, batch).block_until_ready()

    def schedule(self, rates: np.ndarray) -> None:
        self.rates = iter(rates.astype(np.float32))

    def predict(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        answers = [self.answer(self.parameters, images[rows]) for rows in chunks(len(images), batch_size)]
        return np.concatenate([np.asarray(answer).argmax(1) for answer in answers])
