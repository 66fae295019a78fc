"""Nobody is timed on a wrong net: what a peer must show before its first round."""

from typing import Any

from . import reference, workloads

TOLERANCE = 1e-4  # of the loss


class WrongNetError(RuntimeError):
    """A peer's net is not the one that the others have."""


class Expected:
    """What the net of a workload must show on the first batch, from its definition in NumPy and float64."""

    def __init__(self, workload: workloads.Workload, batch_size: int) -> None:
        given = workloads.weights(workload)
        self.parameters = sum(w.size for w in given)
        self.loss = reference.loss(workload, given, *workloads.data(workload, batch_size))

    def check(self, name: str, ready: dict[str, Any]) -> None:
        """Raises WrongNetError unless the number of parameters is the same, and the loss within the tolerance."""
        if ready["parameters"] != self.parameters:
            raise WrongNetError(f"{name} has {ready['parameters']:,} parameters; the net has {self.parameters:,}.")
        if not abs(ready["loss"] - self.loss) <= TOLERANCE:
            raise WrongNetError(f"{name} computes a loss of {ready['loss']:.6f} on the first batch; {self.loss:.6f} is "
                                f"right. They may differ by {TOLERANCE}.")


def check_trained(name: str, warm: dict[str, Any], mode: str) -> None:
    """Raises WrongNetError where training left a weight as it was, or inference changed one."""
    if mode == "train" and warm["unchanged"]:
        raise WrongNetError(f"{name} trained, but {warm['unchanged']} of its {warm['arrays']} weights are as before.")
    if mode == "infer" and warm["unchanged"] < warm["arrays"]:
        changed = warm["arrays"] - warm["unchanged"]
        raise WrongNetError(f"{name} was asked for answers alone, but {changed} weights changed.")
