"""Runs inference with ONNX Runtime and all its graph optimizations, which are its default."""

from pathlib import Path

import numpy as np
import onnxruntime

from .exported import OnnxPeer


class OnnxRuntime(OnnxPeer):
    def versions(self) -> dict[str, str]:
        return {"onnxruntime": onnxruntime.__version__}

    def read_model(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model.read_bytes(), options, ["CPUExecutionProvider"])

    def answer(self, images: np.ndarray) -> np.ndarray:
        return self.session.run(["shares"], {"images": images})[0]
