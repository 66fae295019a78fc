"""Computes the gradient of batch normalization followed by addition of another array and ReLU."""

import numpy as np

from .columns import adding_up, column_kernel, compute_sums, find_elements, place
from .fours import WIDTHS, moving
from .kernels import BlockKernel, cuda
from .norm import add_products, coefficients, input_grad, moments, normalize  # noqa: F401 (re-exported)


def _masked_products(size: int) -> BlockKernel:
    """Creates a kernel for masked_dy = dy, or dy + second_dy, where y > 0, and 0 elsewhere, and for
    partial[:, part, c] = the partial sums of masked_dy (x - mean) and of masked_dy.
    """
    (fetch, put), add = moving(size), adding_up(size)

    @column_kernel("(const T[:,::1], const T[:,::1], const T[:,::1], const T[:,::1], boolean, "
                   "const T[::1], T[:,::1], float64[:,:,::1], SPREAD)", "_masked_products", size)
    def run(x, y, dy, second_dy, has_second_dy, mean, masked_dy, partial, columns, length, across, lanes):
        column, share, real = place(columns, across, lanes)
        here, dy_values = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        second_values = cuda.local.array(size, x.dtype)
        y_values = cuda.local.array(size, x.dtype)
        center, sums = cuda.local.array(size, x.dtype), cuda.local.array((2, size), "float64")
        for e in range(size):
            sums[0, e] = sums[1, e] = 0
        if real:
            fetch(center, mean, column)
            i, count, step = find_elements(share, columns, length, across, column, x.shape[0])
            for _ in range(count):
                fetch(here, x, i)
                fetch(y_values, y, i)
                fetch(dy_values, dy, i)
                if has_second_dy:
                    fetch(second_values, second_dy, i)
                for e in range(size):
                    gradient = dy_values[e] + second_values[e] if has_second_dy else dy_values[e]
                    dy_values[e] = x.dtype.type(0) if y_values[e] <= 0 else gradient
                    sums[0, e] += np.float64(dy_values[e]) * np.float64(here[e] - center[e])
                    sums[1, e] += dy_values[e]
                put(masked_dy, i, dy_values)
                i += step
        add(sums, partial, columns, across, lanes)

    return run


_PRODUCTS = tuple(map(_masked_products, WIDTHS))


def parameter_grads_add(x, y, dy, second_dy, has_second_dy, mean, inverse, parts, masked_dy, dgamma, dbeta):
    """masked_dy = dy, or dy + second_dy if `has_second_dy`, where y > 0, and 0 elsewhere. dgamma =
    sum of masked_dy (x - mean) inverse, dbeta = sum of masked_dy, over the rows.
    """
    add_products(compute_sums(_PRODUCTS, x, y, dy, second_dy, has_second_dy, mean, masked_dy), inverse, dgamma, dbeta)
