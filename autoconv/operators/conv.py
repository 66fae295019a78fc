"""Convolutions. Images are (N, H, W, C), kernels (KH, KW, C, F)."""

from types import ModuleType
from typing import Any

from ..arguments.shapes import Window
from .registry import MASKED, Masked, gradient_buffer, op


@op(kernels="conv", masks=True, rereads=True)
def conv2d(k, x, w, b, window: Window, groups: int = 1, activation: str = "linear"):
    """y[n,p,q,f] = b[f] + sum over i,j,c of x[n, p*sh + i*dh - top, q*sw + j*dw - left, c] *
    w[i,j,c,f].

    x (N,H,W,C), w (KH,KW,C/groups,F), b (F,) or None; y (N,OH,OW,F). The filters of group g read
    only the channels of group g. The activation, "linear" or "relu", is applied to y.
    """
    y = k.empty(window.convolved_shape(x.shape, w.shape, _shape(b), w.shape[3], groups), x.dtype)
    k.conv2d(x, w, b, y, window, groups, activation)

    def backward(dy, needs, x):
        dx = None
        if activation == "relu":
            dy = relu_gradient(k, y, dy)
        if needs[0] is not False:
            dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
            if needs[0] is MASKED:
                k.conv2d_masked_input_grad(dy, w, x, dx, window, groups)
                dx = Masked(dx)
            else:
                k.conv2d_input_grad(dy, w, dx, window, groups)
        dw, db = weight_gradients(k, needs, w.shape, w.shape[3], x.dtype)
        if dw is not None:
            k.conv2d_weight_grad(x, dy, dw, db, window, groups)
        return dx, dw if needs[1] is not False else None, db if needs[2] is not False else None

    return y, backward


@conv2d.without_gradients
def _infer(k, x, w, b, other=None, *, window: Window, groups: int = 1, activation: str = "linear", scale=None,
           before=None):
    """Computes `conv2d` without gradients. `scale` (F,) multiplies w. `other`, an array of y's shape, is added
    before the activation, which may be any of `elementwise.IN_PASS`. `before` = (center, scale, shift, activation)
    is a normalization of x, see `norm.coefficients`.
    """
    y = k.empty(window.convolved_shape(x.shape, w.shape, _shape(b), w.shape[3], groups), x.dtype)
    k.infer_conv2d(x, w, b, y, window, groups, activation, scale, other, before)
    return y


@op(kernels="conv")
def conv2d_transpose(k, x, w, b, window: Window, size: tuple[int, int]):
    """Computes a transposed convolution, which is the input gradient of `conv2d` with this window.

    x (N,H,W,C), w (KH,KW,F,C) as stored by Keras, b (F,) or None; y (N,OH,OW,F) with (OH,OW) =
    `size`. Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning"
    (2016), section 4.
    """
    y = k.empty((x.shape[0], *size, w.shape[2]), x.dtype)
    if window.convolved_shape(y.shape, w.shape, None, w.shape[3]) != x.shape or _shape(b) not in (None, y.shape[3:]):
        raise ValueError("The shapes of x, w and the bias do not match a transposed convolution "
                         f"with {window} and a result of shape {y.shape}. Received: x of shape "
                         f"{x.shape}, w of shape {w.shape}, bias of shape {_shape(b)}.")
    k.conv2d_input_grad(x, w, y, window, 1, b)

    def backward(dy, needs):
        dx = None
        if needs[0] is not False:
            dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
            k.conv2d(dy, w, None, dx, window, 1)
        dw, _ = weight_gradients(k, needs[:2], w.shape, w.shape[3], x.dtype)
        if dw is not None:
            k.conv2d_weight_grad(dy, x, dw, k.empty((w.shape[3],), x.dtype), window, 1)
        db = None
        if needs[2] is not False:
            db = gradient_buffer(k, needs[2], (w.shape[2],), x.dtype)
            k.channel_sums(dy, db)
        return dx, dw, db

    return y, backward


def conv2d_kernel_gradient(k, x, dy, window: Window, size: tuple[int, int]):
    """Returns the gradient dw (*size,C,F) of the kernel of `conv2d`, which received x (N,H,W,C), from its
    result's gradient dy (N,OH,OW,F).
    """
    dw = k.empty((*size, x.shape[3], dy.shape[3]), x.dtype)
    k.conv2d_weight_grad(x, dy, dw, k.empty(dy.shape[3:], x.dtype), window, 1)

    def backward(g, needs):
        dx = ddy = None
        if needs[0] is not False:
            dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
            k.conv2d_input_grad(dy, g, dx, window)
        if needs[1] is not False:
            ddy = gradient_buffer(k, needs[1], dy.shape, x.dtype)
            k.conv2d(x, g, None, ddy, window)
        return dx, ddy

    return dw, backward


@op(kernels="depthwise", rereads=True)
def depthwise_conv2d(k, x, w, b, window: Window, activation: str = "linear"):
    """Convolves each channel c with its own M kernels: y[..., c*M + m] = b[c*M + m] + x[..., c] *
    w[:, :, c, m].

    x (N,H,W,C), w (KH,KW,C,M), b (C*M,) or None; y (N,OH,OW,C*M). The activation is
    applied to y. If gradients are needed, it must be "linear" or "relu".
    """
    filters = w.shape[2] * w.shape[3]
    y = k.empty(window.convolved_shape(x.shape, w.shape, _shape(b), filters), x.dtype)
    k.depthwise_conv2d(x, w, b, y, window, activation)

    def backward(dy, needs, x):
        dx = None
        if activation == "relu":
            dy = relu_gradient(k, y, dy)
        if needs[0] is not False:
            dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
            k.depthwise_conv2d_input_grad(dy, w, dx, window)
        dw, db = weight_gradients(k, needs, w.shape, filters, x.dtype)
        if dw is not None:
            k.depthwise_conv2d_weight_grad(x, dy, dw, db, window)
        return dx, dw if needs[1] is not False else None, db if needs[2] is not False else None

    return y, backward


def _shape(b: Any) -> tuple[int, ...] | None:
    """Returns the bias's shape, or None if there is no bias."""
    return None if b is None else b.shape


def relu_gradient(k: ModuleType, y: Any, dy: Any) -> Any:
    """Returns the gradient of a ReLU's input from its result y: dy where y > 0, otherwise 0."""
    if isinstance(dy, Masked):
        return dy.array
    masked = k.empty(y.shape, y.dtype)
    k.relu_grad(y.reshape(-1), dy.reshape(-1), masked.reshape(-1))
    return masked


def weight_gradients(k: ModuleType, needs: tuple, shape: tuple[int, ...], filters: int, dtype: Any,
                     always: bool = False) -> tuple[Any, Any]:
    """Returns arrays for dw and db, which a layer's kernel writes together. Returns (None, None) if
    no gradient is needed, unless `always` is true.
    """
    needs_b = needs[2] if len(needs) > 2 else False
    if not always and needs[1] is False and needs_b is False:
        return None, None
    return (
        gradient_buffer(k, True if needs[1] is False else needs[1], shape, dtype),
        gradient_buffer(k, True if needs_b is False else needs_b, (filters,), dtype),
    )
