"""The table of gradients: for each public function arguments with which it is called. `test_no_silent_gradients.py`
differentiates each function by each of its arguments.
"""

import inspect
from typing import NamedTuple
from zlib import crc32

import numpy as np

from autoconv import activations, functional, losses, ops
from autoconv.tensor import tensor


class Drawn(NamedTuple):
    """An argument that is an array of random numbers."""

    shape: tuple
    low: float = 0.2
    high: float = 0.8

    def array(self, name):
        """The same numbers in every run."""
        return np.random.default_rng(crc32(name.encode())).uniform(self.low, self.high, self.shape)


MATRIX, IMAGES, KERNEL = Drawn((3, 4)), Drawn((2, 5, 4, 3)), Drawn((3, 3, 3, 2))
LABELS = np.array([1, 3, 0])
SIGNED = Drawn((3, 4), -2.0, 2.0)


def rows(module, names, **arguments):
    return {f"{module}.{name}": arguments for name in names.split()}


PAIR = {"y_true": MATRIX, "y_pred": Drawn((3, 4), 0.1, 0.7)}

TABLE = {
    **rows("functional", """abs argmax celu elu erf exp expm1 exponential flatten gelu hard_shrink hard_sigmoid hard_silu
           hard_tanh leaky_relu log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus
           softsign sparse_plus sparse_sigmoid squareplus tanh tanh_shrink""", x=SIGNED),
    **rows("functional", "glu log log1p normalize sparsemax sqrt squeeze", x=MATRIX),
    **rows("functional", "maximum minimum", x1=MATRIX, x2=MATRIX),
    **rows("functional", "equal greater greater_equal less less_equal not_equal", x1=MATRIX, x2=MATRIX),
    **rows("functional", """binary_crossentropy binary_focal_crossentropy categorical_crossentropy
           categorical_focal_crossentropy categorical_hinge cosine_similarity dice hinge huber kl_divergence log_cosh
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
    **rows("functional", "batch_norm", x=MATRIX, gamma=Drawn((4,)), beta=Drawn((4,)), moving_mean=Drawn((4,)),
           moving_var=Drawn((4,)), training=False),
    **rows("functional", "clip", x=SIGNED, x_min=-1.0, x_max=1.0),
    **rows("functional", "dropout", x=MATRIX, rate=0.5, seed=3),
    **rows("functional", "expand_dims", x=MATRIX, axis=1),
    **rows("functional", "layer_normalization", x=MATRIX, gamma=Drawn((4,)), beta=Drawn((4,))),
    **rows("functional", "moments", x=MATRIX, axes=0),
    **rows("functional", "pad", x=MATRIX, pad_width=1),
    **rows("functional", "resize", images=IMAGES, size=(3, 7)),
    **rows("functional", "split", x=MATRIX, indices_or_sections=2, axis=1),
    **rows("functional", "threshold", x=SIGNED, threshold=0.5, default_value=0.1),
    **rows("functional", "where", condition=np.array([True, False, True, True]), x1=MATRIX, x2=MATRIX),
    **rows("functional", "zero_padding2d", x=IMAGES, padding=1),

    **rows("ops", """abs all amax amin any argmin argsort array average ceil convert_to_numpy convert_to_tensor
           count_nonzero cumsum diag diagonal dtype empty_like flip fliplr flipud floor gelu is_tensor isfinite isinf
           isnan layer_normalization logical_not logsumexp mean ndim negative normalize ones_like prod ravel reciprocal
           round rsqrt shape sign size sort square std sum transpose tril triu trunc unstack var zeros_like norm""",
           x=MATRIX),
    **rows("ops", "stop_gradient", variable=MATRIX),
    **rows("ops", "add allclose divide dot isclose logical_and logical_or logical_xor multiply subtract", x1=MATRIX,
           x2=MATRIX),
    **rows("ops", "matmul dot", x1=MATRIX, x2=Drawn((4, 2))),
    **rows("ops", "power", x1=MATRIX, x2=1.5),
    **rows("ops", "cast", x=MATRIX, dtype="float32"),
    **rows("ops", "in_top_k", targets=LABELS, predictions=MATRIX, k=2),
    **rows("ops", "top_k", x=MATRIX, k=2),
    **rows("ops", "average_pool max_pool", inputs=IMAGES, pool_size=2),
    **rows("ops", "batch_normalization", x=MATRIX, mean=Drawn((4,)), variance=Drawn((4,)), axis=-1, offset=Drawn((4,)),
           scale=Drawn((4,))),
    **rows("ops", "binary_crossentropy categorical_crossentropy", target=MATRIX, output=Drawn((3, 4), 0.1, 0.7)),
    **rows("ops", "sparse_categorical_crossentropy", target=LABELS, output=MATRIX),
    **rows("ops", "conv", inputs=IMAGES, kernel=KERNEL),
    **rows("ops", "conv_transpose", inputs=IMAGES, kernel=Drawn((3, 3, 2, 3))),
    **rows("ops", "depthwise_conv", inputs=IMAGES, kernel=KERNEL),
    **rows("ops", "separable_conv", inputs=IMAGES, depthwise_kernel=KERNEL, pointwise_kernel=Drawn((1, 1, 6, 2))),
    **rows("ops", "one_hot", x=LABELS, num_classes=4),
    **rows("ops", "arange", start=0.5, stop=4.0),
    **rows("ops", "linspace", start=0.5, stop=4.0, num=5),
    **rows("ops", "empty ones zeros", shape=(2, 3)), **rows("ops", "full", shape=(2, 3), fill_value=0.5),
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
