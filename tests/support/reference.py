"""The definition of every op, as plain loops over NumPy arrays. Nothing here is taken from the library.

Each function takes what the function of the same name in `autoconv.functional` takes, or the operator's arguments.
"""

import math
import statistics
from functools import reduce
from itertools import product

import numpy as np

# Windows


def two(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def paddings(size, span, strides, padding):
    """((top, bottom), (left, right)) of any way to say it."""
    if padding == "valid":
        return (0, 0), (0, 0)
    if padding == "same":
        sides = []
        for n, k, s in zip(size, span, strides):
            windows = -(-n // s)
            needed = max((windows - 1) * s + k - n, 0)
            sides.append((needed // 2, needed - needed // 2))
        return tuple(sides)
    vertical, horizontal = two(padding)
    return two(vertical), two(horizontal)


def windows_along(n, before, after, span, stride):
    """The first pixel of every window on one axis, by trying each position. Negative where it starts in the padding."""
    starts = []
    position = -before
    while position + span <= n + after:
        starts.append(position)
        position += stride
    return starts


def windows(x, kernel, strides, padding, dilation_rate=1):
    """Yields (i, j, taps): taps are (u, v, row, column) for every pixel of window (i, j) that lies inside the image."""
    (kh, kw), (sh, sw), (dh, dw) = two(kernel), two(strides), two(dilation_rate)
    size, span = x.shape[1:3], ((kh - 1) * dh + 1, (kw - 1) * dw + 1)
    (top, bottom), (left, right) = paddings(size, span, (sh, sw), padding)
    rows = windows_along(size[0], top, bottom, span[0], sh)
    columns = windows_along(size[1], left, right, span[1], sw)
    for (i, row), (j, column) in product(enumerate(rows), enumerate(columns)):
        taps = []
        for u, v in product(range(kh), range(kw)):
            r, c = row + u * dh, column + v * dw
            if 0 <= r < size[0] and 0 <= c < size[1]:
                taps.append((u, v, r, c))
        yield i, j, taps


def gathered(results, shape, dtype):
    """An array (N, OH, OW, ...) of a dictionary {(i, j): (N, ...)}."""
    oh, ow = (max(index[axis] for index in results) + 1 for axis in (0, 1))
    y = np.zeros((shape[0], oh, ow, *shape[1:]), dtype)
    for (i, j), value in results.items():
        y[:, i, j] = value
    return y


# Convolutions and pooling


def conv2d(x, w, b=None, strides=1, padding="valid", dilation_rate=1, groups=1):
    n, filters, depth = x.shape[0], w.shape[3], w.shape[2]
    per_group = filters // groups
    results = {}
    for i, j, taps in windows(x, w.shape[:2], strides, padding, dilation_rate):
        z = np.zeros((n, filters), x.dtype)
        for u, v, r, c in taps:
            for g in range(groups):
                seen, made = slice(g * depth, (g + 1) * depth), slice(g * per_group, (g + 1) * per_group)
                z[:, made] += x[:, r, c, seen] @ w[u, v, :, made]
        results[i, j] = z if b is None else z + b
    return gathered(results, (n, filters), x.dtype)


def conv2d_transpose(x, w, b=None, strides=1, padding="valid", dilation_rate=1):
    """Every pixel of x adds its multiple of the kernel; "same" then crops what a "same" convolution would pad."""
    (n, h, width, _), (kh, kw, filters, _) = x.shape, w.shape
    (sh, sw), (dh, dw) = two(strides), two(dilation_rate)
    span = (kh - 1) * dh + 1, (kw - 1) * dw + 1
    high, wide = max((h - 1) * sh + span[0], h * sh), max((width - 1) * sw + span[1], width * sw)
    full = np.zeros((n, high, wide, filters), x.dtype)
    for i, j, u, v in product(range(h), range(width), range(kh), range(kw)):
        full[:, i * sh + u * dh, j * sw + v * dw] += x[:, i, j] @ w[u, v].T
    if padding == "same":
        (top, _), (left, _) = paddings((h * sh, width * sw), span, (sh, sw), "same")
        full = full[:, top : top + h * sh, left : left + width * sw]
    return full if b is None else full + b


def depthwise_conv2d(x, w, b=None, strides=1, padding="valid", dilation_rate=1):
    n, channels, multiplier = x.shape[0], x.shape[3], w.shape[3]
    results = {}
    for i, j, taps in windows(x, w.shape[:2], strides, padding, dilation_rate):
        z = np.zeros((n, channels * multiplier), x.dtype)
        for u, v, r, c in taps:
            for channel, m in product(range(channels), range(multiplier)):
                z[:, channel * multiplier + m] += x[:, r, c, channel] * w[u, v, channel, m]
        results[i, j] = z if b is None else z + b
    return gathered(results, (n, channels * multiplier), x.dtype)


def max_pool2d(x, pool_size=2, strides=None, padding="valid"):
    results = {}
    for i, j, taps in windows(x, pool_size, pool_size if strides is None else strides, padding):
        y = np.empty((x.shape[0], x.shape[3]), x.dtype)
        for index in np.ndindex(*y.shape):
            y[index] = largest([x[index[0], r, c, index[1]] for _, _, r, c in taps])
        results[i, j] = y
    return gathered(results, (x.shape[0], x.shape[3]), x.dtype)


def avg_pool2d(x, pool_size=2, strides=None, padding="valid"):
    results = {}
    for i, j, taps in windows(x, pool_size, pool_size if strides is None else strides, padding):
        results[i, j] = sum(x[:, r, c] for _, _, r, c in taps) / len(taps)
    return gathered(results, (x.shape[0], x.shape[3]), x.dtype)


def zero_padding2d(x, padding):
    (top, bottom), (left, right) = two(two(padding)[0]), two(two(padding)[1])
    n, h, w, channels = x.shape
    y = np.zeros((n, top + h + bottom, left + w + right, channels), x.dtype)
    for i, j in product(range(h), range(w)):
        y[:, top + i, left + j] = x[:, i, j]
    return y


def dense(x, w, b=None):
    y = np.zeros((x.shape[0], w.shape[1]), x.dtype)
    for n, f in product(range(x.shape[0]), range(w.shape[1])):
        y[n, f] = sum(x[n, c] * w[c, f] for c in range(x.shape[1])) + (0 if b is None else b[f])
    return y


# Images


def folded(c, size, fill_mode):
    """Where a coordinate lies within 0..size-1, by what is outside of an image; None where that is one number."""
    last = size - 1
    if fill_mode == "constant":
        return c if -1 < c < size else None
    if fill_mode == "reflect":
        c %= 2 * size
        c = 2 * size - 1 - c if c >= size else c
    if fill_mode == "wrap" and size > 1 and not 0 <= c <= last:
        c += size * (int(-c / last) + 1) if c < 0 else -size * int(c / last)
    return min(max(c, 0), last)


def taps(t, i, j, size, interpolation, fill_mode):
    """(row, column, share) of every pixel that pixel (i, j) of a result is made of."""
    s = t[6] * j + t[7] * i + 1
    if s == 0:  # the horizon
        return [(-1, -1, 1.0)]
    row = folded((t[3] * j + t[4] * i + t[5]) / s, size[0], fill_mode)
    column = folded((t[0] * j + t[1] * i + t[2]) / s, size[1], fill_mode)
    if row is None or column is None:
        return [(-1, -1, 1.0)]
    if interpolation == "nearest":
        return [(int(np.floor(row + 0.5)), int(np.floor(column + 0.5)), 1.0)]
    r, c = int(np.floor(row)), int(np.floor(column))
    return [(r + u, c + v, (1 - abs(row - r - u)) * (1 - abs(column - c - v))) for u, v in product(range(2), range(2))]


def affine_transform(images, transform, interpolation="bilinear", fill_mode="constant", fill_value=0.0, size=None):
    n, h, w, channels = images.shape
    y = np.zeros((n, *(size or (h, w)), channels), images.dtype)
    for k, i, j in np.ndindex(*y.shape[:3]):
        t = np.broadcast_to(transform, (n, 8))[k]
        for r, c, share in taps(t, i, j, (h, w), interpolation, fill_mode):
            inside = 0 <= r < h and 0 <= c < w
            y[k, i, j] += share * (images[k, r, c] if inside else fill_value)
    return y


def resize(images, size, interpolation="bilinear"):
    """The square of each new pixel is compared with those of the old ones by their centres."""
    (h, w), (oh, ow) = images.shape[1:3], size
    y = np.zeros((len(images), oh, ow, images.shape[3]), images.dtype)
    for i, j in product(range(oh), range(ow)):
        row, column = (i + 0.5) * h / oh, (j + 0.5) * w / ow  # from the edge of the image
        if interpolation == "nearest":
            y[:, i, j] = images[:, int(row), int(column)]
        else:
            row, column = min(max(row - 0.5, 0), h - 1), min(max(column - 0.5, 0), w - 1)
            for r, c in product(range(h), range(w)):
                y[:, i, j] += max(1 - abs(row - r), 0) * max(1 - abs(column - c), 0) * images[:, r, c]
    return y


# Arithmetic


def itemwise(f):
    """The function of one item, or of two that broadcast, over all items."""

    def looped(*arrays):
        spread = np.broadcast_arrays(*arrays)
        y = np.empty(spread[0].shape, arrays[0].dtype)
        for index in np.ndindex(*y.shape):
            y[index] = f(*(a[index] for a in spread))
        return y

    return looped


def matmul(a, b):
    rows, columns = np.atleast_2d(a), b if b.ndim > 1 else b[:, None]
    batch = np.broadcast_shapes(rows.shape[:-2], columns.shape[:-2])
    rows, columns = (np.broadcast_to(m, batch + m.shape[-2:]) for m in (rows, columns))
    y = np.zeros((*batch, rows.shape[-2], columns.shape[-1]), a.dtype)
    for index in np.ndindex(*y.shape):
        *where, i, j = index
        y[index] = sum(p * q for p, q in zip(rows[(*where, i)], columns[(*where, slice(None), j)]))
    y = y if b.ndim > 1 else y[..., 0]
    return y if a.ndim > 1 else (y[..., 0, :] if b.ndim > 1 else y[..., 0])


def reduction(combine):
    """The items that fall together along `axis`, in scan order, made one by `combine`."""

    def reduced(x, axis=None, keepdims=False):
        axes = range(x.ndim) if axis is None else [a % x.ndim for a in (axis if isinstance(axis, tuple) else (axis,))]
        shape = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
        y = np.empty(shape, x.dtype)
        for index in np.ndindex(*shape):
            ranges = [range(n) if a in axes else [i] for a, (i, n) in enumerate(zip(index, x.shape))]
            y[index] = combine([x[place] for place in product(*ranges)])
        return y if keepdims else y.reshape([n for a, n in enumerate(x.shape) if a not in axes])

    return reduced


def transpose(x, axes=None):
    axes = tuple(range(x.ndim))[::-1] if axes is None else axes
    y = np.empty([x.shape[a] for a in axes], x.dtype)
    for index in np.ndindex(*x.shape):
        y[tuple(index[a] for a in axes)] = x[index]
    return y


def rows(f):
    """The function of one row, over all rows along `axis`."""

    def by_rows(x, axis=-1):
        y = np.empty_like(x)
        along = np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1)
        for index in np.ndindex(*along[0].shape[:-1]):
            along[1][index] = f(along[0][index])
        return y

    return by_rows


def softmax_row(row):
    powers = [np.exp(v - largest(row)) for v in row]
    return [p / sum(powers) for p in powers]


def log_softmax_row(row):
    away = [v - largest(row) for v in row]
    return [v - np.log(sum(np.exp(w) for w in away)) for v in away]


# Items one by one, as NumPy has them where one is NaN or infinite: `itemwise` functions of numbers.


def larger(a, b):
    """The first of the larger ones; a NaN is larger than all."""
    return a if a >= b or a != a else b


def largest(items):
    return reduce(larger, items)


def smaller(a, b):
    return a if a <= b or a != a else b


def positive(v):
    return v if v > 0 or v != v else 0


def relu(x):
    return itemwise(positive)(x)


def maximum(a, b):
    """`larger`, of which the second one gets the gradient where either is NaN."""
    return a if a >= b else b if b > a else b + np.nan


def minimum(a, b):
    return a if a <= b else b if b < a else b + np.nan


def sigmoid(v):
    return 1 / (1 + np.exp(-v)) if v >= 0 else np.exp(v) / (1 + np.exp(v))


# Joining and choosing. `where` and the like are `itemwise`.


def concatenate(*arrays, axis=0):
    axis %= arrays[0].ndim
    shape = list(arrays[0].shape)
    shape[axis] = sum(a.shape[axis] for a in arrays)
    y, start = np.empty(shape, arrays[0].dtype), 0
    for a in arrays:
        for index in np.ndindex(*a.shape):
            y[(*index[:axis], index[axis] + start, *index[axis + 1 :])] = a[index]
        start += a.shape[axis]
    return y


def stack(*arrays, axis=0):
    axis %= arrays[0].ndim + 1
    shape = arrays[0].shape
    return concatenate(*(a.reshape(*shape[:axis], 1, *shape[axis:]) for a in arrays), axis=axis)


def pad(x, pad_width, constant_values=0):
    y = np.empty([n + before + after for n, (before, after) in zip(x.shape, pad_width)], x.dtype)
    for index in np.ndindex(*y.shape):
        place = tuple(i - before for i, (before, _) in zip(index, pad_width))
        inside = all(0 <= i < n for i, n in zip(place, x.shape))
        y[index] = x[place] if inside else constant_values
    return y


def clip(x, x_min, x_max):
    least, most = -np.inf if x_min is None else x_min, np.inf if x_max is None else x_max
    return itemwise(lambda v: v if least <= v <= most else least if v < least else most if v > most else np.nan)(x)


def argmax(x, axis=None, keepdims=False):
    """The first one of the largest items of each row, counted along the axis."""
    def place(items):
        return next(i for i, item in enumerate(items) if item is largest(items))

    return reduction(place)(x, axis, keepdims)


# Normalisation, dropout, losses


def batch_norm(x, gamma, beta, moving_mean, moving_var, training, epsilon=1e-3):
    y = np.empty_like(x)
    for c in range(x.shape[-1]):
        column = x[..., c]
        mean, variance = moving_mean[c], moving_var[c]
        if training:
            mean = sum(column.flat) / column.size
            variance = sum((v - mean) ** 2 for v in column.flat) / column.size
        g, b = 1 if gamma is None else gamma[c], 0 if beta is None else beta[c]
        for index in np.ndindex(*column.shape):
            y[(*index, c)] = g * (x[(*index, c)] - mean) / np.sqrt(variance + epsilon) + b
    return y


def philox(counter, key):
    """Philox4x32-10 in Python's integers: four words of a counter of four words and a key of two."""
    (c0, c1, c2, c3), (k0, k1) = counter, key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 % 2**32, (p0 >> 32) ^ c3 ^ k1, p0 % 2**32
        k0, k1 = (k0 + 0x9E3779B9) % 2**32, (k1 + 0xBB67AE85) % 2**32
    return c0, c1, c2, c3


def dropout(x, rate, seed):
    """Item j of sample n stays where word j of that sample, in the seed's stream 0, reaches the rate."""
    y = np.empty_like(x)
    for n in range(len(x)):
        for j, v in enumerate(x[n].flat):
            word = philox((j // 4, n, 0, 0), (seed % 2**32, seed >> 32))[j % 4]
            y[n].flat[j] = v / (1 - rate) if word >= rate * 2**32 else 0 * v
    return y


def gaussian_noise(x, stddev, rel_stddev, key, first):
    """Item j of sample n gets the normal number below which one lies with the probability (its word + 1/2) / 2^32."""
    (seed, stream), y = key, np.empty_like(x)
    for n in range(len(x)):
        for j, v in enumerate(x[n].flat):
            word = philox((j // 4, n + first, stream, 0), (seed % 2**32, seed >> 32))[j % 4]
            normal = statistics.NormalDist().inv_cdf((word + 0.5) / 2**32)
            y[n].flat[j] = v + (stddev + rel_stddev * v if rel_stddev else stddev) * normal
    return y


def erf(v):
    return v.erf() if hasattr(v, "erf") else math.erf(v)


def clipped(p):
    return p if 1e-7 <= p <= 1 - 1e-7 or p != p else 1e-7 if p < 1e-7 else 1 - 1e-7


def per_sample(loss):
    """The loss of one row of targets and predictions, over all rows."""

    def losses(y_true, y_pred, **parameters):
        y = np.empty(y_pred.shape[:-1], y_pred.dtype)
        for index in np.ndindex(*y.shape):
            y[index] = loss(y_true[index], y_pred[index], **parameters)
        return y

    return losses


def categorical(targets, row, from_logits=False):
    """Of logits, what has no share in the targets counts for nothing, also where its logarithm is -inf."""
    shares = log_softmax_row(row) if from_logits else [np.log(clipped(v / sum(row))) for v in row]
    return -sum(t * p for t, p in zip(targets, shares) if t != 0 or not from_logits)


def sparse(label, row, from_logits=False):
    return categorical([float(c == label) for c in range(len(row))], row, from_logits)


def binary(targets, row, from_logits=False):
    if from_logits:  # log(1 + exp(x)) - x t, in the form that cannot overflow
        return sum(positive(v) - v * t + np.log(1 + np.exp(-abs(v))) for t, v in zip(targets, row)) / len(row)
    shares = [clipped(v) for v in row]
    return -sum(t * np.log(p) + (1 - t) * np.log(1 - p) for t, p in zip(targets, shares)) / len(row)


categorical_crossentropy = per_sample(categorical)
sparse_categorical_crossentropy = per_sample(sparse)
binary_crossentropy = per_sample(binary)
mean_squared_error = per_sample(lambda t, y: sum((a - b) ** 2 for a, b in zip(t, y)) / len(y))
mean_absolute_error = per_sample(lambda t, y: sum(abs(a - b) for a, b in zip(t, y)) / len(y))
