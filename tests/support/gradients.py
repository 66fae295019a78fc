"""The table of gradients: for each public function the arguments with which it is called.
`test_no_silent_gradients.py` differentiates each function by each argument that is a floating-point number or array.
"""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from zlib import crc32

import numpy as np

from autoconv import activations, functional, losses, ops
from autoconv.engine.symbolic import flatten


class Drawn(NamedTuple):
    """An argument that is an array of random numbers."""

    shape: tuple
    low: float = 0.2
    high: float = 0.8


MATRIX, IMAGES, KERNEL, ROW = Drawn((3, 4)), Drawn((2, 5, 4, 3)), Drawn((3, 3, 3, 2)), Drawn((4,))
SIGNED, PROBABILITIES = Drawn((3, 4), -2.0, 2.0), Drawn((3, 4), 0.1, 0.7)
LABELS = np.array([1, 3, 0])


def rows(module, names, **arguments):
    return {f"{module}.{name}": arguments for name in names.split()}


PAIR = {"y_true": MATRIX, "y_pred": PROBABILITIES}

TABLE = {
    **rows("functional", """abs argmax celu elu erf exp expm1 exponential flatten gelu hard_shrink hard_sigmoid
           hard_silu hard_tanh leaky_relu log_sigmoid log_softmax mish relu6 selu sigmoid silu soft_shrink softmax
           softplus softsign sparse_plus sparse_sigmoid squareplus tanh tanh_shrink""", x=SIGNED),
    **rows("functional", "relu", x=SIGNED, negative_slope=0.1, max_value=1.5, threshold=0.3),
    **rows("functional", "arccos arcsin arctan cos cosh sin sinh tan", x=MATRIX),
    **rows("functional", "arctan2", x1=MATRIX, x2=MATRIX), **rows("functional", "cast", x=MATRIX, dtype="float64"),
    **rows("functional", "glu log log1p normalize sparsemax sqrt squeeze", x=MATRIX),
    **rows("functional", "maximum minimum", x1=MATRIX, x2=MATRIX),
    **rows("functional", "equal greater greater_equal less less_equal not_equal", x1=MATRIX, x2=MATRIX),
    **rows("functional", "binary_crossentropy categorical_crossentropy categorical_focal_crossentropy",
           label_smoothing=0.1, **PAIR),
    **rows("functional", "binary_focal_crossentropy", apply_class_balancing=True, label_smoothing=0.1, **PAIR),
    **rows("functional", """categorical_hinge cosine_similarity dice hinge huber kl_divergence log_cosh
           mean_absolute_error mean_absolute_percentage_error mean_squared_error mean_squared_logarithmic_error poisson
           squared_hinge tversky""", **PAIR),
    **rows("functional", "categorical_generalized_cross_entropy sparse_categorical_crossentropy", y_true=LABELS,
           y_pred=MATRIX),
    **rows("functional", "avg_pool2d global_avg_pool2d global_max_pool2d max_pool2d", x=IMAGES),
    **rows("functional", "concatenate", xs=[MATRIX, MATRIX]), **rows("functional", "stack", x=[MATRIX, MATRIX]),
    **rows("functional", "conv2d", x=IMAGES, w=KERNEL, b=Drawn((2,))),
    **rows("functional", "conv2d_transpose", x=IMAGES, w=Drawn((3, 3, 2, 3)), b=Drawn((2,))),
    **rows("functional", "depthwise_conv2d", x=IMAGES, w=KERNEL, b=Drawn((6,))),
    **rows("functional", "dense", x=MATRIX, w=Drawn((4, 2)), b=Drawn((2,))),
    **rows("functional", "affine_transform", images=IMAGES, transform=np.array([1, 0.1, 0, 0.2, 0.9, 0, 0, 0])),
    **rows("functional", "batch_norm", x=MATRIX, gamma=ROW, beta=ROW, moving_mean=ROW,
           moving_var=ROW, training=False, other=None),
    **rows("functional", "clip", x=SIGNED, x_min=-1.0, x_max=1.0),
    **rows("functional", "dropout", x=MATRIX, rate=0.5, seed=3),
    **rows("functional", "expand_dims", x=MATRIX, axis=1),
    **rows("functional", "layer_normalization", x=MATRIX, gamma=ROW, beta=ROW),
    **rows("functional", "moments", x=MATRIX, axes=0),
    **rows("functional", "pad", x=MATRIX, pad_width=1, constant_values=0.5),
    **rows("functional", "resize", images=IMAGES, size=(3, 7)),
    **rows("functional", "split", x=MATRIX, indices_or_sections=2, axis=1),
    **rows("functional", "threshold", x=SIGNED, threshold=0.5, default_value=0.1),
    **rows("functional", "where", condition=np.array([True, False, True, True]), x1=MATRIX, x2=MATRIX),
    **rows("functional", "zero_padding2d", x=IMAGES, padding=1),

    **rows("ops", "average", x=MATRIX, axis=1, weights=ROW),
    **rows("ops", "layer_normalization", x=MATRIX, gamma=ROW, beta=ROW, epsilon=1e-3),
    **rows("ops", "batch_normalization", x=MATRIX, mean=ROW, variance=ROW, axis=-1, offset=ROW, scale=ROW),
    **rows("ops", "normalize", x=MATRIX, epsilon=1e-3),
    **rows("ops", """abs all any argmin argsort array ceil convert_to_numpy convert_to_tensor
           count_nonzero cumsum diag diagonal dtype empty_like flip fliplr flipud floor gelu is_tensor isfinite isinf
           isnan logical_not logsumexp max mean min ndim negative ones_like prod ravel reciprocal
           round rsqrt shape sign size sort square std sum transpose tril triu trunc unstack var zeros_like norm""",
           x=MATRIX),
    **rows("ops", "stop_gradient", variable=MATRIX),
    **rows("ops", "add allclose divide isclose logical_and logical_or logical_xor multiply subtract", x1=MATRIX,
           x2=MATRIX),
    **rows("ops", "matmul dot einsum", x1=MATRIX, x2=Drawn((4, 2))),
    **rows("ops", "tensordot", x1=MATRIX, x2=Drawn((4, 2)), axes=1),
    **rows("ops", "floor_divide mod", x1=MATRIX, x2=Drawn((3, 4), 0.9, 1.1)),
    **rows("ops", "bitwise_and bitwise_or bitwise_xor", x1=LABELS, x2=LABELS), **rows("ops", "bitwise_not", x=LABELS),
    **rows("ops", "take_along_axis", x=MATRIX, indices=LABELS[:, None], axis=1),
    **rows("ops", "power", x1=MATRIX, x2=1.5),
    **rows("ops", "in_top_k", targets=LABELS, predictions=MATRIX, k=2),
    **rows("ops", "top_k", x=MATRIX, k=2),
    **rows("ops", "average_pool max_pool", inputs=IMAGES, pool_size=2),
    **rows("ops", "binary_crossentropy categorical_crossentropy", target=MATRIX, output=PROBABILITIES),
    **rows("ops", "sparse_categorical_crossentropy", target=LABELS, output=MATRIX),
    **rows("ops", "conv", inputs=IMAGES, kernel=KERNEL),
    **rows("ops", "conv_transpose", inputs=IMAGES, kernel=Drawn((3, 3, 2, 3))),
    **rows("ops", "depthwise_conv", inputs=IMAGES, kernel=KERNEL),
    **rows("ops", "separable_conv", inputs=IMAGES, depthwise_kernel=KERNEL, pointwise_kernel=Drawn((1, 1, 6, 2))),
    **rows("ops", "one_hot", x=LABELS, num_classes=4),
    **rows("ops", "arange", start=0.5, stop=4.0, step=0.5),
    **rows("ops", "linspace", start=0.5, stop=4.0, num=5),
    **rows("ops", "ones zeros", shape=(2, 3)), **rows("ops", "full", shape=(2, 3), fill_value=0.5),
    **rows("ops", "eye", N=3), **rows("ops", "identity", n=3),
    **rows("ops", "full_like", x=MATRIX, fill_value=0.5),
    **rows("ops", "broadcast_to", x=Drawn((1, 4)), shape=(3, 4)),
    **rows("ops", "hstack vstack", xs=[MATRIX, MATRIX]),
    **rows("ops", "moveaxis", x=IMAGES, source=0, destination=2),
    **rows("ops", "repeat tile", x=MATRIX, repeats=2),
    **rows("ops", "reshape", x=MATRIX, newshape=(2, 6)),
    **rows("ops", "roll", x=MATRIX, shift=1), **rows("ops", "swapaxes", x=MATRIX, axis1=0, axis2=1),
    **rows("ops", "take", x=MATRIX, indices=LABELS, axis=1),
    **rows("ops.image", "crop_images", images=IMAGES, top_cropping=1, left_cropping=1, target_height=3, target_width=2),
    **rows("ops.image", "pad_images", images=IMAGES, top_padding=1, left_padding=1, target_height=8, target_width=7),
    **rows("ops.image", "rgb_to_grayscale", images=IMAGES),
    **rows("activations", "linear", x=MATRIX),
}

