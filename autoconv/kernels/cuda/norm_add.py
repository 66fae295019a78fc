"""The gradient of batch normalization followed by the addition of another array and ReLU."""

import numpy as np

from .columns import adding_up, column_kernel, place, run_of, summed
from .fours import WIDTHS, moving
from .kernels import BlockKernel, cuda
from .norm import add_products, coefficients, input_grad, moments, normalize  # noqa: F401 (part of this module)


def _passed_products(size: int) -> BlockKernel:
    """passed = dy, or dy + more, where y > 0; partial[:, part, c] = the partial sums of passed (x -
    mean) and of passed.
    """
    (fetch, put), add = moving(size), adding_up(size)

    @column_kernel("(const T[:,::1], const T[:,::1], const T[:,::1], const T[:,::1], boolean, const T[::1], T[:,::1],"
                   " float64[:,:,::1], SPREAD)", "_passed_products", size)
    def run(x, y, dy, more, two, mean, passed, partial, each, length, across, lanes):
        column, share, real = place(each, across, lanes)
        here, given = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        second, result = cuda.local.array(size, x.dtype), cuda.local.array(size, x.dtype)
        center, sums = cuda.local.array(size, x.dtype), cuda.local.array((2, size), "float64")
        for e in range(size):
            sums[0, e] = sums[1, e] = 0
        if real:
            fetch(center, mean, column)
            at, count, step = run_of(share, each, length, across, column, x.shape[0])
            for _ in range(count):
                fetch(here, x, at)
                fetch(result, y, at)
                fetch(given, dy, at)
                if two:
                    fetch(second, more, at)
                for e in range(size):
                    gradient = given[e] + second[e] if two else given[e]
                    given[e] = x.dtype.type(0) if result[e] <= 0 else gradient
                    sums[0, e] += np.float64(given[e]) * np.float64(here[e] - center[e])
                    sums[1, e] += given[e]
                put(passed, at, given)
                at += step
        add(sums, partial, each, across, lanes)

    return run


_PASSED_PRODUCTS = tuple(map(_passed_products, WIDTHS))


def parameter_grads_add(x, y, dy, second_dy, has_second_dy, mean, inverse, parts, masked_dy, dgamma, dbeta):
    """masked_dy = dy, or dy + second_dy if `has_second_dy`, where y > 0, otherwise 0; dgamma = sum
    of masked_dy (x - mean) inverse, dbeta = sum of masked_dy, over rows.
    """
    add_products(summed(_PASSED_PRODUCTS, x, y, dy, second_dy, has_second_dy, mean, masked_dy), inverse, dgamma, dbeta)
