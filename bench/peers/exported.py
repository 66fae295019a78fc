"""What the inference engines share: they read PyTorch's export of the same weights, and answer batches."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .base import Peer, chunks
from .channels_first import transposed


class Exported(Peer):
    """PyTorch exports the net in a process of its own, so that its memory and threads are not counted here."""

    def read(self, model: Path) -> None:
        """Takes the net, a file in ONNX's format that is gone afterwards, with any number of images in a batch."""
        raise NotImplementedError

    def held(self, images: np.ndarray) -> Any:
        """A batch of images (N, C, H, W) in the form that the engine likes best."""
        return images

    def answer(self, images: Any) -> np.ndarray:
        """The shares of the classes (N, classes) for what `held` gave."""
        raise NotImplementedError

    def load(self, weights: list[np.ndarray]) -> None:
        self.given = weights
        with tempfile.TemporaryDirectory() as folder:
            arrays, model = Path(folder) / "weights.npz", Path(folder) / "net.onnx"
            np.savez(arrays, *weights)
            subprocess.run([sys.executable, "-m", "bench.peers.export", self.workload.name, arrays, model], check=True)
            self.read(model)

    def weights(self) -> list[np.ndarray]:
        return self.given

    def loss(self, images: np.ndarray, labels: np.ndarray) -> float:
        shares = self.answer(self.held(transposed(images)))
        return float(-np.log(shares[np.arange(len(labels)), labels].astype(np.float64)).mean())

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        self.batches = [self.held(transposed(images[rows])) for rows in chunks(len(images), batch_size)]

    def infer(self, steps: int) -> None:
        for batch in self.batches[:steps]:
            self.answer(batch)

