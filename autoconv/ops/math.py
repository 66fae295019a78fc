"""Functions of keras.ops that NumPy lacks or has only in a submodule."""


import numpy as np

from ..engine.tensor import Tensor, tensor
from ..functional.layer_functions import TensorLike
from . import numpy as knp
from .arranging import Axes
from .core import accept_any_tensor, operand

__all__ = ["in_top_k", "logsumexp", "norm", "top_k"]


def logsumexp(x: TensorLike, axis: Axes = None, keepdims: bool = False) -> Tensor:
    """log(sum(exp(x))) along `axis`, without overflow."""
    x = knp.floats(operand(x))
    largest = knp.max(x, axis, True).detach()
    largest = knp.where(knp.isfinite(largest), largest, 0.0)
    result = knp.log(knp.exp(x - largest).sum(axis, True)) + largest
    if keepdims:
        return result
    return result.reshape(()) if axis is None else knp.squeeze(result, axis)


def norm(x: TensorLike, ord: int | str | None = None, axis: Axes = None,
         keepdims: bool = False) -> Tensor:
    """Returns the norm along `axis`, or of all elements. ord: 1 for the L1 norm; None, 2 or "fro" for the L2 norm."""
    x = knp.floats(operand(x))
    if ord in (None, 2, "fro"):
        return knp.sqrt((x * x).sum(axis, keepdims))
    if ord == 1:
        return knp.abs(x).sum(axis, keepdims)
    raise ValueError(f"ord must be None, 1, 2 or 'fro'. Received: {ord!r}. For other norms use numpy.linalg.norm.")


def top_k(x: TensorLike, k: int, sorted: bool = True) -> tuple[Tensor, Tensor]:
    """Returns the k largest elements along the last axis, in descending order, and their indices."""
    x = operand(x)

    def sort_descending(values: np.ndarray) -> np.ndarray:
        """Returns the indices of the k largest values, largest first. Equal values keep their order."""
        last = values.shape[-1] - 1
        return (last - np.argsort(values[..., ::-1], -1, kind="stable")[..., ::-1][..., :k]).astype(np.int32)

    indices = knp._call_numpy(sort_descending, x)
    return knp.apply_order(x, indices, -1), indices


def in_top_k(targets: TensorLike, predictions: TensorLike, k: int) -> Tensor:
    """Returns whether each target class (N,) is among the k largest predictions (N, C)."""
    scores = operand(predictions).detach().numpy()
    classes = np.asarray(operand(targets).numpy())
    target_scores = np.take_along_axis(scores, classes[:, None].astype(int), -1)
    return tensor(((scores > target_scores).sum(-1) < k) & np.isfinite(target_scores[:, 0]))


accept_any_tensor(globals(), __all__)
