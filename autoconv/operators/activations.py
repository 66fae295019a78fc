"""The activation functions. Each backward needs the result alone, not the input."""

from .arith import normalize_axes
from .registry import gradient_buffer, op


@op(kernels="pointwise", takes_two=True)
def relu(k, x):
    """y = max(x, 0); the gradient passes where y > 0."""
    y = k.empty(x.shape, x.dtype)
    k.relu(x.reshape(-1), y.reshape(-1))

    def backward(dy, needs):
        dx = gradient_buffer(k, needs[0], y.shape, y.dtype)
        _passed(k, y, dy, dx)
        return (dx,)

    return y, backward


@op(kernels="pointwise", takes_two=True)
def add_relu(k, a, b):
    """y = max(a + b, 0) for arrays of one shape and dtype; the gradient passes where y > 0, to both."""
    y = k.empty(a.shape, a.dtype)
    k.add_relu(a.reshape(-1), b.reshape(-1), y.reshape(-1))

    def backward(dy, needs):
        dx = k.empty(y.shape, y.dtype)
        _passed(k, y, dy, dx)
        return tuple(None if need is False else dx for need in needs)

    return y, backward


@op(kernels="pointwise")
def sigmoid(k, x):
    """y = 1 / (1 + exp(-x)); dx = dy y (1 - y)."""
    y = k.empty(x.shape, x.dtype)
    k.sigmoid(x, y)
    return y, _of_the_result(k, y, k.sigmoid_grad)


@op(kernels="pointwise")
def tanh(k, x):
    """y = tanh(x); dx = dy (1 - y^2)."""
    y = k.empty(x.shape, x.dtype)
    k.tanh(x, y)
    return y, _of_the_result(k, y, k.tanh_grad)


@op(kernels="pointwise")
def softmax(k, x, axis=-1):
    """y = exp(x) / sum(exp(x)) along `axis`, stable for any x; dx = y (dy - sum(y dy))."""
    (axis,) = normalize_axes(axis, x.ndim)
    y = k.empty(x.shape, x.dtype)
    k.softmax(x, axis, y)
    return y, _of_the_result(k, y, k.softmax_grad, axis)


@op(kernels="pointwise")
def log_softmax(k, x, axis=-1):
    """y = x - log(sum(exp(x))) along `axis`, stable for any x; dx = dy - exp(y) sum(dy)."""
    (axis,) = normalize_axes(axis, x.ndim)
    y = k.empty(x.shape, x.dtype)
    k.log_softmax(x, axis, y)
    return y, _of_the_result(k, y, k.log_softmax_grad, axis)


def _passed(k, y, dy, dx):
    """dx = the gradient dy, or the sum of the two in it, where y > 0."""
    if isinstance(dy, tuple):
        k.relu_grad_of_two(y.reshape(-1), dy[0].reshape(-1), dy[1].reshape(-1), dx.reshape(-1))
    else:
        k.relu_grad(y.reshape(-1), dy.reshape(-1), dx.reshape(-1))


def _of_the_result(k, y, gradient, *axis):
    """The backward of an op whose gradient is a function of its result y and of dy."""

    def backward(dy, needs):
        dx = gradient_buffer(k, needs[0], y.shape, y.dtype)
        gradient(y, dy, *axis, dx)
        return (dx,)

    return backward