# Arguments that are no floating-point numbers.
SETTINGS = """M N axes axis axis1 axis2 bottom_cropping bottom_padding data_format decimals destination
    dilation_rate dtype groups ignore_class indices indices_or_sections k left_cropping left_padding n newshape num
    num_classes offset ord order other output_padding pad_width padding pool_size ragged ranks repeats right_cropping
    right_padding seed shape shift size source sparse strides target_height target_width top_cropping
    top_padding"""

# Functions whose results do not move with their arguments, or in steps.
FLAT = """functional.argmax functional.equal functional.greater functional.greater_equal functional.less
    functional.less_equal functional.not_equal ops.all ops.allclose ops.any ops.argmin ops.argsort ops.ceil
    ops.count_nonzero ops.dtype ops.empty_like ops.floor ops.floor_divide
    ops.in_top_k ops.is_tensor ops.isclose ops.isfinite ops.isinf
    ops.isnan ops.logical_and ops.logical_not ops.logical_or ops.logical_xor ops.ndim ops.one_hot ops.ones_like
    ops.round ops.shape ops.sign ops.size ops.trunc ops.zeros_like"""
FLAT_ARGUMENTS = {"functional.where": "condition", "functional.hard_shrink": "threshold",
                  "functional.threshold": "threshold", "functional.batch_norm": "momentum", "ops.full_like": "x"}
