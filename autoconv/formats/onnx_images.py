"""Computes ONNX's image ops with channels last. Kernels are (F, C / groups, KH, KW) as in ONNX."""

from functools import reduce
from typing import Any

import numpy as np

from .. import functional as F
from ..arguments import shapes
from ..engine.tensor import Tensor
from .onnx_values import KNOWN, TERMS, Attributes, check_size, constant, refusal, take


def _pair(node: Attributes, name: str, default: Any) -> tuple[int, int]:
    """Returns the two numbers of an attribute. A single number n becomes (1, n)."""
    values = list(node.get(name, default))
    if len(values) == 1:
        values = [1, *values]
    if len(values) != 2:
        raise ValueError(f"{name} must have one or two numbers, one per image axis. Received: {values}.")
    return values[0], values[1]


def _sides(node: Attributes) -> list[int]:
    """Returns the attribute `pads` as [top, left, bottom, right]."""
    pads = list(node.get("pads", (0, 0, 0, 0)))
    pads = [0, pads[0], 0, pads[1]] if len(pads) == 2 else pads
    if len(pads) != 4 or min(pads) < 0:
        raise ValueError(f"pads must have two non-negative numbers per image axis. Received: {pads}.")
    return pads


def padding(node: Attributes, x: Tensor, kernel: tuple[int, int]) -> list[tuple[int, int]]:
    """Returns the padding [(top, bottom), (left, right)] that `auto_pad` or `pads` specifies."""
    auto = node.get("auto_pad", "NOTSET")
    strides = _pair(node, "strides", (1, 1))
    rates = _pair(node, "dilations", (1, 1))
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        sides = [shapes.same_padding(n, (k - 1) * d + 1, max(s, 1))
                 for n, k, d, s in zip(x.shape[1:3], kernel, rates, strides)]
        return [pair if auto == "SAME_UPPER" else (pair[1], pair[0]) for pair in sides]
    if auto == "VALID":
        return [(0, 0), (0, 0)]
    if auto != "NOTSET":
        raise refusal(node, "auto_pad is NOTSET, VALID, SAME_UPPER or SAME_LOWER", auto)
    top, left, bottom, right = _sides(node)
    return [(top, bottom), (left, right)]


def _kernel(w: Tensor) -> Tensor:
    """Returns a kernel with 3 or 4 axes as a kernel with 4 axes."""
    w = w.reshape(*w.shape[:2], 1, w.shape[2]) if w.ndim == 3 else w
    if w.ndim != 4:
        raise ValueError(f"The kernel of a convolution must have 3 or 4 axes. Received shape: {w.shape}.")
    return w


