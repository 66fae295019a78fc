"""Converts a drawn or photographed digit to the form of MNIST's digits."""

import numpy as np

SIDE, BOX = 28, 20  # MNIST scales the ink into 20 x 20 pixels, and centres it by mass in 28 x 28
_SMALL = 96  # maximum side of the reduced copy in which paper and ink are separated, in pixels
_MARGIN = 8  # margin around the digit in the second pass, in pixels of the reduced copy
_FAINT = 8  # a picture is blank if its strongest ink is below this value, of 255
_INK = 95.0  # mean amount of ink in an MNIST digit, in units of a white pixel


def as_mnist(gray: np.ndarray) -> np.ndarray:
    """Converts the digit in a gray picture (H, W) of bytes to MNIST's form: bytes (28, 28), with
    bright ink.

    The paper may be bright or dark and unevenly lit, and the digit may be anywhere on it. The
    paper's shade is subtracted, and the contrast is stretched. The ink's bounding box is scaled to
    20 x 20 pixels and centred by its mass, as in LeCun et al. (1998). For a picture without ink,
    the result is zeros. Raises ValueError for a wrong shape.
    """
    picture = np.asarray(gray, np.float32)
    if picture.ndim != 2 or not picture.size:
        raise ValueError("A picture of a digit must be a non-empty array of shape (H, W). "
                         f"Received shape: {picture.shape}.")
    ink, mask, step = _find_digit(picture)
    if mask.any() and step > 1:  # a second pass over the digit only, at higher resolution
        cut = [slice(max(ends[0] - _MARGIN, 0) * step, (ends[-1] + 1 + _MARGIN) * step)
               for ends in (np.flatnonzero(mask.any(axis)) for axis in (1, 0))]
        closer = _find_digit(picture[cut[0], cut[1]])
        ink, mask = closer[:2] if closer[1].any() else (ink, mask)
    if not mask.any():
        return np.zeros((SIDE, SIDE), np.uint8)
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    box = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = (max(round(BOX * n / max(box.shape)), 1) for n in box.shape)
    return _centre(_thicken(_resize(_resize(box, height).T, width).T))


def _find_digit(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns the ink 0..1 in a reduced copy, the digit's mask in it, and the reduction factor."""
    step = max(1, -(-max(picture.shape) // _SMALL))
    small = _shrink(picture, step)
    paper = _paper(small)
    ordered = np.sort(small - paper, axis=None)
    count = max(ordered.size // 50, 1)  # compares the darkest 2% of pixels with the brightest 2%
    dark = -ordered[:count].sum() > ordered[-count:].sum()
    ink = np.maximum(255 * (1 - small / np.maximum(paper, 16)) if dark else small - paper, 0)
    threshold = _otsu(ink)
    mask = _figure(ink > threshold) if ink.max() >= _FAINT else np.zeros(ink.shape, bool)
    peak = np.percentile(ink[mask], 75) if mask.any() else 1.0
    return np.clip((ink - threshold / 2) / max(peak - threshold / 2, 1), 0, 1) * _neighbours(mask).any(0), mask, step


def _shrink(picture: np.ndarray, step: int) -> np.ndarray:
    """Returns the means of blocks of step x step pixels. Incomplete blocks are left out."""
    h, w = (max(n // step, 1) for n in picture.shape)
    cut = picture[: h * step, : w * step]
    return cut.reshape(h, cut.shape[0] // h, w, cut.shape[1] // w).mean((1, 3))


def _paper(picture: np.ndarray) -> np.ndarray:
    """Returns the paper's shade at each pixel: the median for even paper, else local medians."""
    usual = np.median(picture)
    if (np.abs(picture - usual) < 12).mean() > 0.75:
        return np.full_like(picture, usual)
    coarse = _shrink(picture, 2) if min(picture.shape) >= 32 else picture
    reach = max(max(coarse.shape) // 4, 2)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(coarse, reach, "symmetric"), (2 * reach + 1,) * 2)
    shades = np.median(around[:, :, ::2, ::2], axis=(2, 3))
    rows, columns = (np.minimum(np.arange(n) * m // n, m - 1) for n, m in zip(picture.shape, shades.shape))
    return shades[rows][:, columns]


def _otsu(values: np.ndarray) -> float:
    """Returns the threshold that best separates the values into two classes, after Otsu (1979)."""
    counts, edges = np.histogram(values, 64)
    centers = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    sums = np.cumsum(counts * centers)
    above = below[-1] - below
    with np.errstate(divide="ignore", invalid="ignore"):
        between = np.nan_to_num(below * above * (sums / below - (sums[-1] - sums) / above) ** 2)
    return float(edges[1:][between.argmax()])


def _figure(mask: np.ndarray) -> np.ndarray:
    """Returns the mask of the digit without specks and, if possible, objects at the edge."""
    labels = np.arange(1, mask.size + 1).reshape(mask.shape) * mask
    while not np.array_equal(spread := _neighbours(labels).max(0) * mask, labels):
        labels = spread
    _, labels = np.unique(np.append(labels, 0), return_inverse=True)  # label 0 is the background
    labels = labels[:-1].reshape(mask.shape)
    size = np.bincount(labels.ravel()) * np.sign(np.arange(labels.max() + 1))
    inner = size.copy()
    inner[np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])] = 0
    size = inner if inner.max() >= 0.1 * size.max() else size
    return (size > 0.1 * size.max())[labels] & mask


def _neighbours(values: np.ndarray) -> np.ndarray:
    """Returns each pixel and its eight neighbours, (9, H, W), with zeros outside the picture."""
    padded = np.pad(values, 1)
    h, w = values.shape
    return np.stack([padded[i : i + h, j : j + w] for i in range(3) for j in range(3)])


def _resize(rows: np.ndarray, count: int) -> np.ndarray:
    """Resizes to `count` rows. Each new row is the mean of the old rows, weighted by overlap."""
    places = np.linspace(0, len(rows), count + 1)
    sums = np.vstack([np.zeros_like(rows[:1]), np.cumsum(rows, 0)])
    whole = np.minimum(places.astype(int), len(rows) - 1)
    integral = sums[whole] + (places - whole)[:, None] * rows[whole]
    return np.diff(integral, axis=0) * (count / len(rows))


def _thicken(ink: np.ndarray) -> np.ndarray:
    """Scales the ink to a maximum of 1, and thickens thin strokes."""
    ink = np.pad(ink / max(ink.max(), 1e-6), 1)
    for _ in range(2):
        if ink.sum() > 0.6 * _INK:
            break
        spread = np.pad(ink, 1)
        sides = (spread[:-2, 1:-1], spread[2:, 1:-1], spread[1:-1, :-2], spread[1:-1, 2:])
        ink = np.maximum(ink, 0.8 * np.maximum.reduce(sides))
    return ink


def _centre(ink: np.ndarray) -> np.ndarray:
    """Places the ink in 28 x 28 pixels, its centre of mass as close to the middle as possible."""
    total = max(ink.sum(), 1e-6)
    out = np.zeros((SIDE, SIDE), np.float32)
    place = []
    for axis in (0, 1):
        mean = (ink.sum(1 - axis) * (np.arange(ink.shape[axis]) + 0.5)).sum() / total
        place.append(int(np.clip(round(SIDE / 2 - mean), 0, SIDE - ink.shape[axis])))
    out[place[0] : place[0] + ink.shape[0], place[1] : place[1] + ink.shape[1]] = ink
    return np.round(255 * np.clip(out, 0, 1)).astype(np.uint8)
