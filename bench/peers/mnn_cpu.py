"""Runs MNN: inference on MNN's own format of the exported net, in float32 (precision "high")."""

import subprocess
import sys
from pathlib import Path

import MNN
import numpy as np

from .exported import Exported

# What `mnnconvert` calls. That command, and its module, would install a logger from PyPI that reports each conversion.
CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv)"


class Mnn(Exported):
    def versions(self) -> dict[str, str]:
        return {"mnn": MNN.version()}

    def read(self, model: Path) -> None:
        converted = model.with_suffix(".mnn")
        subprocess.run([sys.executable, "-c", CONVERT, "-f", "ONNX", "--modelFile", model, "--MNNModel", converted],
                       check=True, stdout=sys.stderr)
        self.net = MNN.Interpreter(str(converted))
        self.session = self.net.createSession({"backend": "CPU", "numThread": self.threads, "precision": "high"})
        self.shape: tuple[int, ...] = ()  # what the session is made for

    def held(self, images: np.ndarray) -> MNN.Tensor:
        return MNN.Tensor(images.shape, MNN.Halide_Type_Float, images, MNN.Tensor_DimensionType_Caffe)

    def answer(self, images: MNN.Tensor) -> np.ndarray:
        given, shape = self.net.getSessionInput(self.session), images.getShape()
        if shape != self.shape:
            self.net.resizeTensor(given, shape)
            self.net.resizeSession(self.session)
            self.shape, self.shares = shape, self.held(np.zeros((shape[0], self.workload.classes), np.float32))
        given.copyFrom(images)
        self.net.runSession(self.session)
        self.net.getSessionOutput(self.session).copyToHostTensor(self.shares)
        return np.array(self.shares.getNumpyData())
