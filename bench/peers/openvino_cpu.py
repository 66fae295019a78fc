"""Runs OpenVINO: inference compiled for one shape and for minimum latency, in float32."""

from pathlib import Path

import numpy as np
import openvino

from .exported import Exported


class OpenVino(Exported):
    def versions(self) -> dict[str, str]:
        return {"openvino": openvino.__version__.partition("-")[0]}

    def read(self, model: Path) -> None:
        self.core, self.requests = openvino.Core(), {}  # type: ignore[var-annotated]
        self.model = self.core.read_model(model.read_bytes())

    def answer(self, images: np.ndarray) -> np.ndarray:
        request = self.requests.get(images.shape)
        if request is None:
            request = self.requests[images.shape] = self._compiled(images.shape).create_infer_request()
        request.infer([images], share_inputs=True)
        return request.get_output_tensor().data

    def _compiled(self, shape: tuple[int, ...]) -> openvino.CompiledModel:
        self.model.reshape(shape)
        return self.core.compile_model(self.model, "CPU", {
            "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": self.threads,
        })
