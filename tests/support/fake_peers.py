"""Peers that need no framework: the net in NumPy, right or altered."""

import time

import numpy as np

from bench import reference
from bench.peers.base import Peer


class Honest(Peer):
    """Does what it must: its loss is right, and training changes all weights."""

    def versions(self):
        return {"fake": "1"}

    def load(self, weights):
        self.own = [w.copy() for w in weights]

    def weights(self):
        return self.own

    def loss(self, images, labels):
        return reference.loss(self.workload, self.own, images, labels)

    def hold(self, images, labels, batch_size):
        self.held = len(images)

    def train(self, steps):
        for w in self.own:
            w += 1e-3

    def infer(self, steps):
        sum(range(10_000 * steps))

    def schedule(self, rates):
        self.rates = rates

    def predict(self, images, batch_size):
        return np.zeros(len(images), np.int64)


class OtherLoss(Honest):
    """Forgets the first bias."""

    def loss(self, images, labels):
        altered = [w if i != 1 else 0 * w for i, w in enumerate(self.own)]
        return reference.loss(self.workload, altered, images, labels)


class FewerParameters(Honest):
    """Has a net without its last bias."""

    def weights(self):
        return self.own[:-1]


class Lazy(Honest):
    """Does not train its last layer."""

    def train(self, steps):
        for w in self.own[:-1]:
            w += 1e-3


class Broken(Honest):
    """Dies while it warms up."""

    def train(self, steps):
        raise RuntimeError("the kernel is gone")


class Slower(Honest):
    """Needs three times as long as `Steady`."""

    def infer(self, steps):
        time.sleep(0.03 * steps)


class Steady(Honest):
    def infer(self, steps):
        time.sleep(0.01 * steps)


class Stuck(Honest):
    """Never ends its sixth call."""

    calls = 0

    def infer(self, steps):
        self.calls += 1
        time.sleep(600 if self.calls > 5 else 0.01)


def hang():
    """A function that never returns."""
    time.sleep(600)
