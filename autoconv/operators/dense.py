"""The op of the dense layer."""

from .conv import relu_gradient, weight_gradients
from .registry import MASKED, Masked, gradient_buffer, op


@op(kernels="dense", masks=True, rereads=True)
def dense(k, x, w, b, activation: str = "linear"):
    """y = x @ w + b with x (N,C), w (C,F), b (F,) or None; y (N,F). The activation is applied to y. If
    gradients are needed, it must be "linear" or "relu".
    """
    if len(w.shape) != 2 or x.shape[1] != w.shape[0] or (b is not None and b.shape != w.shape[1:]):
        raise ValueError("A dense layer requires x (N, C), a kernel (C, F) and a bias (F,). Received: x of shape "
                         f"{x.shape}, kernel of shape {w.shape}, bias of shape {None if b is None else b.shape}.")
    if not x.shape[1]:
        raise ValueError(f"A dense layer needs inputs with at least one channel. Received: x of shape {x.shape}.")
    y = k.empty((x.shape[0], w.shape[1]), x.dtype)
    k.dense(x, w, b, y, activation)

    def backward(dy, needs, x):
        dx = None
        if activation == "relu":
            dy = relu_gradient(k, y, dy)
        if needs[0] is not False:
            dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
            if needs[0] is MASKED:
                k.dense_masked_input_grad(dy, w, x, dx)
                dx = Masked(dx)
            else:
                k.dense_input_grad(dy, w, dx)
        dw, db = weight_gradients(k, needs, w.shape, w.shape[1], x.dtype)
        if dw is not None:
            k.dense_weight_grad(x, dy, dw, db)
        return dx, dw if needs[1] is not False else None, db if needs[2] is not False else None

    return y, backward