def conv(node: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    w = _kernel(w)
    groups = node.get("group", 1)
    kernel = w.shape[2:]
    strides = _pair(node, "strides", (1, 1))
    rates = _pair(node, "dilations", (1, 1))
    sides = padding(node, x, kernel)  # type: ignore[arg-type]
    channels = x.shape[3]
    if groups == channels > 1 and w.shape[1] == 1 and w.shape[0] % channels == 0:
        depthwise = w.reshape(channels, w.shape[0] // channels, *kernel).transpose(2, 3, 0, 1)
        return F.depthwise_conv2d(x, depthwise, b, strides, sides, rates)
    return F.conv2d(x, w.transpose(2, 3, 1, 0), b, strides, sides, rates, groups)


def conv_transpose(node: Attributes, x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    """Computes a transposed convolution, cropped by `pads` and extended by `output_padding`."""
    w = _kernel(w)  # (C, F / groups, KH, KW)
    groups = node.get("group", 1)
    strides = _pair(node, "strides", (1, 1))
    rates = _pair(node, "dilations", (1, 1))
    extra = node.get("output_padding", (0, 0))
    extra = _pair(node, "output_padding", (0, 0)) if len(extra) == 2 else (0, extra[0])
    if not 0 < groups <= TERMS or x.shape[3] % groups or min(extra) < 0 or min(strides) < 1:
        raise ValueError(f"group must be in 1..{TERMS:,} and divide the number of input channels, "
                         f"{x.shape[3]}. strides must be positive, and output_padding must not be "
                         f"negative. Received: group={groups}, strides={strides}, output_padding={extra}.")
    spans = [(k - 1) * d + 1 for k, d in zip(w.shape[2:], rates)]
    whole = [(n - 1) * s + span for n, s, span in zip(x.shape[1:3], strides, spans)]
    check_size((x.shape[0], *(n + s for n, s in zip(whole, strides)), w.shape[1] * groups))
    part = x.shape[3] // groups
    kernel = w.transpose(2, 3, 1, 0)  # (KH, KW, F / groups, C)
    parts = [F.conv2d_transpose(x[..., i * part : (i + 1) * part], kernel[..., i * part : (i + 1) * part],
                                None, strides, "valid", rates) for i in range(groups)]
    y = parts[0] if groups == 1 else F.concatenate(parts, 3)
    cuts = _crop_widths(node, x, whole, strides, extra)
    y = F.pad(y, ((0, 0), *((0, max(n + m + max(-cut[1], 0) - have, 0))
                            for n, m, cut, have in zip(whole, extra, cuts, y.shape[1:3])), (0, 0)))
    (top, _), (left, _) = cuts
    size = [n + m - sum(cut) for n, m, cut in zip(whole, extra, cuts)]
    if min(top, left, *size) < 0:
        raise ValueError("pads cannot crop more pixels than the uncropped result has (height and width "
                         f"{[n + m for n, m in zip(whole, extra)]}). Received: [(top, bottom), (left, right)]={cuts}.")
    y = y[:, top : top + size[0], left : left + size[1]]
    return y if b is None else y + b


def _crop_widths(node: Attributes, x: Tensor, whole: list[int], strides: tuple[int, int],
                 extra: tuple[int, int]) -> list[tuple[int, int]]:
    """Returns the pixels to crop at the start and end of each axis of a transposed convolution."""
    auto = node.get("auto_pad", "NOTSET")
    shape = node.get("output_shape")
    if shape is None and auto in ("NOTSET", "VALID"):
        top, left, bottom, right = _sides(node) if auto == "NOTSET" else [0] * 4
        return [(top, bottom), (left, right)]
    size = [n * s for n, s in zip(x.shape[1:3], strides)] if shape is None else list(_pair(node, "output_shape", ()))
    check_size((x.shape[0], *size))
    result = []
    for n, target, margin in zip(whole, size, extra):
        total = n + margin - target
        small = total // 2
        large = total - total // 2
        result.append((small, large) if auto == "SAME_UPPER" or total < 0 else (large, small))
    return [(max(before, 0), after + min(before, 0)) for before, after in result]


def _pool_sides(node: Attributes, x: Tensor, kernel: tuple[int, int]) -> list[tuple[int, int]]:
    """Returns the padding of a pooling op. `ceil_mode` extends it to complete the last window."""
    sides = padding(node, x, kernel)
    if not node.get("ceil_mode", 0):
        return sides
    strides = _pair(node, "strides", (1, 1))
    rates = _pair(node, "dilations", (1, 1))
    result = []
    for n, k, s, d, (before, after) in zip(x.shape[1:3], kernel, strides, rates, sides):
        count = -(-(n + before + after - (k - 1) * d - 1) // s) + 1
        count -= (count - 1) * s >= n + before
        result.append((before, max((count - 1) * s + (k - 1) * d + 1 - n - before, after)))
    return result


def _windows(x: Tensor, kernel: tuple[int, int], strides: tuple[int, int], rates: tuple[int, int],
             sides: list[tuple[int, int]], value: float) -> list[Tensor]:
    """Returns, for each position in the window, an image of all windows' pixels at this position."""
    wide = F.pad(x, ((0, 0), *sides, (0, 0)), constant_values=value)
    size = [(n - (k - 1) * d - 1) // s + 1 for n, k, s, d in zip(wide.shape[1:3], kernel, strides, rates)]
    if min(size) < 1 or kernel[0] * kernel[1] > TERMS:
        raise ValueError("A pooling window must fit into the padded image. In this node, it may "
                         f"have at most {TERMS:,} pixels. Received: kernel_shape={kernel}, "
                         f"dilations={rates}, a padded image of size {wide.shape[1:3]}.")
    return [wide[:, i * rates[0] : i * rates[0] + (size[0] - 1) * strides[0] + 1 : strides[0],
                 j * rates[1] : j * rates[1] + (size[1] - 1) * strides[1] + 1 : strides[1]]
            for i in range(kernel[0]) for j in range(kernel[1])]


def _plain(node: Attributes, kernel: tuple[int, int], sides: list[tuple[int, int]]) -> bool:
    """Whether autoconv's pooling can be used: no dilation, and an image pixel in each window."""
    return _pair(node, "dilations", (1, 1)) == (1, 1) and all(max(side) < k for side, k in zip(sides, kernel))


def max_pool(node: Attributes, x: Tensor) -> Tensor:
    if node.outputs > 1:
        raise refusal(node, "the number of outputs is 1, without the indices of the maxima", node.outputs)
    kernel = _pair(node, "kernel_shape", ())
    strides = _pair(node, "strides", (1, 1))
    sides = _pool_sides(node, x, kernel)
    if _plain(node, kernel, sides) and x.dtype.kind == "f":
        return F.max_pool2d(x, kernel, strides, sides)
    least = -np.inf if x.dtype.kind == "f" else np.iinfo(x.dtype).min
    parts = _windows(x, kernel, strides, _pair(node, "dilations", (1, 1)), sides, least)
    return reduce(F.maximum, parts)


def average_pool(node: Attributes, x: Tensor) -> Tensor:
    """Averages windows. `count_include_pad` counts pixels from `pads`, but not from `ceil_mode`."""
    kernel = _pair(node, "kernel_shape", ())
    strides = _pair(node, "strides", (1, 1))
    rates = _pair(node, "dilations", (1, 1))
    base_sides = padding(node, x, kernel)
    sides = _pool_sides(node, x, kernel)
    include = bool(node.get("count_include_pad", 0))
    if _plain(node, kernel, sides) and not (include and any(map(any, sides))):
        return F.avg_pool2d(x, kernel, strides, sides)
    if include:
        x = F.pad(x, ((0, 0), *base_sides, (0, 0)))
        sides = [(before - b, after - a) for (before, after), (b, a) in zip(sides, base_sides)]
    parts = _windows(x, kernel, strides, rates, sides, 0.0)
    total = reduce(lambda a, b: a + b, parts)
    rows, columns = (_counts(*args) for args in zip(x.shape[1:3], kernel, strides, rates, sides, total.shape[1:3]))
    return total / (constant(x, rows.reshape(-1, 1, 1).astype(x.dtype)) * constant(
        x, columns.reshape(-1, 1).astype(x.dtype)))


def _counts(n: int, k: int, stride: int, rate: int, side: tuple[int, int], size: int) -> np.ndarray:
    """Returns how many pixels of an n-pixel row are in each of `size` windows."""
    check_size((n + sum(side),), KNOWN)
    mask = np.pad(np.ones(n, np.int64), side)
    return sum((mask[i * rate :: stride][:size] for i in range(k)), np.zeros(size, np.int64))


# Normalizations.


def batch_normalization(node: Attributes, x: Tensor, gamma: Tensor, beta: Tensor, mean: Tensor,
                        variance: Tensor) -> Tensor:
    """Normalizes x, which may have any rank, with the moving mean and variance."""
    if node.get("training_mode", 0):
        raise refusal(node, "training_mode is 0", node.get("training_mode"))
    if node.outputs > 1:
        raise refusal(node, "the number of outputs is 1", node.outputs)
    return F.batch_norm(x, gamma, beta, mean, variance, False, epsilon=node.get("epsilon", 1e-5))


def instance_normalization(node: Attributes, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    mean, variance = F.moments(x, (1, 2), keepdims=True)
    return (x - mean) / F.sqrt(variance + node.get("epsilon", 1e-5)) * gamma + beta


def group_normalization(node: Attributes, x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """Normalizes groups of channels. Before opset 21, gamma and beta have one number per group."""
    n, h, w, channels = x.shape
    groups = node.get("num_groups", 1)
    if groups < 1 or channels % groups:
        raise ValueError("num_groups must be positive and divide the number of channels, "
                         f"{channels}. Received: num_groups={groups}.")
    parts = x.reshape(n, h * w, groups, channels // groups)
    mean, variance = F.moments(parts, (1, 3), keepdims=True)
    y = (parts - mean) / F.sqrt(variance + node.get("epsilon", 1e-5))
    if node.opset < 21:
        y = y * gamma.reshape(groups, 1) + beta.reshape(groups, 1)
        return y.reshape(x.shape)
    return y.reshape(x.shape) * gamma + beta


def layer_normalization(node: Attributes, x: Tensor, gamma: Tensor,
                        beta: Tensor | None = None) -> Any:
    axis = node.get("axis", -1)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"The axis of LayerNormalization must be in {-x.ndim}..{x.ndim - 1}. Received: axis={axis}.")
    mean, variance = F.moments(x, tuple(range(axis % x.ndim, x.ndim)), keepdims=True)
    root = F.sqrt(variance + node.get("epsilon", 1e-5))
    y = (x - mean) / root * gamma
    return [y if beta is None else y + beta, mean, 1.0 / root][: node.outputs]


# Ops that change image sizes.


def resize(node: Attributes, x: Tensor, roi: np.ndarray | None = None,
           scales: np.ndarray | None = None, sizes: np.ndarray | None = None) -> Tensor:
    """Resizes images by scales or to sizes, axis by axis. Repeats edge pixels outside the image."""
    if node.opset < 11:  # older opsets have the inputs x and scales
        roi, scales = None, roi
    if node.get("antialias", 0):
        raise refusal(node, "antialias is 0", 1)
    old = (x.shape[0], x.shape[3], x.shape[1], x.shape[2])
    new, factors = _new_sizes(node, old, scales if scales is not None and len(scales) else None, sizes)
    if new[:2] != list(old[:2]):
        raise refusal(node, f"the batch size and the number of channels stay {list(old[:2])}", new[:2])
    check_size(new)
    check_size((max(new[2:]),), KNOWN // 4)
    for axis, last_axis in ((2, 1), (3, 2)):
        if new[axis] != old[axis] or factors[axis] != 1:
            x = _resample(node, x, last_axis, old[axis], new[axis], factors[axis])
    return x


def _new_sizes(node: Attributes, old: tuple[int, ...], scales: Any,
               sizes: Any) -> tuple[list[int], list[float]]:
    """Returns the size of the result, and the scale, for each of the four axes."""
    numbers = [float(number) for number in (sizes if scales is None else scales)]
    axes = [axis % 4 for axis in node.get("axes", range(len(numbers)))]
    if len(axes) != len(numbers) or len(numbers) > 4 or not all(0 < number < 2**31 for number in numbers):
        raise ValueError("Resize needs exactly one positive scale or size for each of the axes "
                         f"{axes}. Received: {numbers}.")
    new = list(old)
    factors = [1.0] * 4
    policy = node.get("keep_aspect_ratio_policy", "stretch")
    if scales is None and policy != "stretch":
        ratios = [number / old[axis] for axis, number in zip(axes, numbers)]
        ratio = min(ratios) if policy == "not_larger" else max(ratios)
        numbers = [np.floor(old[axis] * ratio + 0.5) for axis in axes]
    for axis, number in zip(axes, numbers):
        factors[axis] = number / old[axis] if scales is None else number
        new[axis] = int(number) if scales is None else int(np.floor(old[axis] * number))
        if scales is None and policy != "stretch":
            factors[axis] = ratio
    return new, factors


def _resample(node: Attributes, x: Tensor, axis: int, old: int, new: int, scale: float) -> Tensor:
    """Resizes one axis. Each new element is a weighted sum of at most four old elements."""
    positions = _source_positions(node, old, new, scale)
    mode = node.get("mode", "nearest")
    if mode == "nearest":
        return take(x, np.clip(_round(node, positions), 0, old - 1).astype(np.int64), axis)
    low = np.floor(positions).astype(np.int64)
    part = positions - low
    if mode in ("linear", "bilinear"):
        taps = [(low, 1 - part), (low + 1, part)]
    elif mode == "cubic":
        taps = _cubic(node, low, part, old)
    else:
        raise refusal(node, "mode is nearest, linear or cubic", mode)
    shape = [-1 if i == axis else 1 for i in range(4)]
    terms = [take(x, np.clip(index, 0, old - 1), axis) * constant(x, weight.reshape(shape).astype(x.dtype))
             for index, weight in taps]
    return sum(terms[1:], terms[0])


def _cubic(node: Attributes, low: np.ndarray, part: np.ndarray,
           old: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns indices and weights of the four elements that cubic interpolation (Keys) uses."""
    a = node.get("cubic_coeff_a", -0.75)

    def near(d: np.ndarray) -> np.ndarray:  # weight at distances up to 1
        return ((a + 2) * d - (a + 3)) * d * d + 1

    def far(d: np.ndarray) -> np.ndarray:  # weight at distances from 1 to 2
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    taps = [(low - 1, far(part + 1)), (low, near(part)), (low + 1, near(1 - part)), (low + 2, far(2 - part))]
    if not node.get("exclude_outside", 0):
        return taps
    taps = [(index, np.where((index >= 0) & (index < old), weight, 0.0)) for index, weight in taps]
    total = np.sum([weight for _, weight in taps], axis=0)
    return [(index, weight / total) for index, weight in taps]


def _source_positions(node: Attributes, old: int, new: int, scale: float) -> np.ndarray:
    """Returns the position on the old axis of each element of the new axis."""
    mode = node.get("coordinate_transformation_mode", "half_pixel" if node.opset >= 11 else "asymmetric")
    i = np.arange(new)
    whole = old * scale  # the new size before rounding down
    if mode == "half_pixel":
        return (i + 0.5) / scale - 0.5
    if mode == "pytorch_half_pixel":
        return (i + 0.5) / scale - 0.5 if whole > 1 else np.zeros(new)
    if mode == "align_corners":
        return i * (old - 1) / (whole - 1) if whole > 1 else np.zeros(new)
    if mode == "asymmetric":
        return i / scale
    if mode == "half_pixel_symmetric":
        return old / 2 * (1 - new / whole) + (i + 0.5) / scale - 0.5
    raise refusal(node, "coordinate_transformation_mode is half_pixel, pytorch_half_pixel, "
                  "half_pixel_symmetric, align_corners or asymmetric", mode)


def _round(node: Attributes, positions: np.ndarray) -> np.ndarray:
    mode = node.get("nearest_mode", "round_prefer_floor" if node.opset >= 11 else "floor")
    modes: dict[str, Any] = {"round_prefer_floor": lambda p: np.ceil(p - 0.5),
                             "round_prefer_ceil": lambda p: np.floor(p + 0.5), "floor": np.floor,
                             "ceil": np.ceil}
    if mode not in modes:
        raise refusal(node, f"nearest_mode is one of {', '.join(modes)}", mode)
    return modes[mode](positions)


def upsample(node: Attributes, x: Tensor, scales: np.ndarray | None = None) -> Tensor:
    return resize(node._replace(opset=10), x, node.get("scales") if scales is None else scales)


def depth_to_space(node: Attributes, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    size = node.get("blocksize", 1)
    if size < 1 or c % size**2:
        raise ValueError("blocksize must be positive, and its square must divide the number of "
                         f"channels, {c}. Received: blocksize={size}.")
    part = c // size**2
    if node.get("mode", "DCR") == "DCR":
        y = x.reshape(n, size, size, part, h, w).transpose(0, 3, 4, 1, 5, 2)
    else:
        y = x.reshape(n, part, size, size, h, w).transpose(0, 1, 4, 2, 5, 3)
    return y.reshape(n, part, h * size, w * size)


def space_to_depth(node: Attributes, x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    size = node.get("blocksize", 1)
    if size < 1 or h % size or w % size:
        raise ValueError(f"blocksize must be positive and divide the image height and width, {h} x "
                         f"{w}. Received: blocksize={size}.")
    y = x.reshape(n, c, h // size, size, w // size, size).transpose(
        (0, 3, 5, 1, 2, 4) if node.get("mode", "DCR") == "DCR" else (0, 1, 3, 5, 2, 4))
    return y.reshape(n, c * size * size, h // size, w // size)
