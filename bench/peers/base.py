"""What every peer can do."""

import time

import numpy as np

from ..workloads import Workload

TRAINING = ("train", "infer", "start", "accuracy")
INFERENCE = ("infer",)


class Peer:
    """One framework in one configuration, with one net.

    The harness calls `load` (the weights all start from), `hold` (the data, preloaded in the form this framework likes
    best), then `train` or `infer` many times, and looks at the clock. `train(steps)` goes once through that many
    batches in a new random order; `infer(steps)` classifies the same batches, and all answers are there when it
    returns. On a GPU both end when the GPU is done: `train` with the mean loss on the host, `infer` with the answers.
    """

    shuffle = True  # where False, `train` takes the batches as they come: those who must end alike train so

    def __init__(self, workload: Workload, threads: int, mode: str, seed: int) -> None:
        self.workload, self.threads, self.mode, self.seed = workload, threads, mode, seed

    def versions(self) -> dict[str, str]:
        """Of the framework and what it computes with."""
        raise NotImplementedError

    def load(self, weights: list[np.ndarray]) -> None:
        """Takes the weights, in Keras's order and layout."""
        raise NotImplementedError

    def weights(self) -> list[np.ndarray]:
        """The weights as they are now, in Keras's order and layout."""
        raise NotImplementedError

    def loss(self, images: np.ndarray, labels: np.ndarray) -> float:
        """The mean cross-entropy of one batch, without dropout."""
        raise NotImplementedError

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        """Keeps images (N, H, W, C) float32 and labels (N,), N a multiple of the batch size."""
        raise NotImplementedError

    def train(self, steps: int) -> None:
        raise NotImplementedError

    def infer(self, steps: int) -> None:
        raise NotImplementedError

    def seconds(self, mode: str, steps: int, passes: int = 1) -> float:
        """How long it takes to train or infer `passes` times that many steps."""
        run = self.train if mode == "train" else self.infer
        begun = time.perf_counter()
        for _ in range(passes):
            run(steps)
        return time.perf_counter() - begun

    def schedule(self, rates: np.ndarray) -> None:
        """The learning rates (steps,) of the steps to come. Called at most once, before the first step."""
        raise NotImplementedError

    def predict(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        """The most likely class of each image (N,)."""
        raise NotImplementedError


def chunks(count: int, size: int) -> list[slice]:
    """The rows of each batch; the last one may be smaller."""
    return [slice(i, min(i + size, count)) for i in range(0, count, size)]
