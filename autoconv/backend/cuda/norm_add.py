"""The gradient of batch normalization, the addition of another array and ReLU."""

from .norm import add_parts, coefficients, input_grad, moments, normalize  # noqa: F401 (part of this module)
from .ptx import global_index
from .runtime import kernel


@kernel("(int64, const T[:,::1], const T[:,::1], const T[:,::1], const T[:,::1], boolean, const T[::1], const T[::1],"
        " float64[:,:,::1], T[:,::1])")
def _passed_products(count, x, y, dy, more, two, mean, inverse, parts, passed):
    """passed = dy, or dy + more, where y > 0; parts[:, p, c] = the sums of passed (x - mean) inverse and of passed over
    its share of column c.
    """
    _, number, channels = parts.shape
    item = global_index()
    if item < count:
        p, c = item // channels, item % channels
        products, gradients = 0.0, 0.0
        for i in range(x.shape[0] * p // number, x.shape[0] * (p + 1) // number):
            gradient = dy[i, c] + more[i, c] if two else dy[i, c]
            if y[i, c] <= 0:
                gradient = x.dtype.type(0)
            passed[i, c] = gradient
            products += gradient * ((x[i, c] - mean[c]) * inverse[c])
            gradients += gradient
        parts[0, p, c], parts[1, p, c] = products, gradients


def parameter_grads_add(x, y, dy, more, two, mean, inverse, parts, passed, dgamma, dbeta):
    """passed = dy, or the sum of dy and `more` where they are `two`, where y > 0, else 0; dgamma = sum of passed
    (x - mean) inverse, dbeta = sum of passed, over rows.
    """
    _passed_products(parts.size // 2, x, y, dy, more, two, mean, inverse, parts, passed)
    add_parts(parts, dgamma, dbeta)
