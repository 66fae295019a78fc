"""PyTorch: a loop written by hand over tensors that are loaded already, in three configurations."""

from collections.abc import Iterator
from itertools import islice, repeat

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..workloads import (
    EPSILON,
    NORM_EPSILON,
    NORM_MOMENTUM,
    RHO,
    Conv,
    Dense,
    Dropout,
    Flatten,
    Norm,
    Pool,
    Scale,
    Workload,
    shapes,
)
from .base import Peer, chunks


class Multiply(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor


def network(workload: Workload) -> nn.Sequential:
    """The net up to its logits; PyTorch's loss takes those."""
    modules: list[nn.Module] = []
    for layer, before, _ in shapes(workload):
        match layer:
            case Conv(filters, kernel, padding, relu):
                modules += [nn.Conv2d(before[-1], filters, kernel, padding=padding), *([nn.ReLU()] if relu else [])]
            case Norm():  # PyTorch's momentum is the share that a step changes
                modules += [nn.BatchNorm2d(before[-1], NORM_EPSILON, 1 - NORM_MOMENTUM), nn.ReLU()]
            case Pool():
                modules.append(nn.MaxPool2d(2))
            case Flatten():
                modules.append(nn.Flatten())
            case Dense(units, relu):
                modules += [nn.Linear(before[0], units), *([nn.ReLU()] if relu else [])]
            case Dropout(rate):
                modules.append(nn.Dropout(rate))
            case Scale(factor):
                modules.append(Multiply(factor))
    return nn.Sequential(*modules)


class Torch(Peer):
    def __init__(
        self, workload: Workload, threads: int, mode: str, seed: int, channels_last: bool = False,
        compiled: bool = False, device: str = "cpu",
    ) -> None:
        super().__init__(workload, threads, mode, seed)
        torch.manual_seed(seed)
        torch.set_num_threads(threads)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.device = torch.device(device)
        self.net = network(workload).to(self.device, memory_format=self.format)
        self.run = self.net
        if compiled:
            freeze = {"freezing": True} if mode == "infer" else {}  # weights become constants; needs no gradients
            self.run = torch.compile(self.net, dynamic=False, options=freeze)
        self.optimizer = torch.optim.RMSprop(self.net.parameters(), lr=1e-3, alpha=RHO, eps=EPSILON)
        self.rates: Iterator[float] = repeat(1e-3)

    def versions(self) -> dict[str, str]:
        return {"torch": torch.__version__}

    def load(self, weights: list[np.ndarray]) -> None:
        with torch.no_grad():
            for own, array in zip(self._tensors(), self._exchanged(weights, to_torch=True), strict=True):
                own.copy_(torch.from_numpy(array))

    def weights(self) -> list[np.ndarray]:
        return self._exchanged([t.cpu().numpy() for t in self._tensors()], to_torch=False)

    def _tensors(self) -> list[torch.Tensor]:
        """All weights in Keras's order: a normalization's averages come behind its two parameters in both."""
        return [t for name, t in self.net.state_dict().items() if not name.endswith("num_batches_tracked")]

    def loss(self, images: np.ndarray, labels: np.ndarray) -> float:
        self.net.eval()
        with torch.inference_mode():
            return F.cross_entropy(self.run(self._images(images)), self._labels(labels)).item()

    def hold(self, images: np.ndarray, labels: np.ndarray, batch_size: int) -> None:
        self.images, self.labels, self.batch_size = self._images(images), self._labels(labels), batch_size
        self.batches = [self._in_format(self.images[rows]) for rows in chunks(len(images), batch_size)]

    def train(self, steps: int) -> None:
        self.net.train()
        count = steps * self.batch_size
        order = torch.randperm(count) if self.shuffle else torch.arange(count)
        for rows, rate in zip(order.split(self.batch_size), self.rates):
            self.optimizer.param_groups[0]["lr"] = rate
            self.optimizer.zero_grad()
            F.cross_entropy(self.run(self._in_format(self.images[rows])), self.labels[rows]).backward()
            self.optimizer.step()

    def infer(self, steps: int) -> None:
        self.net.eval()
        with torch.inference_mode():
            for batch in self.batches[:steps]:
                F.softmax(self.run(batch), dim=1)

    def schedule(self, rates: np.ndarray) -> None:
        self.rates = iter(rates.tolist())

    def predict(self, images: np.ndarray, batch_size: int) -> np.ndarray:
        self.net.eval()
        with torch.inference_mode():
            found = [self.run(self._images(images[rows])).argmax(1) for rows in chunks(len(images), batch_size)]
        return torch.cat(found).cpu().numpy()

    def _images(self, images: np.ndarray) -> torch.Tensor:
        return self._in_format(torch.from_numpy(images).to(self.device).permute(0, 3, 1, 2))

    def _labels(self, labels: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(labels).to(self.device)

    def _in_format(self, images: torch.Tensor) -> torch.Tensor:
        return images.contiguous(memory_format=self.format)

    def _exchanged(self, weights: list[np.ndarray], to_torch: bool) -> list[np.ndarray]:
        return list(exchanged(self.workload, weights, to_torch))


def exchanged(workload: Workload, weights: list[np.ndarray], to_torch: bool) -> Iterator[np.ndarray]:
    """Weights from Keras's layout to PyTorch's or back. The first dense layer's rows count (H, W, C) in the one and
    (C, H, W) in the other.
    """
    left, image = iter(weights), None
    for layer, before, _ in shapes(workload):
        if isinstance(layer, Flatten):
            image = before
        elif isinstance(layer, Conv):
            yield np.ascontiguousarray(next(left).transpose((3, 2, 0, 1) if to_torch else (2, 3, 1, 0)))
            yield next(left)
        elif isinstance(layer, Norm):
            yield from islice(left, 4)
        elif isinstance(layer, Dense):
            w = next(left)
            if to_torch:
                w = w.T if image is None else w.reshape(*image, -1).transpose(3, 2, 0, 1).reshape(w.shape[1], -1)
            else:
                h, wide, c = image or (1, 1, w.shape[1])
                w = w.reshape(-1, c, h, wide).transpose(2, 3, 1, 0).reshape(-1, len(w))
            yield np.ascontiguousarray(w)
            yield next(left)
            image = None


def eager(workload: Workload, threads: int, mode: str, seed: int) -> Torch:
    return Torch(workload, threads, mode, seed)


def channels_last(workload: Workload, threads: int, mode: str, seed: int) -> Torch:
    return Torch(workload, threads, mode, seed, channels_last=True)


def compiled(workload: Workload, threads: int, mode: str, seed: int) -> Torch:
    return Torch(workload, threads, mode, seed, channels_last=True, compiled=True)
