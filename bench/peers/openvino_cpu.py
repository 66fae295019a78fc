"""Runs inference with OpenVINO in float32, compiled for one shape and for the lowest latency."""

from pathlib import Path

import numpy as np
import openvino

from .exported import OnnxPeer


class OpenVino(OnnxPeer):
    def versions(self) -> dict[str, str]:
        return {"openvino": openvino.__version__.partition("-")[0]}

    def read_model(self, model: Path) -> None:
        self.core, self.requests = openvino.Core(), {}  # type: ignore[var-annotated]
        self.model = self.core.read_model(model.read_bytes())

    def answer(self, images: np.ndarray) -> np.ndarray:
        request = self.requests.get(images.shape)
        if request is None:
            request = self.requests[images.shape] = self._compile(images.shape).create_infer_request()
        request.infer([images], share_inputs=True)
        return request.get_output_tensor().data

    def _compile(self, shape: tuple[int, ...]) -> openvino.CompiledModel:
        self.model.reshape(shape)
        return self.core.compile_model(self.model, "CPU", {
            "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": self.threads,
        })
