"""Checks that all peers do equal work. A peer whose net computes other results is not timed."""

from functools import cached_property
from math import isfinite
from statistics import median
from typing import Any

from . import reference, workloads

TOLERANCE = 1e-4  # allowed difference of the loss on the first batch
# allowed difference with TF32, which changes means over a batch by about 1e-5
TOLERANCE_TF32 = 3e-4
# allowed relative difference of the loss after the warm-up, whose batches have a fixed order
SAME_TRAINING = 0.02

# The nets whose loss after the warm-up is compared. In larger nets this loss depends on the
# framework, because RMSprop's first steps (about three times the learning rate per weight) overshoot,
# and because dropout draws different numbers.
STEADY = ("lecture", "cifar")


class WrongNetError(RuntimeError):
    """A peer's net differs from the other peers' net."""


class Reference:
    """The number of parameters and the loss on the first batch that every peer's net must have. NumPy
    computes the loss from the workload's definition in float64.
    """

    def __init__(self, workload: workloads.Workload, batch_size: int, tolerance: float = TOLERANCE) -> None:
        self.workload, self.tolerance = workload, tolerance
        self.image_count = min(batch_size, workloads.CHECKED)
        self.weights = workloads.weights(workload)
        self.parameters = sum(w.size for w in self.weights)

    @cached_property
    def loss(self) -> float:
        return reference.loss(self.workload, self.weights, *workloads.data(self.workload, self.image_count))

    def check(self, name: str, ready: dict[str, Any]) -> None:
        """Raises WrongNetError unless the peer's net has the same number of parameters and a loss
        within the tolerance.
        """
        if ready["parameters"] != self.parameters:
            raise WrongNetError(f"{name} has {ready['parameters']:,} parameters; the net has {self.parameters:,}.")
        if not abs(ready["loss"] - self.loss) <= self.tolerance:
            raise WrongNetError(f"{name} computes a loss of {ready['loss']:.6f} on the first batch "
                                f"instead of {self.loss:.6f}. The allowed difference is {self.tolerance}.")


def check_trained(name: str, warm: dict[str, Any], mode: str) -> None:
    """Raises WrongNetError if training left a weight unchanged, or inference changed one."""
    if mode == "train" and warm["unchanged"]:
        raise WrongNetError(f"{name} trained, but {warm['unchanged']} of its {warm['arrays']} "
                            "weights are unchanged.")
    if mode == "infer" and warm["unchanged"] < warm["arrays"]:
        changed = warm["arrays"] - warm["unchanged"]
        raise WrongNetError(f"{name} should only infer, but {changed} weights changed.")


def find_outliers(workload: str, losses: dict[str, float]) -> dict[str, WrongNetError]:
    """Returns an error for each peer whose loss after the same steps differs too much from the median
    of all peers. `losses` and the result are keyed by peer.
    """
    finite = [loss for loss in losses.values() if isfinite(loss)]
    if workload not in STEADY or not finite:
        return {}
    usual = median(finite)
    return {name: WrongNetError(f"{name} has a loss of {loss:.4f} after the warm-up's steps; most have {usual:.4f}.")
            for name, loss in losses.items() if not abs(loss - usual) <= SAME_TRAINING * usual}
