"""Normal noise. The noise is not stored: the backward pass draws it again from the same key."""

import numpy as np

from .registry import gradient_buffer, op


@op(kernels="random")
def gaussian_noise(k, x, stddev, rel_stddev, key, first=0):
    """y = x + (stddev + rel_stddev x) n, with a standard normal number n for each element, drawn
    from `key` = (seed, stream).

    `first` is the index of x's first sample (along the first axis) in the whole batch. The noise of
    a sample depends on this index, not on which other samples are computed with it. Element j of a
    sample uses the sample's random word j (kernels/formulas/random_numbers.py).
    """
    seed, stream, first = (np.uint64(part) if isinstance(part, int) else part for part in (*key, first))
    rows = (len(x), -1) if x.ndim > 1 and x.size else (1, x.size)

    def add_noise(a, stddev, out):
        k.gaussian_noise(a.reshape(rows), stddev, rel_stddev, seed, stream, first, out.reshape(rows))
        return out

    def backward(dy, needs):
        if not rel_stddev:
            return (dy,)
        return (add_noise(dy, 0.0, gradient_buffer(k, needs[0], dy.shape, dy.dtype)),)

    return add_noise(x, stddev, k.empty(x.shape, x.dtype)), backward
