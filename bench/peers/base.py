"""Defines the interface of all peers."""

import time

import numpy as np

from ..workloads import Workload

TRAINING = ("train", "infer", "start", "accuracy")
INFERENCE = ("infer",)


class Peer:
    """One framework in one configuration, with one net.

    The harness calls `load` with the common initial weights, and `hold` with the data, which the peer
    stores in its framework's preferred form. Then the harness calls `train` or `infer` many times, and
    times these calls. `train(steps)` trains on `steps` batches in a new random order. `infer(steps)`
    classifies the same batches. Both return after the GPU, if any, has finished: `train` has copied the
    mean loss to the host, and `infer` has computed all predictions.
    """

    shuffle = True  # if False, `train` keeps the order of batches, so that the results of all peers are comparable

    def __init__(self, workload: Workload, threads: int, mode: str, seed: int) -> None:
        self.workload, self.threads, self.mode, self.seed = workload, threads, mode, seed

    def versions(self) -> dict[str, str]:
        """Returns the versions of the framework and of its compute libraries."""
        raise NotImplementedError

    def load(self, weights: list[np.ndarray]) -> None:
        """Sets the weights, in Keras's order and layout."""
        raise NotImplementedError

    def weights(self) -> list[np.ndarray]:
        """Returns the current weights, in Keras's order and layout."""
        raise NotImplementedError

    def loss(self, images: np.ndarray, labels: np.ndarray) -> float:
        """Returns the mean cross-entropy of one batch, without dropout."""
        raise NotImplementedError

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        """Stores images (N, H, W, C) float32 and labels (N,). N must be a multiple of the batch size.
        """
        raise NotImplementedError

    def train(self, steps: int) -> None:
        raise NotImplementedError

    def infer(self, steps: int) -> None:
        raise NotImplementedError

    def seconds(self, mode: str, steps: int, passes: int = 1) -> float:
        """Returns the seconds of `passes` passes of `steps` steps. mode: "train" or "infer"."""
        run = self.train if mode == "train" else self.infer
        begun = time.perf_counter()
        for _ in range(passes):
            run(steps)
        return time.perf_counter() - begun

    def schedule(self, rates: np.ndarray) -> None:
        """Sets the learning rates (steps,) of the next steps. May be called only once, and only before
        the first step.
        """
        raise NotImplementedError

    def predict(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        """Returns the most likely class of each image (N,)."""
        raise NotImplementedError


def chunks(count: int, size: int) -> list[slice]:
    """Returns a slice of rows for each batch of `size` rows. The last batch may be smaller."""
    return [slice(i, min(i + size, count)) for i in range(0, count, size)]
