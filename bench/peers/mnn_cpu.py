"""MNN: inference on its own form of the exported net, in float32 (precision "high")."""

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

    def answer(self, images: np.ndarray) -> np.ndarray:
        given = self.net.getSessionInput(self.session)
        if given.getShape() != images.shape:
            self.net.resizeTensor(given, images.shape)
            self.net.resizeSession(self.session)
        given.copyFrom(_tensor(images))
        self.net.runSession(self.session)
        shares = np.empty((len(images), self.workload.classes), np.float32)
        self.net.getSessionOutput(self.session).copyToHostTensor(_tensor(shares))
        return shares


def _tensor(array: np.ndarray) -> MNN.Tensor:
    return MNN.Tensor(array.shape, MNN.Halide_Type_Float, array, MNN.Tensor_DimensionType_Caffe)
