"""The losses: one number per sample, as in Keras's loss functions. The targets `y_true` receive
no gradient.
"""

from .registry import gradient_buffer, op


@op(kernels="loss")
def categorical_crossentropy(k, y_pred, y_true, from_logits=False):
    """-sum(t log p) over the last axis. Probabilities are normalized to sum to 1 and clipped to
    [1e-7, 1 - 1e-7], as in Keras.

    With `from_logits`, p is the softmax of y_pred, stable for any values, and 0 log 0 = 0: a logit
    of -inf marks an impossible class.
    """
    if from_logits:
        return _sample_losses(k, y_pred, y_true, k.categorical_logits, k.categorical_logits_grad)
    return _sample_losses(k, y_pred, y_true, k.categorical, k.categorical_grad)


@op(kernels="loss")
def sparse_categorical_crossentropy(k, y_pred, y_true, from_logits=False):
    """`categorical_crossentropy` with integer labels (...) in 0..C-1 for predictions (..., C)."""
    t = k.empty(y_pred.shape, y_pred.dtype)
    k.one_hot(y_true, t)
    return categorical_crossentropy.fn(k, y_pred, t, from_logits)


@op(kernels="loss")
def binary_crossentropy(k, y_pred, y_true, from_logits=False):
    """-mean(t log p + (1 - t) log(1 - p)) over the last axis; probabilities are clipped to [1e-7, 1 - 1e-7]."""
    if from_logits:
        return _sample_losses(k, y_pred, y_true, k.binary_logits, k.binary_logits_grad)
    return _sample_losses(k, y_pred, y_true, k.binary, k.binary_grad)


@op(kernels="loss")
def mean_squared_error(k, y_pred, y_true):
    """mean((y - t)^2) over the last axis."""
    return _sample_losses(k, y_pred, y_true, k.squared_error, k.squared_error_grad)


@op(kernels="loss")
def mean_absolute_error(k, y_pred, y_true):
    """mean(|y - t|) over the last axis."""
    return _sample_losses(k, y_pred, y_true, k.absolute, k.absolute_grad)


def _sample_losses(k, x, t, forward, gradient):
    """Returns the losses (...) of predictions x and targets t (..., C), and the loss's backward function."""
    loss = k.empty(x.shape[:-1], x.dtype)
    forward(t, x, loss)

    def backward(dy, needs):
        dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
        gradient(t, x, dy, dx)
        return (dx,)

    return loss, backward
