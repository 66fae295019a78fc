"""Layers that reshape, permute, repeat, pad, crop or enlarge their input."""

from collections.abc import Sequence
from math import prod
from typing import Any

from .. import functional as F
from ..arguments import shapes
from ..engine.tensor import Tensor
from ..functional.image_functions import RESIZE_INTERPOLATIONS
from . import checks
from .layer import Layer, Shape
from .spec import InputSpec

Sides = tuple[tuple[int, int], tuple[int, int]]


class Flatten(Layer):
    """(N, ...) -> (N, product of the other sizes), in C order: the last axis, the channels, varies fastest."""

    kept_kinds = "biu"
    symbolic_integers = True
    one_input = True
    data_format = checks.DataFormat()
    recordable = True
    least_rank = 1

    def __init__(self, data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format

    def call(self, x: Tensor) -> Tensor:
        return F.flatten(x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        rest = input_shape[1:]
        return (input_shape[0], None if None in rest else prod(rest))  # type: ignore[arg-type]


def _target_shape(shape: Any, name: str) -> tuple[int, ...]:
    sizes = tuple(shape) if isinstance(shape, (list, tuple)) else (shape,)
    if any(isinstance(n, bool) or not hasattr(n, "__index__") or n < -1 for n in sizes) or sizes.count(-1) > 1:
        rule = ("There must be at most one unknown dimension (-1) in `target_shape`" if sizes.count(-1) > 1 else
                "Each dimension in `target_shape` must be a non-negative integer, or `-1` for a "
                "single unknown dimension")
        raise ValueError(f"{rule}. Received: target_shape={shape!r}.")
    return tuple(int(n) for n in sizes)


class Reshape(Layer):
    """Reshapes each sample to `target_shape`, in C order; one size may be -1, which is inferred from the others."""

    built_at_once = True
    kept_kinds = "biu"
    symbolic_integers = True
    one_input = True
    recordable = True
    target_shape = checks.Setting(_target_shape)

    def __init__(self, target_shape: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.target_shape = target_shape

    def call(self, x: Tensor) -> Tensor:
        return x.reshape(len(x), *self.compute_output_shape(x.shape)[1:])

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        batch, *rest = input_shape
        if None in rest:
            return (batch, *(None if n == -1 else n for n in self.target_shape))
        size, product = prod(rest), prod(n for n in self.target_shape if n != -1)  # type: ignore[arg-type]
        if size != product if -1 not in self.target_shape else not product or size % product:
            raise ValueError("The total size of the tensor must be unchanged. Received: "
                             f"input_shape={tuple(rest)}, target_shape={self.target_shape}")
        return (batch, *(size // product if n == -1 else n for n in self.target_shape))


class Permute(Layer):
    """Permutes the axes of each sample. `dims` counts axes from 1, the first axis after the batch."""

    kept_kinds = "biu"
    symbolic_integers = True
    one_input = True
    recordable = True

    def __init__(self, dims: Sequence[int], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.dims = dims

    @property
    def dims(self) -> tuple[int, ...]:
        """The axes of the input in the order of the result's axes, counted from 1."""
        return self._dims

    @dims.setter
    def dims(self, dims: Sequence[int]) -> None:
        if sorted(dims) != list(range(1, len(dims) + 1)):
            raise ValueError("Invalid permutation argument `dims` for Permute Layer. The set of indices in `dims` must "
                             f"be consecutive and start from 1. Received dims={dims}")
        self._dims = tuple(dims)
        self.input_spec = InputSpec(ndim=len(self._dims) + 1)

    def call(self, x: Tensor) -> Tensor:
        return x.transpose(0, *self.dims)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *(input_shape[i] for i in self.dims))


class RepeatVector(Layer):
    """Repeats each row n times: (N, C) -> (N, n, C)."""

    kept_kinds = "biu"
    one_input = True
    recordable = True
    rank = 2

    def __init__(self, n: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if isinstance(n, bool) or not isinstance(n, int):
            raise TypeError(f"Expected an integer value for `n`, got {type(n)}.")
        if n < 1:
            raise ValueError(f"Argument `n` should be a positive integer. Received: n={n}")
        self.n = int(n)

    def call(self, x: Tensor) -> Tensor:
        return F.concatenate([x.reshape(len(x), 1, x.shape[1])] * self.n, axis=1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.n, input_shape[1])


def _padding(padding: Any, name: str) -> Sides:
    if isinstance(padding, str):
        raise ValueError("`padding` should be an integer, (ph, pw) or ((top, bottom), (left, "
                         f"right)). Received: {padding!r}.")
    try:
        return shapes.explicit_padding(padding)
    except ValueError:
        rule = ("have two elements" if isinstance(padding, list | tuple) and len(padding) != 2 else
                "be either an int, a tuple of 2 ints, or a tuple of 2 tuples of 2 ints, none of them negative")
        raise ValueError(f"`padding` should {rule}. Received: {padding!r}.") from None


class ZeroPadding2D(Layer):
    """Adds rows and columns of zeros around each image; `padding` is p, (ph, pw) or ((top, bottom), (left, right))."""

    kept_kinds = "biu"
    one_input = True
    data_format = checks.DataFormat()
    padding = checks.Setting(_padding)  # ((top, bottom), (left, right))
    recordable = True
    rank = 4

    def __init__(self, padding: Any = (1, 1), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format
        self.padding = padding

    def call(self, x: Tensor) -> Tensor:
        return F.zero_padding2d(x, self.padding)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        n, h, w, c = input_shape
        vertical, horizontal = map(sum, self.padding)
        return (n, None if h is None else h + vertical, None if w is None else w + horizontal, c)


def _cropping(cropping: Any, name: str) -> Sides:
    try:
        return shapes.explicit_padding(cropping)
    except ValueError:
        rule = ("should have two elements" if isinstance(cropping, list | tuple | str) and len(cropping) != 2 else
                "cannot be negative" if hasattr(cropping, "__index__") else
                "should be either an int, a tuple of 2 ints, or a tuple of 2 tuples of 2 ints")
        raise ValueError(f"`cropping` {rule}. Received: {cropping!r}. Pass n, (rows, columns) or "
                         "((top, bottom), (left, right)), without negative numbers.") from None


class Cropping2D(Layer):
    """Crops outer rows and columns of images; `cropping` is n, (rows, columns) or ((top, bottom), (left, right))."""

    kept_kinds = "biu"
    one_input = True
    data_format = checks.DataFormat()
    cropping = checks.Setting(_cropping)  # ((top, bottom), (left, right))
    recordable = True
    rank = 4

    def __init__(self, cropping: Any = ((0, 0), (0, 0)), data_format: str | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format
        self.cropping = cropping

    def call(self, x: Tensor) -> Tensor:
        (top, _), (left, _) = self.cropping
        _, h, w, _ = self.compute_output_shape(x.shape)
        return x[:, top : top + h, left : left + w]  # type: ignore[operator]

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        n, *sides, c = input_shape
        if any(side is not None and sum(cut) >= side for side, cut in zip(sides, self.cropping)):
            raise ValueError("The sum of the `cropping` values of each axis should be smaller "
                             "than the corresponding spatial dimension of the input. Received: "
                             f"input_shape={input_shape}, cropping={self.cropping}")
        return (n, *(None if side is None else side - sum(cut) for side, cut in zip(sides, self.cropping)), c)


class UpSampling2D(Layer):
    """Enlarges images (N, H, W, C) to (N, H size[0], W size[1], C), by "nearest" (which repeats
    each pixel) or another interpolation of `functional.resize`.
    """

    one_input = True
    data_format = checks.DataFormat()
    recordable = True
    rank = 4
    size = checks.pair()
    interpolation = checks.choice(RESIZE_INTERPOLATIONS)

    def __init__(self, size: Any = (2, 2), data_format: str | None = None, interpolation: str = "nearest",
                 **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.data_format = data_format
        self.size, self.interpolation = size, interpolation

    @property
    def kept_kinds(self) -> str:  # type: ignore[override]
        """The dtype kinds that are not converted: integers with "nearest", which only copies values."""
        return "biu" if vars(self).get("_interpolation", "nearest") == "nearest" else ""

    def call(self, x: Tensor) -> Tensor:
        size = (x.shape[1] * self.size[0], x.shape[2] * self.size[1])
        if x.dtype.kind == "f":
            return F.resize(x, size, self.interpolation)
        y = F.resize(Tensor(x.numpy().astype("float64")), size, self.interpolation)
        return Tensor(x.device.asarray(y.numpy().astype(x.dtype)), device=x.device)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        n, h, w, c = input_shape
        return (n, *(None if side is None else side * factor for side, factor in zip((h, w), self.size)), c)