OF_INTEGERS = "ops.bitwise_and ops.bitwise_not ops.bitwise_or ops.bitwise_xor"
CUT = ("ops.stop_gradient", "ops.convert_to_numpy")  # what a user calls for values without a gradient


def public() -> dict[str, Callable]:
    """All public functions of tensors, each under the first of its names."""
    found: dict[str, Callable] = {}
    seen = set()  # what the functions of `ops` wrap
    for name, module in {"functional": functional, "ops": ops, "ops.image": ops.image, "ops.nn": ops.nn,
                         "losses": losses, "activations": activations}.items():
        for each in module.__all__:
            function = getattr(module, each)
            if inspect.isfunction(function) and inspect.unwrap(function) not in seen and each not in (
                    "get", "serialize", "deserialize"):
                seen.add(inspect.unwrap(function))
                found[f"{name}.{each}"] = function
    found["ops.einsum"] = lambda x1, x2: ops.einsum("ij,jk->ik", x1, x2)
    return found


def drawn(name: str, row: dict[str, Any]) -> dict[str, Any]:
    """A row's arguments, with arrays that are the same numbers in every run."""
    rng = np.random.default_rng(crc32(name.encode()))

    def array(value: Any) -> Any:
        return rng.uniform(value.low, value.high, value.shape) if isinstance(value, Drawn) else value

    return {key: [array(item) for item in value] if isinstance(value, list) else array(value)
            for key, value in row.items()}


def arguments(name: str, function: Callable) -> Iterator[tuple[str, Any, Callable[[Any], Any]]]:
    """Each argument of a function that may carry a gradient: its label, its value, and the function of it alone. An
    array is given once as one tensor and once as a list of tensors.
    """
    given = drawn(name, TABLE[name])
    for argument, parameter in inspect.signature(function).parameters.items():
        value = given.get(argument, parameter.default)
        if isinstance(value, list):
            for i, item in enumerate(value):
                yield f"{argument}[{i}]", item, lambda x, i=i, a=argument, v=value: function(
                    **{**given, a: [*v[:i], x, *v[i + 1 :]]})
        elif argument not in SETTINGS.split() and name not in OF_INTEGERS.split() and not isinstance(value, bool | str):
            value = np.asarray(value, "float64")  # NaN of None, which needs a number in its row or a place in SETTINGS
            yield argument, value, lambda x, a=argument: function(**{**given, a: x})
            if value.ndim:
                yield f"{argument} as a list", value, lambda x, a=argument: function(
                    **{**given, a: [x[i] for i in range(len(x))]})


def floats(result: Any) -> list[Any]:
    """The tensors of floats in what a function returned."""
    return [item for item in flatten(result) if getattr(getattr(item, "dtype", None), "kind", "") == "f"]
