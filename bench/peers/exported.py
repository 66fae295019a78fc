"""Shares code between the inference engines, which read PyTorch's export of the same weights and classify batches."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .base import Peer, chunks
from .channels_first import transposed


class Exported(Peer):
    """Lets PyTorch export the net in a separate process, so that PyTorch's memory and threads are not counted."""

    def read(self, model: Path) -> None:
        """Loads the net from an ONNX file, which is deleted afterwards, for any number of images in a batch."""
        raise NotImplementedError

    def held(self, images: np.ndarray) -> Any:
        """Returns a batch of images (N, C, H, W) in the best form for the engine."""
        return images

    def answer(self, images: Any) -> np.ndarray:
        """Returns the class probabilities (N, classes) for a result of `held`."""
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

