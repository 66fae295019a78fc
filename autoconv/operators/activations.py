"""The activation functions. Almost all backward functions use only the result, not the input."""

from .arith import normalize_axes
from .registry import gradient_buffer, op


@op(kernels="pointwise", takes_two=True)
def relu(k, x):
    """y = max(x, 0). Only elements with y > 0 pass the gradient on."""
    y = k.empty(x.shape, x.dtype)
    k.relu(x.reshape(-1), y.reshape(-1))

    def backward(dy, needs):
        dx = gradient_buffer(k, needs[0], y.shape, y.dtype)
        _propagate_relu(k, y, dy, dx)
        return (dx,)

    return y, backward


@op(kernels="pointwise", takes_two=True)
def add_relu(k, a, b):
    """y = max(a + b, 0) for arrays of the same shape and dtype. Where y > 0, both a and b receive
    the gradient.
    """
    y = k.empty(a.shape, a.dtype)
    k.add_relu(a.reshape(-1), b.reshape(-1), y.reshape(-1))

    def backward(dy, needs):
        dx = k.empty(y.shape, y.dtype)
        _propagate_relu(k, y, dy, dx)
        return tuple(None if need is False else dx for need in needs)

    return y, backward


@op(kernels="pointwise")
def leaky_relu(k, x, negative_slope):
    """y = x if x > 0, else negative_slope x. At x <= 0, the gradient is negative_slope dy."""
    return _elementwise(k, x, lambda x, y: k.leaky_relu(x, x, negative_slope, y),
                        lambda x, dy, dx: k.leaky_relu(x, dy, negative_slope, dx), keeps_result=False)


@op(kernels="pointwise")
def relu6(k, x):
    """y = min(max(x, 0), 6). Only elements with 0 < y < 6 pass the gradient on."""
    return _elementwise(k, x, k.relu6, k.relu6_grad, keeps_result=True)


@op(kernels="pointwise")
def hard_sigmoid(k, x):
    """y = min(max(x / 6 + 1/2, 0), 1); dx = dy / 6 where -3 < x < 3, otherwise 0."""
    return _elementwise(k, x, k.hard_sigmoid, k.hard_sigmoid_grad, keeps_result=False)


@op(kernels="pointwise")
def hard_silu(k, x):
    """y = x hard_sigmoid(x); dx = dy (x / 3 + 1/2) where -3 < x < 3, dy above and 0 below."""
    return _elementwise(k, x, k.hard_silu, k.hard_silu_grad, keeps_result=False)


@op(kernels="pointwise")
def sigmoid(k, x):
    """y = 1 / (1 + exp(-x)); dx = dy y (1 - y)."""
    return _elementwise(k, x, k.sigmoid, k.sigmoid_grad, keeps_result=True)


@op(kernels="pointwise")
def silu(k, x):
    """y = x s, with s = sigmoid(x); dx = dy s (1 + x (1 - s))."""
    return _elementwise(k, x, k.silu, k.silu_grad, keeps_result=False)


@op(kernels="pointwise")
def tanh(k, x):
    """y = tanh(x); dx = dy (1 - y^2)."""
    return _elementwise(k, x, k.tanh, k.tanh_grad, keeps_result=True)


@op(kernels="pointwise")
def softmax(k, x, axis=-1):
    """y = exp(x) / sum(exp(x)) along `axis`, stable for any x; dx = y (dy - sum(y dy))."""
    (axis,) = normalize_axes(axis, x.ndim)
    y = k.empty(x.shape, x.dtype)
    k.softmax(x, axis, y)
    return y, _backward_from(k, y, k.softmax_grad, axis)


@op(kernels="pointwise")
def log_softmax(k, x, axis=-1):
    """y = x - log(sum(exp(x))) along `axis`, stable for any x; dx = dy - exp(y) sum(dy)."""
    (axis,) = normalize_axes(axis, x.ndim)
    y = k.empty(x.shape, x.dtype)
    k.log_softmax(x, axis, y)
    return y, _backward_from(k, y, k.log_softmax_grad, axis)


def _propagate_relu(k, y, dy, dx):
    """dx = dy where y > 0, otherwise 0. If dy is a pair of gradients, their sum is used."""
    if isinstance(dy, tuple):
        k.relu_grad_sum(y.reshape(-1), dy[0].reshape(-1), dy[1].reshape(-1), dx.reshape(-1))
    else:
        k.relu_grad(y.reshape(-1), dy.reshape(-1), dx.reshape(-1))


def _elementwise(k, x, function, gradient, keeps_result):
    """Returns function(x) and the backward function. `gradient` computes dx from the result or from x, and dy."""
    y = k.empty(x.shape, x.dtype)
    function(x.reshape(-1), y.reshape(-1))
    return y, _backward_from(k, y if keeps_result else x,
                             lambda *arrays: gradient(*(array.reshape(-1) for array in arrays)))


def _backward_from(k, kept, gradient, *axis):
    """Returns the backward function of an op whose gradient depends only on the array `kept`, which is its result
    or its argument, and on dy.
    """

    def backward(dy, needs):
        dx = gradient_buffer(k, needs[0], kept.shape, kept.dtype)
        gradient(kept, dy, *axis, dx)
        return (dx,)

    return backward
