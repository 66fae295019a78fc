"""Defines the interface of all peers."""

import time

import numpy as np

from ..workloads import Workload

TRAINING = ("train", "infer", "start", "accuracy")
INFERENCE = ("infer",)


class Peer:
    """One framework in one configuration, with one net.

    The benchmarks call `load` (initial weights), `hold` (data, preloaded in the best form for the framework), then
    `train` or `infer` many times, and measure the time. `train(steps)` processes that many batches once in a new random
    order. `infer(steps)` classifies the same batches and returns when all answers are complete. On a GPU both return
    when the GPU has finished: `train` with the mean loss on the host, `infer` with the answers.
    """

    shuffle = True  # where False, `train` takes the batches as they come: those who must end alike train so

    def __init__(self, workload: Workload, threads: int, mode: str, seed: int) -> None:
        self.workload, self.threads, self.mode, self.seed = workload, threads, mode, seed

    def versions(self) -> dict[str, str]:
        """Returns the versions of the framework and of its computing libraries."""
        raise NotImplementedError

    def load(self, weights: list[np.ndarray]) -> None:
        """Sets the weights, given in Keras's order and layout."""
        raise NotImplementedError

    def weights(self) -> list[np.ndarray]:
        """Returns the current weights in Keras's order and layout."""
        raise NotImplementedError

    def loss(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Returns the mean cross-entropy of one batch, without dropout."""
        raise NotImplementedError

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        """Stores images (N, H, W, C) float32 and labels (N,), where N is a multiple of the batch size."""
        raise NotImplementedError

    def train(self, steps: int) -> None:
        raise NotImplementedError

    def infer(self, steps: int) -> None:
        raise NotImplementedError

    def seconds(self, mode: str, steps: int, passes: int = 1) -> float:
        """Returns the time to train or infer that many steps `passes` times."""
        run = self.train if mode == "train" else self.infer
        begun = time.perf_counter()
        for _ in range(passes):
            run(steps)
        return time.perf_counter() - begun

    def schedule(self, rates: np.ndarray) -> None:
        """Sets the learning rates (steps,) of the next steps. Called at most once, before the first step."""
        raise NotImplementedError

    def predict(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        """Returns the most likely class of each image (N,)."""
        raise NotImplementedError


def chunks(count: int, size: int) -> list[slice]:
    """Yields the rows of each batch; the last one may be smaller."""
    return [slice(i, min(i + size, count)) for i in range(0, count, size)]
