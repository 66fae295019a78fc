"""Measures a net's images per second in training and inference."""

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np

from ... import losses, utils
from ... import optimizers as optim
from ...engine.costs import counting, stats, timing
from ...files.json_text import JsonObject
from ...kernels.device import Device
from .suite import TimedNet

DATA = 32e6  # approximate bytes of all images, which are 4 to 100 batches

KINDS = {"train": "train", "infer": "predict"}  # kinds of recorded steps, by mode


class NetUnderTest:
    """A net on a device, with data in memory, ready to run steps."""

    def __init__(self, net: TimedNet, batch_size: int, device: Device) -> None:
        self.batch_size = batch_size
        batches = int(np.clip(DATA / (4 * batch_size * prod(net.input_shape)), 4, 100))
        self.net = net.build().to(device.name)
        self.net.compile(optim.RMSprop(), losses.CategoricalCrossentropy(from_logits=net.from_logits))
        random = np.random.default_rng(0)
        count = batches * batch_size
        self.x = random.random((count, *net.input_shape), np.float32)
        self.y = utils.to_categorical(random.integers(0, net.classes, count), net.classes).astype(np.float32)

    def calls(self) -> dict[str, Callable[[], Any]]:
        """Returns the function that each mode times: one epoch of `fit`, or `predict_on_batch`."""
        one = self.x[: self.batch_size]
        return {
            "train": lambda: self.net.fit(self.x, self.y, self.batch_size, verbose=0),
            "infer": lambda: self.net.predict_on_batch(one),
        }

    def images(self, mode: str) -> int:
        """Returns the number of images per call of a mode."""
        return len(self.x) if mode == "train" else self.batch_size

    def flops(self, mode: str) -> float:
        """Returns the operations per image; in training these include the gradients."""
        shapes = counting.infer_shapes(self.net.graph, [(1, *self.net.input_shape[1:])])
        counts = [2 * counting.multiply_adds(node.operation, *counting.call_shapes(self.net.graph, node, shapes))
                  for node in self.net.graph.nodes if node.inputs]
        return sum(counts) if mode == "infer" else 3 * sum(counts) - next(filter(None, counts), 0)


def measure(timed_net: TimedNet, batch_size: int, device: Device, rounds: int, seconds: float,
            report: Callable[[str], None]) -> dict[str, JsonObject]:
    """Alternates training and inference for `rounds` rounds. Returns the results by mode."""
    net = NetUnderTest(timed_net, batch_size, device)
    calls = net.calls()
    counts = {}
    for mode, call in calls.items():
        report(f"{mode}: warm-up")
        counts[mode] = timing.repetitions(call, seconds)
    durations: dict[str, list[float]] = {mode: [] for mode in calls}
    for i in range(rounds):
        report(f"round {i + 1}/{rounds}")
        for mode, call in calls.items():
            durations[mode].append(timing.time_call(call, counts[mode]))
    return {
        mode: {
            "seconds": [t * net.batch_size / net.images(mode) for t in times],  # per step
            "images_per_s": stats.spread([net.images(mode) / t for t in times]),
            "flops_per_image": net.flops(mode),
            **({"graph": net.net.graph_report().get(KINDS[mode])} if device.captures_graphs else {}),
        }
        for mode, times in durations.items()
    }
