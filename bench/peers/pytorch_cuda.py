"""Runs PyTorch on a GPU in three configurations: launch by launch, compiled, and with a whole step as
one CUDA graph.

Images (channels_last), labels, the order of samples in an epoch and the running loss are on the GPU.
Products use TF32.
"""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from ..workloads import EPSILON, RHO, Workload
from .base import chunks
from .pytorch import Torch


class Eager(Torch):
    """Launches each operation separately. An operation of the optimizer processes all weights in one
    launch (`foreach`).
    """

    # whether the optimizer reads the learning rate from a tensor, as a captured step must
    rate_on_gpu = False

    def __init__(self, workload: Workload, threads: int, mode: str, seed: int, device: str = "cuda") -> None:
        super().__init__(workload, threads, mode, seed, channels_last=True, device=device)
        torch.set_float32_matmul_precision("high")  # TF32; convolutions use it by default
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cudnn.benchmark = True
        self.rate = torch.tensor(1e-3, device=self.device)
        capturable = self.rate_on_gpu and self.device.type == "cuda"
        self.optimizer = torch.optim.RMSprop(
            self.net.parameters(), lr=self.rate if self.rate_on_gpu else 1e-3, alpha=RHO, eps=EPSILON, foreach=True,
            capturable=capturable)
        self.total = torch.zeros((), device=self.device)
        self.rate_schedule: Iterator[float] | None = None

    def versions(self) -> dict[str, str]:
        return super().versions() | {"cudnn": str(torch.backends.cudnn.version())}

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        """Stores the images as (N, H, W, C), so that a batch is channels_last without a copy."""
        self.images, self.labels = torch.from_numpy(images).to(self.device), self._labels(labels)
        self.batch_size = batch_size
        self.answers = torch.empty((len(images), self.workload.classes), device=self.device)

    def train(self, steps: int) -> None:
        self.net.train()
        count = steps * self.batch_size
        order = torch.randperm(count, device=self.device) if self.shuffle else torch.arange(count, device=self.device)
        self.total.zero_()
        for rows in order.split(self.batch_size):
            if self.rate_schedule is not None:
                self.set_rate(next(self.rate_schedule))
            self.step(rows)
        self.mean_loss = self.total.item() / steps

    def step(self, rows: torch.Tensor) -> None:
        """Runs one training step on the samples `rows` (batch_size,)."""
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.criterion(self.images[rows], self.labels[rows])
        loss.backward()
        self.optimizer.step()
        self.total += loss.detach()

    def criterion(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(self.net(images.permute(0, 3, 1, 2)), labels)

    def infer(self, steps: int) -> None:
        self.net.eval()
        with torch.inference_mode():
            for rows in chunks(steps * self.batch_size, self.batch_size):
                self.answers[rows] = self.answer(self.images[rows])
            self.answers.cpu()

    def answer(self, images: torch.Tensor) -> torch.Tensor:
        return F.softmax(self.net(images.permute(0, 3, 1, 2)), dim=1)

    def schedule(self, rates: np.ndarray) -> None:
        self.rate_schedule = iter(rates.tolist())

    def set_rate(self, rate: float) -> None:
        if self.rate_on_gpu:
            self.rate.fill_(rate)
        else:
            self.optimizer.param_groups[0]["lr"] = rate


class TorchCompile(Eager):
    """Runs the forward and backward passes with torch.compile, which replays them as CUDA graphs
    (`reduce-overhead`). The optimizer's step is compiled as well.
    """

    # a plain number would be a compiled constant, so that each new rate would need a compilation
    rate_on_gpu = True

    def __init__(self, workload: Workload, threads: int, mode: str, seed: int, device: str = "cuda") -> None:
        super().__init__(workload, threads, mode, seed, device)
        self.compiled_loss = torch.compile(self.criterion, mode="reduce-overhead", dynamic=False)
        self.compiled_answer = torch.compile(self.answer, mode="reduce-overhead", dynamic=False)
        self.update = torch.compile(self.optimizer.step)

    def step(self, rows: torch.Tensor) -> None:
        torch.compiler.cudagraph_mark_step_begin()
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.compiled_loss(self.images[rows], self.labels[rows])
        loss.backward()
        self.update()
        self.total += loss.detach()

    def infer(self, steps: int) -> None:
        self.net.eval()
        with torch.no_grad():  # a CUDA graph's replay does not accept inference tensors
            for rows in chunks(steps * self.batch_size, self.batch_size):
                torch.compiler.cudagraph_mark_step_begin()
                self.answers[rows] = self.compiled_answer(self.images[rows])
            self.answers.cpu()


class CudaGraph(Eager):
    """Captures the whole step once, as in PyTorch's documentation of `torch.cuda.CUDAGraph`. Every step
    is then a replay of this graph.
    """

    rate_on_gpu = True

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        super().hold(images, labels, batch_size)
        self.rows = torch.arange(batch_size, device=self.device)
        self.images_now = self.images[self.rows]
        self.graph = self._capture_training() if self.mode != "infer" else self._capture_answer()

    def step(self, rows: torch.Tensor) -> None:
        self.rows.copy_(rows)
        self.graph.replay()

    def infer(self, steps: int) -> None:
        with torch.inference_mode():
            for rows in chunks(steps * self.batch_size, self.batch_size):
                self.images_now.copy_(self.images[rows])
                self.graph.replay()
                self.answers[rows] = self.answer_now
            self.answers.cpu()

    def _capture_training(self) -> Any:
        """Captures the step as a graph. Restores the weights, which the runs before the capture train."""
        self.net.train()
        before = [p.detach().clone() for p in self.net.parameters()]
        graph = capture_graph(lambda: Eager.step(self, self.rows))
        with torch.no_grad():
            for parameter, value in zip(self.net.parameters(), before):
                parameter.copy_(value)
            for state in self.optimizer.state.values():
                state["square_avg"].zero_()
        return graph

    def _capture_answer(self) -> Any:
        self.net.eval()

        def answer() -> None:
            with torch.no_grad():
                self.answer_now = self.answer(self.images_now)

        return capture_graph(answer)


def capture_graph(function: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """Captures `function` as a CUDA graph. First runs it a few times on a separate stream, so that
    cuDNN chooses its algorithms.
    """
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            function()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        function()
    return graph
