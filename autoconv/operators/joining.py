"""Putting arrays together. To take one apart is `getitem`, to stack arrays is to concatenate views of them."""

import numpy as np

from .arith import _result_dtype
from .registry import gradient_buffer, op


@op(kernels="arith")
def concatenate(k, *arrays, axis):
    """The arrays one behind the other along `axis` (0 or more); each gets back its part of the gradient."""
    ends = np.cumsum([a.shape[axis] for a in arrays]).tolist()
    before = (slice(None),) * axis
    parts = [(*before, slice(end - a.shape[axis], end)) for a, end in zip(arrays, ends)]
    first = arrays[0].shape
    y = k.empty((*first[:axis], ends[-1], *first[axis + 1 :]), _result_dtype(*arrays))
    for a, part in zip(arrays, parts):
        k.copy(a, y[part])

    def backward(dy, needs):
        gradients = []
        for a, part, need in zip(arrays, parts, needs):
            gradients.append(None if need is False else gradient_buffer(k, need, a.shape, a.dtype))
            if need is not False:
                k.copy(dy[part], gradients[-1])
        return tuple(gradients)

    return y, backward
