"""Products of tensors that sum over pairs of axes. Each product is computed as a matrix product."""

from collections.abc import Sequence

import numpy as np

from ..engine.tensor import Tensor
from ..functional.layer_functions import TensorLike
from ..operators.arith import normalize_axes
from .arranging import diagonal
from .core import accept_any_tensor, cast, operand

__all__ = ["dot", "einsum", "tensordot"]


def dot(x1: TensorLike, x2: TensorLike) -> Tensor:
    """Sums products over the last axis of x1 and the second-to-last (or only) axis of x2: (..., K)
    and (..., K, M) -> (..., ..., M). If x1 or x2 is a single number, returns the other times this number.
    """
    a = operand(x1)
    b = operand(x2)
    if not len(a.shape) or not len(b.shape):
        return a * b
    return tensordot(a, b, ((-1,), (-2 if len(b.shape) > 1 else 0,)))


def tensordot(x1: TensorLike, x2: TensorLike,
              axes: int | Sequence[int | Sequence[int]] = 2) -> Tensor:
    """Sums products over pairs of axes. axes: two lists of axes, one for x1 and one for x2, or a
    number n for the last n axes of x1 and the first n of x2.
    """
    a = operand(x1)
    b = operand(x2)
    if isinstance(axes, Sequence):
        axes_a, axes_b = (normalize_axes(tuple(np.atleast_1d(numbers).tolist()), len(x.shape))
                          for numbers, x in zip(axes, (a, b)))
    else:
        axes_a = tuple(range(len(a.shape) - axes, len(a.shape)))
        axes_b = tuple(range(axes))
    if [a.shape[i] for i in axes_a] != [b.shape[i] for i in axes_b]:
        raise ValueError("The axes that are summed over must have the same sizes in both arrays. Received shapes: "
                         f"{tuple(a.shape)} and {tuple(b.shape)}, summed over the axes {axes_a} and {axes_b}.")
    names = [[f"a{i}" for i in range(len(a.shape))], [f"b{i}" for i in range(len(b.shape))]]
    for i, j in zip(axes_a, axes_b):
        names[1][j] = names[0][i]
    free = [name for name in (*names[0], *names[1]) if (name in names[0]) != (name in names[1])]
    return _product(a, b, names[0], names[1], free)


def einsum(subscripts: str, *operands: TensorLike) -> Tensor:
    """Computes a sum in Einstein notation: "bij,bjk->bik" names the axes of each tensor and of the result.
    Axes that the result lacks are summed. "..." means all axes without letters, which broadcast.
    """
    tensors = [operand(x) for x in operands]
    inputs, result = _axes(subscripts, tensors)
    sizes: dict[str, int] = {}
    for x, names in zip(tensors, inputs):
        for name, size in zip(names, x.shape):
            if sizes.setdefault(name, size) != size and not name.isdigit():
                raise ValueError("Axes with the same letter in einsum must have the same size. Received: "
                                 f"{subscripts!r}, where the axes {name!r} have sizes {sizes[name]} and {size}.")
    x, names = _reduce(tensors[0], inputs[0], {*result, *(name for other_names in inputs[1:] for name in other_names)})
    for i, (other, other_names) in enumerate(zip(tensors[1:], inputs[1:]), 1):
        axes = {*result, *(name for later in inputs[i + 1 :] for name in later)}
        other, other_names = _reduce(other, other_names, {*names, *axes})
        x, names = _reduce(x, names, {*other_names, *axes})
        output = [name for name in dict.fromkeys([*names, *other_names]) if name in axes]
        x = _product(x, other, names, other_names, output)
        names = output
    x, names = _reduce(x, names, set(result))
    return x.transpose(tuple(names.index(name) for name in result)) if names != list(result) else x


def _axes(subscripts: str, tensors: Sequence[Tensor]) -> tuple[list[list[str]], list[str]]:
    """Returns the axis names of each operand and of the result. Axes in "..." are numbered from the last one."""
    operands_text, arrow, result = subscripts.replace(" ", "").partition("->")
    terms = operands_text.split(",")
    letters = operands_text.replace(",", "").replace("...", "")
    if len(terms) != len(tensors) or not tensors or not set(letters + result.replace("...", "")) <= set(
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"):
        raise ValueError("einsum needs letters for the axes of each tensor, such as 'bij,bjk->bik' "
                         f"for two tensors. Received: {subscripts!r} for {len(tensors)} tensors.")
    inputs = [_letters(term, len(x.shape) - len(term.replace("...", ""))) for term, x in zip(terms, tensors)]
    if any(len(names) != len(x.shape) for names, x in zip(inputs, tensors)):
        raise ValueError(f"einsum needs one letter for each axis of a tensor. Received: {subscripts!r} for tensors of "
                         f"shapes {[tuple(x.shape) for x in tensors]}.")
    ellipsis_axes = max(sum(name.isdigit() for name in names) for names in inputs)
    if not arrow:
        result = "..." + "".join(sorted(letter for letter in set(letters) if letters.count(letter) == 1))
    output = _letters(result, ellipsis_axes)
    if len(set(output)) != len(output) or not set(output) <= {name for names in inputs for name in names}:
        raise ValueError("The result of einsum can contain only letters of the operands, and each "
                         f"letter only once. Received: {subscripts!r}.")
    return inputs, output


def _letters(term: str, axes: int) -> list[str]:
    """Returns the letters of a term as a list, with numbers for the axes of "..."."""
    before, dots, after = term.partition("...")
    return [*before, *(str(i) for i in reversed(range(axes)) if dots), *after]


def _reduce(x: Tensor, names: list[str], axes: set[str]) -> tuple[Tensor, list[str]]:
    """Takes diagonals over axes with the same name, and sums over axes that are not in `axes`."""
    for name in [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        while names.count(name) > 1:
            first, second = [i for i, each in enumerate(names) if each == name][:2]
            x = diagonal(x, 0, first, second)
            names = [*(each for i, each in enumerate(names) if i not in (first, second)), name]
    rest = tuple(i for i, name in enumerate(names) if name not in axes)
    return cast(x.sum(rest), x.dtype) if rest else x, [name for name in names if name in axes]


def _product(a: Tensor, b: Tensor, names_a: list[str], names_b: list[str],
             result: list[str]) -> Tensor:
    """Computes a product of a and b as a matrix product, summed over common axes that the result lacks."""
    common = [name for name in names_a if name in names_b]
    batch, inner = ([name for name in common if (name in result) == keep] for keep in (True, False))
    rows, columns = ([name for name in names if name not in common] for names in (names_a, names_b))
    sizes = dict(zip([*names_b, *names_a], [*b.shape, *a.shape]))

    def matrices(x: Tensor, names: list[str], *parts: list[str]) -> Tensor:
        own_sizes = dict(zip(names, x.shape))
        x = x.transpose(tuple(names.index(name) for part in parts for name in part))
        return x.reshape((*(own_sizes[name] for name in parts[0]),
                          *(int(np.prod([own_sizes[name] for name in part], dtype=int)) for part in parts[1:])))

    y = matrices(a, names_a, batch, rows, inner) @ matrices(b, names_b, batch, inner, columns)
    order = [*batch, *rows, *columns]
    y = y.reshape((*y.shape[: len(batch)], *(sizes[name] for name in (*rows, *columns))))
    return y.transpose(tuple(order.index(name) for name in result)) if order != result else y


accept_any_tensor(globals(), __all__)
