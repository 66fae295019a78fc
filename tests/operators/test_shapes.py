"""The window arithmetic against a naive count, and what is said to arguments that are off."""

import numpy as np
import pytest
import reference
from autoconv.tensor import apply, tensor
from hypothesis import given
from hypothesis import strategies as st

from autoconv import functional as F
from autoconv import layers
from autoconv.arguments import shapes
from autoconv.arguments.names import lookup
from autoconv.operators import conv, fused, pool

sizes, small = st.integers(1, 40), st.integers(1, 6)
sides = st.tuples(st.integers(0, 5), st.integers(0, 5))


def tried_positions(n, before, after, span, stride):
    return len(reference.windows_along(n, before, after, span, stride))


@given(st.tuples(sizes, sizes), st.tuples(small, small), st.tuples(small, small), st.tuples(small, small), sides, sides)
def test_output_size_counts_the_windows(size, kernel, strides, rate, vertical, horizontal):
    span = [(k - 1) * d + 1 for k, d in zip(kernel, rate)]
    expected = tuple(tried_positions(n, *pads, k, s)
                     for n, pads, k, s in zip(size, (vertical, horizontal), span, strides))
    if 0 in expected:
        with pytest.raises(ValueError, match="must fit into the padded image"):
            shapes.window(size, kernel, strides, (vertical, horizontal), rate)
    else:
        assert shapes.window(size, kernel, strides, (vertical, horizontal), rate).output_size(*size) == expected


