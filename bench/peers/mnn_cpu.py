"""Runs inference in float32 (precision "high") with MNN, which first converts the exported net."""

import subprocess
import sys
from pathlib import Path

import MNN
import numpy as np

from .exported import OnnxPeer

# Calls the function behind the command `mnnconvert`. The command and its module would install a logger
# from PyPI that reports each conversion.
CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv)"


class Mnn(OnnxPeer):
    def versions(self) -> dict[str, str]:
        return {"mnn": MNN.version()}

    def read_model(self, model: Path) -> None:
        converted = model.with_suffix(".mnn")
        subprocess.run([sys.executable, "-c", CONVERT, "-f", "ONNX", "--modelFile", model, "--MNNModel", converted],
                       check=True, stdout=sys.stderr)
        self.net = MNN.Interpreter(str(converted))
        self.session = self.net.createSession({"backend": "CPU", "numThread": self.threads, "precision": "high"})
        self.shape: tuple[int, ...] = ()  # the input shape of the session

    def convert(self, images: np.ndarray) -> MNN.Tensor:
        return MNN.Tensor(images.shape, MNN.Halide_Type_Float, images, MNN.Tensor_DimensionType_Caffe)

    def answer(self, images: MNN.Tensor) -> np.ndarray:
        session_input, shape = self.net.getSessionInput(self.session), images.getShape()
        if shape != self.shape:
            self.net.resizeTensor(session_input, shape)
            self.net.resizeSession(self.session)
            self.shape = shape
            result = (shape[0], self.workload.classes, *self.workload.label_shape)
            self.shares = self.convert(np.zeros(result, np.float32))
        session_input.copyFrom(images)
        self.net.runSession(self.session)
        self.net.getSessionOutput(self.session).copyToHostTensor(self.shares)
        return np.array(self.shares.getNumpyData())
