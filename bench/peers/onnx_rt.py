"""Runs ONNX Runtime: inference with all of its graph optimizations, which is its default."""

from pathlib import Path

import numpy as np
import onnxruntime

from .exported import Exported


class OnnxRuntime(Exported):
    def versions(self) -> dict[str, str]:
        return {"onnxruntime": onnxruntime.__version__}

    def read(self, model: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(model.read_bytes(), options, ["CPUExecutionProvider"])

    def answer(self, images: np.ndarray) -> np.ndarray:
        return self.session.run(["shares"], {"images": images})[0]