@given(sizes, small, small, small)
def test_same_gives_one_window_a_stride(n, k, stride, rate):
    window = shapes.window((n, n), k, stride, "same", rate)
    assert window.output_size(n, n) == (-(-n // stride),) * 2
    assert window.bottom - window.top in (0, 1)  # the odd pixel goes after
    padding = window.top + window.bottom
    assert padding == 0 or tried_positions(n, 0, padding - 1, window.span_h, stride) < -(-n // stride)  # no pixel more


@given(sizes, small, small, small, st.sampled_from(["valid", "same"]))
def test_a_transposed_convolution_undoes_the_sizes(n, k, stride, rate, padding):
    window, out = shapes.transpose_window((n, n), k, stride, padding, rate)
    assert window.output_size(*out) == (n, n)
    span = (k - 1) * rate + 1
    assert out[0] == (n * stride if padding == "same" else max((n - 1) * stride + span, n * stride))


def test_keras_sizes():
    assert shapes.window((28, 28), 3).output_size(28, 28) == (26, 26)
    assert shapes.window((5, 5), 2, 2, "same") == shapes.Window(2, 2, 2, 2, 1, 1, 0, 1, 0, 1)
    assert shapes.transpose_window((4, 4), 3, 2)[1] == (9, 9)
    assert shapes.transpose_window((4, 4), 3, 2, "same")[1] == (8, 8)


@pytest.mark.parametrize(("padding", "expected"), [
    ("valid", ((0, 0), (0, 0))), (2, ((2, 2), (2, 2))), ((1, 3), ((1, 1), (3, 3))),
    (((1, 2), (3, 4)), ((1, 2), (3, 4))), (np.int64(1), ((1, 1), (1, 1))), ([1, 0], ((1, 1), (0, 0)))])
def test_ways_to_say_a_padding(padding, expected):
    assert shapes.explicit_padding(padding) == expected


def image(*shape):
    return tensor(np.ones(shape or (2, 5, 6, 3)), requires_grad=True)


def ones(*shape):
    return np.ones(shape)


CONV, KERNEL = F.conv2d, (3, 3, 3, 4)
ERRORS = [  # what is called, and what the error says: the rule, what was received, the remedy
    (lambda: CONV(ones(5, 6, 3), ones(*KERNEL)), r"batch of images with shape \(N, H, W, C\). "
                                                 r"Received shape \(5, 6, 3\) with 3 dimensions. Add an axis with x"),
    (lambda: CONV(ones(60000), ones(*KERNEL)), r"Received shape \(60000,\) with 1 dimension\."),
    (lambda: CONV(image(), ones(3, 3, 4)), r"shape \(KH, KW, C // groups, F\). Received shape: \(3, 3, 4\)"),
    (lambda: CONV(image(), ones(3, 3, 2, 4)), r"3 input channels, as many as x has in each group. Received: x of shape "
                                              r"\(2, 5, 6, 3\), w of shape \(3, 3, 2, 4\), groups=1"),
    (lambda: CONV(image(), ones(*KERNEL), ones(3)), r"bias must have shape \(4,\), .*Received shape: \(3,\)"),
    (lambda: CONV(image(), ones(3, 3, 1, 4), groups=2), r"groups must be a positive integer that divides .* "
                                                        r"Received: groups=2, 3 input channels, 4 filters"),
    (lambda: CONV(image(), ones(3, 3, 1, 4), groups=3), "groups=3, 3 input channels, 4 filters"),
    (lambda: CONV(image(), ones(*KERNEL), groups=0), "groups=0"),
    (lambda: CONV(image(), ones(7, 7, 3, 4)), r"must fit into the padded image. Received: kernel_size=\(7, 7\) with "
                                              r"dilation_rate=\(1, 1\), .* spans 7x7 .* image of 5x6, padded to 5x6. "
                                              "Use padding='same'"),
    (lambda: CONV(image(), ones(*KERNEL), dilation_rate=3), "spans 7x7"),
    (lambda: CONV(image(), ones(*KERNEL), strides=0), "`strides` argument must be .* of at least 1.* Received: 0"),
    (lambda: CONV(image(), ones(*KERNEL), strides=(1, 2, 3)), r"or one integer. Received: \(1, 2, 3\)"),
    (lambda: CONV(image(), ones(*KERNEL), strides=1.5), "`strides` argument must be .* or one integer. Received: 1.5"),
    (lambda: CONV(image(), ones(*KERNEL), strides=True), "Received: True"),
    (lambda: CONV(image(), ones(*KERNEL), strides="2"), "Received: '2'"),
    (lambda: CONV(image(), ones(*KERNEL), dilation_rate=0), "`dilation_rate` argument must be .* of at least 1"),
    (lambda: CONV(image(), ones(*KERNEL), padding="full"), "padding must be 'valid', 'same', .* Received: 'full'"),
    (lambda: CONV(image(), ones(*KERNEL), padding=-1), "`padding` argument must be .* of at least 0.* Received: -1"),
    (lambda: CONV(image(), ones(*KERNEL), padding=((1, 2), (3, -4))), r"\(left, right\)` argument .* at least 0"),
    (lambda: CONV(image(), ones(*KERNEL), padding=((1, 2),)), r"padding must be \(\(top, bottom\), \(left, right\)\)"),
    (lambda: CONV(image(), ones(*KERNEL), padding=2.0), "`padding` argument must be .* or one integer."),
    (lambda: F.conv2d_transpose(image(), ones(3, 3, 3, 4)), "3 input channels, as many as x. Received"),
    (lambda: F.conv2d_transpose(image(), ones(3, 3, 4, 3), padding=1), "must be 'valid' or 'same'. Received: 1"),
    (lambda: F.depthwise_conv2d(image(), ones(3, 3, 4, 1)), "3 input channels, as many as x"),
    (lambda: F.depthwise_conv2d(image(), ones(3, 3, 3, 2), ones(3)), r"shape \(6,\)"),
    (lambda: F.max_pool2d(image(), 0), "`pool_size` argument must be .* of at least 1.* Received: 0"),
    (lambda: F.max_pool2d(image(), 6), r"pool_size=\(6, 6\)"),
    (lambda: F.max_pool2d(image(), 1, 1, 2), r"padding must be smaller than pool_size on each side.* Received: padding="
                                             r"\(\(2, 2\), \(2, 2\)\), pool_size=\(1, 1\). Use padding='same'"),
    (lambda: F.avg_pool2d(image(), 2, 1, (0, 2)), "padding must be smaller than pool_size"),
    (lambda: F.max_pool2d(image(), 2, 2, ((0, 2000000), (0, 0))), r"\(\(0, 2000000\), \(0, 0\)\)"),
    (lambda: F.max_pool2d(ones(1, 0, 3, 2), 2, 1, 1), "images of at least one pixel"),
    (lambda: layers.MaxPooling2D(2, padding=((0, 2), (0, 0)))(image()), "padding must be smaller than pool_size"),
    (lambda: layers.AveragePooling2D(3, padding=3).compute_output_shape((None, None, None, 1)), "must be smaller"),
    (lambda: CONV(image(), ones(*KERNEL), strides=2**31), r"must be between 1 and 2147483647. .* over an image of 5x6"),
    (lambda: CONV(image(), ones(*KERNEL), padding=2**62), "and the sides of the padded image must be between 0"),
    (lambda: F.avg_pool2d(ones(5, 6)), "batch of images"),
    (lambda: F.avg_pool2d(image(), 2, strides=-1), "`strides` argument must be .* of at least 1.* Received: -1"),
    (lambda: F.global_avg_pool2d(ones(2, 3)), "batch of images"),
    (lambda: F.zero_padding2d(image(), "same"), "Received: 'same'"),
    (lambda: F.dense(ones(2, 3), ones(4, 5)), r"\(C, F\). Received: x of shape \(2, 3\), w of shape \(4, 5\)"),
    (lambda: F.dense(ones(2, 3, 4), ones(4, 5)), r"\(2, 3, 4\)"),
    (lambda: F.dense(ones(2, 3), ones(3, 5), ones(1, 5)), r"shape \(5,\), .*Received shape: \(1, 5\)"),
    (lambda: F.dropout(image(), 1.5), "rate must be a number between 0 and 1. Received: 1.5"),
    (lambda: F.dropout(image(), -0.1, training=False), "Received: -0.1"),
    (lambda: F.dropout(image(), "half"), "Received: 'half'"),
    (lambda: F.dropout(image(), 0.5, seed=-1), "seed must be an integer"),
    (lambda: F.softmax(image(), axis=4), "axis must be an integer in -4..3 for a tensor with 4 axes. Received: 4"),
    (lambda: F.batch_norm(image(), ones(3), ones(2), ones(3), ones(3), True), r"Received shapes: .*\(2,\)"),
    (lambda: F.categorical_crossentropy([0, 1], ones(2, 3)), r"of shape \(2,\), y_pred of shape \(2, 3\). For integer"),
    (lambda: F.categorical_crossentropy(1.0, 0.5), "at least one axis"),
    (lambda: F.sparse_categorical_crossentropy(ones(2, 3), ones(2, 3)), "For one-hot targets, use categorical"),
    (lambda: F.sparse_categorical_crossentropy([0, 3], ones(2, 3)), r"be in 0..2 .* Received: labels from 0 to 3"),
    (lambda: F.sparse_categorical_crossentropy([-1, 0], ones(2, 3)), "Received: labels from -1 to 0"),
    (lambda: F.sparse_categorical_crossentropy([0.5, 1], ones(2, 3)), "integers. Received: labels of dtype float64"),
    (lambda: F.sparse_categorical_crossentropy([np.nan, 1], ones(2, 3)), "Labels must be integers"),
    (lambda: F.sparse_categorical_crossentropy(["a", "b"], ones(2, 3)), "Labels must be integers"),
    (lambda: F.binary_crossentropy(ones(2, 2), ones(2, 3)), r"binary_crossentropy .* of shape \(2, 2\), .* \(2, 3\)"),
    (lambda: F.mean_squared_error(ones(3), ones(2, 3)), "mean_squared_error needs y_true and y_pred of the same shape"),
    (lambda: F.mean_absolute_error(ones(3), ones(2, 3)), "mean_absolute_error needs"),
    (lambda: lookup("activation", "rleu", {"relu": 1, "tanh": 2}), "Unknown activation: 'rleu'. Did you mean 'relu'"),
    (lambda: lookup("layer", "conv2d", {"Conv1D": 1, "Conv2D": 2}), "Did you mean 'Conv2D'"),
    (lambda: lookup("argument", "epoch", {"initial_epoch": 1, "epochs": 2}), "Did you mean 'epochs'"),
    (lambda: lookup("argument", "size", {"kernel_size": 1, "side": 2}), "Did you mean 'kernel_size'"),
]


@pytest.mark.parametrize(("call", "text"), ERRORS, ids=range(len(ERRORS)))
def test_errors(call, text):
    with pytest.raises(ValueError, match=text):
        call()


def test_ops_refuse_windows_that_do_not_go_with_their_arrays():
    x, w, b = (tensor(ones(*shape)) for shape in ((2, 5, 6, 3), KERNEL, (4,)))
    three, five, dilated = shapes.Window(3, 3), shapes.Window(5, 5), shapes.Window(2, 2, dh=3, top=1, bottom=1)
    for op, arrays, parameters in (
        (conv.conv2d, (x, w, b), {"window": five}),
        (conv.conv2d, (x, w, tensor(ones(5))), {"window": three}),
        (conv.conv2d, (x, w, b), {"window": three, "groups": 3}),
        (conv.conv2d, (x, w, b), {"window": three._replace(sh=0)}),
        (conv.conv2d, (x, w, b), {"window": shapes.Window(3, 3, top=-1)}),
        (conv.depthwise_conv2d, (x, w, b), {"window": three}),
        (conv.conv2d_transpose, (x, tensor(ones(3, 3, 4, 3)), b), {"window": three, "size": (8, 8)}),
        (fused.conv2d_relu_pool, (x, w, b), {"window": five}),
        (pool.max_pool2d, (x,), {"window": dilated}),
        (pool.avg_pool2d, (x,), {"window": shapes.Window(2, 2, bottom=2)}),
    ):
        with pytest.raises(ValueError, match="Received"):
            apply(op, *arrays, **parameters)


def test_kernels_compute_in_one_floating_dtype():
    with pytest.raises(TypeError, match=r"tensors of the same dtype\. Received: float64, float32\. Convert a tensor"):
        F.conv2d(ones(1, 3, 3, 1), tensor(np.ones((3, 3, 1, 1), "float32")))
    assert F.relu(tensor([-1, 2])).dtype == "float32"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kernel", [np.ones((3, 3, 1, 1)) / 9, np.ones((3, 3, 1, 1), "int64"), [[[[2.0]]]]])
def test_a_kernel_that_is_no_tensor_takes_the_dtype_of_the_image(dtype, kernel):
    image = tensor(ones(1, 5, 5, 1).astype(dtype), requires_grad=True)
    y = F.conv2d(image, kernel, np.zeros(1))
    assert y.dtype == dtype
    np.testing.assert_allclose(y.numpy(), np.sum(kernel), rtol=1e-6)
    y.sum().backward()
    assert image.grad.dtype == dtype


def test_labels_with_an_axis_of_one():
    y_pred = np.array([[0.25, 0.75], [0.5, 0.5]])
    expected = -np.log([0.75, 0.5])
    for labels in ([1, 0], [[1], [0]], np.array([1, 0], "uint8"), np.array([1.0, 0.0])):
        np.testing.assert_allclose(F.sparse_categorical_crossentropy(labels, y_pred).numpy(), expected)
    assert F.binary_crossentropy([1, 0], np.array([[0.9], [0.2]])).shape == (2,)
