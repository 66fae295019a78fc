"""Checks that a framework computes the correct net before its first timed round."""

from functools import cached_property
from math import isfinite
from statistics import median
from typing import Any

from . import reference, workloads

TOLERANCE = 1e-4  # allowed difference of the loss
TOLERANCE_TF32 = 3e-4  # for products of numbers with 11 bits, whose mean has an error of about 1e-5
SAME_TRAINING = 0.02  # allowed difference of the loss after the warm-up, whose steps have the same order in all peers

# The nets whose loss after the warm-up is compared. In larger nets the first steps of RMSprop, three times the learning
# rate for each of millions of weights, overshoot, and dropout differs, so the loss depends on the framework.
STEADY = ("lecture", "cifar")


class WrongNetError(RuntimeError):
    """The net of a peer computes something different from the reference."""


class Expected:
    """The expected results of a net on the first batch, computed from its definition in NumPy and float64."""

    def __init__(self, workload: workloads.Workload, batch_size: int, tolerance: float = TOLERANCE) -> None:
        self.workload, self.tolerance = workload, tolerance
        self.checked = min(batch_size, workloads.CHECKED)
        self.weights = workloads.weights(workload)
        self.parameters = sum(w.size for w in self.weights)

    @cached_property
    def loss(self) -> float:
        return reference.loss(self.workload, self.weights, *workloads.data(self.workload, self.checked))

    def check(self, name: str, ready: dict[str, Any]) -> None:
        """Raises WrongNetError if the number of parameters differs, or if the loss differs by more than the tolerance.
        """
        if ready["parameters"] != self.parameters:
            raise WrongNetError(f"{name} has {ready['parameters']:,} parameters; the net has {self.parameters:,}.")
        if not abs(ready["loss"] - self.loss) <= self.tolerance:
            raise WrongNetError(f"{name} computes a loss of {ready['loss']:.6f} on the first batch; {self.loss:.6f} is "
                                f"correct. The difference must be at most {self.tolerance}.")


def check_trained(name: str, warm: dict[str, Any], mode: str) -> None:
    """Raises WrongNetError if training left a weight unchanged, or if inference changed one."""
    if mode == "train" and warm["unchanged"]:
        raise WrongNetError(f"{name} trained, but {warm['unchanged']} of its {warm['arrays']} weights did not change.")
    if mode == "infer" and warm["unchanged"] < warm["arrays"]:
        changed = warm["arrays"] - warm["unchanged"]
        raise WrongNetError(f"{name} was used only for inference, but {changed} weights changed.")


def trained_otherwise(workload: str, trained: dict[str, float]) -> dict[str, WrongNetError]:
    """Finds the peers whose loss after the same steps differs from most others. Takes {name: loss} and returns {name:
    error}.
    """
    finite = [loss for loss in trained.values() if isfinite(loss)]
    if workload not in STEADY or not finite:
        return {}
    usual = median(finite)
    return {name: WrongNetError(f"{name} has a loss of {loss:.4f} after the warm-up's steps; most have {usual:.4f}.")
            for name, loss in trained.items() if not abs(loss - usual) <= SAME_TRAINING * usual}
