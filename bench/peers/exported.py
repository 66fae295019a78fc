"""The base class of the inference engines, which read an ONNX file that PyTorch exported."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from .base import Peer, chunks
from .channels_first import transpose_images


class OnnxPeer(Peer):
    """A peer that reads an ONNX model. PyTorch exports the model in a separate process, so that
    PyTorch's memory and threads are not counted for the engine.
    """

    def read_model(self, model: Path) -> None:
        """Loads the net, for batches of any size, from an ONNX file. The file is deleted afterwards."""
        raise NotImplementedError

    def convert(self, images: np.ndarray) -> Any:
        """Converts a batch of images (N, C, H, W) to the engine's preferred form."""
        return images

    def answer(self, images: Any) -> np.ndarray:
        """Returns the class probabilities (N, classes) for a result of `convert`."""
        raise NotImplementedError

    def load(self, weights: list[np.ndarray]) -> None:
        self.initial_weights = weights
        with tempfile.TemporaryDirectory() as folder:
            arrays, model = Path(folder) / "weights.npz", Path(folder) / "net.onnx"
            np.savez(arrays, *weights)
            subprocess.run([sys.executable, "-m", "bench.peers.export", self.workload.name, arrays, model], check=True)
            self.read_model(model)

    def weights(self) -> list[np.ndarray]:
        return self.initial_weights

    def loss(self, images: np.ndarray, labels: np.ndarray) -> float:
        shares = self.answer(self.convert(transpose_images(images)))
        return float(-np.log(np.take_along_axis(shares, labels[:, None], axis=1).astype(np.float64)).mean())

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        self.batches = [self.convert(transpose_images(images[rows])) for rows in chunks(len(images), batch_size)]

    def infer(self, steps: int) -> None:
        for batch in self.batches[:steps]:
            self.answer(batch)

