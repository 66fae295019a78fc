"""The dense layer: forward, input gradient, weight gradient. A thread an item of the result."""

from .conv import bias
from .pointwise import relu_grad  # noqa: F401 (part of this room: the gradient of dense with relu)
from .runtime import cuda, kernel


@kernel("(int64, T[:,::1], T[:,::1], T[::1], boolean, T[:,::1], boolean)")
def _forward(count, x, w, b, has_bias, y, relu):
    channels, filters = w.shape
    zero = y.dtype.type(0)
    for item in range(cuda.grid(1), count, cuda.gridsize(1)):
        n, f = item // filters, item % filters
        total = zero
        for c in range(channels):
            total += x[n, c] * w[c, f]
        if has_bias:
            total += b[f]
        y[n, f] = zero if relu and total < zero else total


@kernel("(int64, T[:,::1], T[:,::1], T[:,::1])")
def _input_gradient(count, dy, w, dx):
    channels, filters = w.shape
    for item in range(cuda.grid(1), count, cuda.gridsize(1)):
        n, c = item // channels, item % channels
        total = dx.dtype.type(0)
        for f in range(filters):
            total += dy[n, f] * w[c, f]
        dx[n, c] = total


@kernel("(int64, T[:,::1], T[:,::1], T[:,::1])")
def _weight_gradient(count, x, dy, dw):
    filters = dw.shape[1]
    for item in range(cuda.grid(1), count, cuda.gridsize(1)):
        c, f = item // filters, item % filters
        total = dw.dtype.type(0)
        for n in range(x.shape[0]):
            total += x[n, c] * dy[n, f]
        dw[c, f] = total


@kernel("(int64, T[:,::1], T[::1])")
def _bias_gradient(count, dy, db):
    for f in range(cuda.grid(1), count, cuda.gridsize(1)):
        total = db.dtype.type(0)
        for n in range(dy.shape[0]):
            total += dy[n, f]
        db[f] = total


def dense(x, w, b, y, relu: bool = False) -> None:
    """y (N,F) = x (N,C) @ w (C,F) + b (F,) or None; max(y, 0) with `relu`."""
    _forward(y.size, x, w, *bias(b, w), y, relu)


def dense_input_grad(dy, w, dx) -> None:
    """dx (N,C) = dy (N,F) @ w (C,F).T."""
    _input_gradient(dx.size, dy, w, dx)


def dense_weight_grad(x, dy, dw, db) -> None:
    """dw (C,F) = x (N,C).T @ dy (N,F) and db (F,) = the sum of dy over the batch."""
    _weight_gradient(dw.size, x, dy, dw)
    _bias_gradient(db.size, dy, db)
