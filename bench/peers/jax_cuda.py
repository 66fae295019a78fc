"""Runs JAX on a GPU: one jitted function runs one or many whole steps. Nothing is copied to the GPU
during an epoch.

The data, the order of samples, the learning rates, the running loss and the step number are on the
GPU, and buffers are donated. Products have XLA's default precision, which is TF32 on these GPUs.
"""

import os

# no preallocation of memory, because other processes use this GPU too
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from ..workloads import Workload
from .base import chunks
from .jax_jit import JaxNet, logits, rmsprop_step


class State(NamedTuple):
    """The variables that a training step changes. `step` is the number of steps since the epoch began."""

    weights: list[jax.Array]
    squares: list[jax.Array]
    key: jax.Array
    total: jax.Array
    step: jax.Array


class JaxOnGpu(JaxNet):
    def __init__(self, workload: Workload, threads: int, mode: str, seed: int, steps_a_call: int = 1) -> None:
        super().__init__(workload, threads, mode, seed)
        self.steps_a_call = steps_a_call
        self.rates: np.ndarray | None = None
        self.training = jax.jit(partial(training, workload), static_argnames="steps", donate_argnames="state")
        self.answering = jax.jit(partial(answering, workload), static_argnames=("steps", "batch_size"),
                                 donate_argnames="answers")
        self.permutation = jax.jit(lambda key, rows: jax.random.permutation(key, rows.ravel()).reshape(rows.shape))

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        steps = len(images) // batch_size
        self.images, self.labels, self.batch_size = jnp.array(images), jnp.array(labels), batch_size
        self.rows = jnp.arange(len(images), dtype=jnp.int32).reshape(steps, batch_size)
        self.answers = jnp.zeros((len(images), self.workload.classes), jnp.float32)
        self.rate = jnp.full(steps, 1e-3, jnp.float32)

    def train(self, steps: int) -> None:
        self.key, own = jax.random.split(self.key)
        order = self.permutation(own, self.rows) if self.shuffle else self.rows
        rates = self.rate if self.rates is None else jnp.array(self.rates)
        state = State(self.parameters, self.squares, self.key, jnp.zeros(()), jnp.zeros((), jnp.int32))
        for part in chunks(steps, self.steps_a_call):
            state = self.training(state, self.images, self.labels, order, rates, steps=part.stop - part.start)
        self.parameters, self.squares, self.key = state[:3]
        self.mean_loss = float(state.total) / steps

    def infer(self, steps: int) -> None:
        answers, step = self.answers, jnp.zeros((), jnp.int32)
        for part in chunks(steps, self.steps_a_call):
            answers, step = self.answering(self.parameters, self.images, answers, step,
                                           steps=part.stop - part.start, batch_size=self.batch_size)
        self.answers = answers
        np.asarray(answers)

    def schedule(self, rates: np.ndarray) -> None:
        self.rates = rates.astype(np.float32)

    def predict(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        answers = [self.answer(self.parameters, images[rows]) for rows in chunks(len(images), batch_size)]
        return np.concatenate([np.asarray(answer).argmax(1) for answer in answers])


def training(
    workload: Workload, state: State, images: jax.Array, labels: jax.Array, order: jax.Array, rates: jax.Array,
    steps: int,
) -> State:
    """Returns the state after `steps` steps with RMSprop."""

    def step(_: int, state: State) -> State:
        weights, squares, key, total, number = state
        key, own = jax.random.split(key)
        rows = order[number]
        weights, squares, loss = rmsprop_step(
            workload, weights, squares, images[rows], labels[rows], rates[number], own)
        return State(weights, squares, key, total + loss, number + 1)

    return step(0, state) if steps == 1 else lax.fori_loop(0, steps, step, state)


def answering(
    workload: Workload, weights: list, images: jax.Array, answers: jax.Array, step: jax.Array, steps: int,
    batch_size: int,
) -> tuple[jax.Array, jax.Array]:
    """Computes the predictions of the next `steps` batches from batch number `step`. Returns `answers`
    (N, classes) with these predictions, and the number of the batch after them.
    """

    def body(_: int, carry: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        answers, step = carry
        x = lax.dynamic_slice_in_dim(images, step * batch_size, batch_size)
        found = jax.nn.softmax(logits(workload, weights, x))
        return lax.dynamic_update_slice_in_dim(answers, found, step * batch_size, 0), step + 1

    return body(0, (answers, step)) if steps == 1 else lax.fori_loop(0, steps, body, (answers, step))


def fifty_steps(workload: Workload, threads: int, mode: str, seed: int) -> JaxOnGpu:
    return JaxOnGpu(workload, threads, mode, seed, steps_a_call=50)
