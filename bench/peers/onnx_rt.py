"""ONNX Runtime: inference on PyTorch's export of the same weights."""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime

from ..workloads import Workload
from .base import Peer, chunks


class OnnxRuntime(Peer):
    """PyTorch exports the net in a process of its own, so that its memory and threads are not counted here."""

    def __init__(self, workload: Workload, threads: int, mode: str, seed: int) -> None:
        super().__init__(workload, threads, mode, seed)
        self.options = onnxruntime.SessionOptions()
        self.options.intra_op_num_threads = threads
        self.options.inter_op_num_threads = 1
        self.options.log_severity_level = 3

    def versions(self) -> dict[str, str]:
        return {"onnxruntime": onnxruntime.__version__}

    def load(self, weights: list[np.ndarray]) -> None:
        self.given = weights
        with tempfile.TemporaryDirectory() as folder:
            arrays, model = Path(folder) / "weights.npz", Path(folder) / "net.onnx"
            np.savez(arrays, *weights)
            subprocess.run([sys.executable, "-m", "bench.peers.export", self.workload.name, arrays, model], check=True)
            self.session = onnxruntime.InferenceSession(model.read_bytes(), self.options, ["CPUExecutionProvider"])

    def weights(self) -> list[np.ndarray]:
        return self.given

    def loss(self, images: np.ndarray, labels: np.ndarray) -> float:
        shares = self._answer(_channels_first(images))
        return float(-np.log(shares[np.arange(len(labels)), labels].astype(np.float64)).mean())

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        self.batches = [_channels_first(images[rows]) for rows in chunks(len(images), batch_size)]

    def infer(self, steps: int) -> None:
        for batch in self.batches[:steps]:
            self._answer(batch)

    def _answer(self, images: np.ndarray) -> np.ndarray:
        return self.session.run(["shares"], {"images": images})[0]


def _channels_first(images: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))
