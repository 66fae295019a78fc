"""Converts arrays to pixels: gray or coloured values, and mosaics of maps or filters."""

from collections.abc import Sequence

import numpy as np

from ..functional import resize

GAP = 2  # pixels between the tiles of a picture
WIDE_GAP = 6  # pixels between tiles in which each pixel has another colour
GROUND = 128  # gray value of the gaps
LEAST = 48  # minimum side of a map in pixels; smaller maps are enlarged
WIDE = 720  # maximum width of a mosaic of maps in pixels, unless four maps need more
CELL = 14  # side of the square that represents a number, in pixels
MANY = 1024  # maximum count of numbers that are drawn as large squares with gaps
FRAME = 3  # width of a frame in pixels
PLOT = (480, 640)  # height and width of a picture of points
SMALL = 32  # maximum side of an image at a point
INKS = {"blue": (31, 119, 180), "orange": (255, 127, 14), "green": (44, 160, 44),
        "red": (214, 39, 40), "purple": (148, 103, 189), "brown": (140, 86, 75),
        "pink": (227, 119, 194), "gray": (127, 127, 127), "olive": (188, 189, 34),
        "cyan": (23, 190, 207)}  # colours of layers and classes


def gray(values: np.ndarray) -> np.ndarray:
    """Scales values to bytes: the smallest is black, the largest white. Equal values are black."""
    values = _finite(values)
    low = values.min()
    high = values.max()
    return np.rint((values - low) * (255 / (high - low) if high > low else 0)).astype(np.uint8)


def diverging(values: np.ndarray) -> np.ndarray:
    """Converts values (...) to colours (..., 3): white at 0, red above, blue below."""
    values = _finite(values)
    most = np.abs(values).max()
    share = values / most if most else values
    up = np.array([178, 24, 43])
    down = np.array([33, 102, 172])
    pure = np.where(share[..., None] > 0, up, down)
    return np.rint(255 + np.abs(share)[..., None] * (pure - 255)).astype(np.uint8)


def overlay(pixels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Draws values (h, w) over an image (H, W, C), as a picture (H', W', 3): red above 0, blue
    below 0, and gray as the image at 0. Values in another size than the image's are stretched over
    the image, with smooth transitions.
    """
    ground = image(pixels, 224).mean(-1, keepdims=True) * 0.6 + 50  # a lighter image, so that blue is seen on black
    smooth = "nearest" if values.shape == pixels.shape[:2] else "bilinear"
    values = resize(_finite(values)[..., None], ground.shape[:2], smooth).numpy()
    share = 0.85 * np.abs(values) / (np.abs(values).max() or 1)  # the image stays visible everywhere
    return np.rint(ground + share * (diverging(np.sign(values[..., 0])) - ground)).astype(np.uint8)


def frames(pixels: np.ndarray, boxes: Sequence[Sequence[int]]) -> np.ndarray:
    """Draws frames around rectangles (top, bottom, left, right) of an image (H, W, C), in the
    colours of `INKS`, as a picture (H', W', 3). The first frames are drawn over the others.
    """
    ground = image(pixels, 224)
    whole = np.broadcast_to(ground, (*ground.shape[:2], 3)).copy()
    factor = len(whole) // len(pixels)
    for box, ink in reversed(list(zip(boxes, INKS.values()))):
        top, bottom, left, right = (factor * side for side in box)
        within = whole[top:bottom, left:right]
        inner = within[FRAME:-FRAME, FRAME:-FRAME].copy()
        within[:] = ink
        within[FRAME:-FRAME, FRAME:-FRAME] = inner
    return whole


def scatter(points: np.ndarray, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Draws images (N, H, W, C) as thumbnails at points (N, 2), in the colours of their labels, as
    a picture (H', W', 3).
    """
    scale = min(1, SMALL / max(images.shape[1:3]))
    high, wide = (max(1, round(scale * side)) for side in images.shape[1:3])
    small = resize(images.astype(np.float32), (high, wide), "area").numpy()
    low = points.min(0)
    shares = (points - low) / np.maximum(points.max(0) - low, 1e-30)
    inks = np.array(list(INKS.values())) / 255
    whole = np.ones((*PLOT, 3))
    for (x, y), pixels, label in zip(shares, small, labels):
        tile = thumbnail(pixels, np.append(inks[label % len(inks)], 1))
        top = round((1 - y) * (PLOT[0] - high))
        left = round(x * (PLOT[1] - wide))
        part = whole[top : top + high, left : left + wide]
        part += tile[..., 3:] * (tile[..., :3] - part)
    return np.rint(255 * whole).astype(np.uint8)


def thumbnail(pixels: np.ndarray, ink: np.ndarray) -> np.ndarray:
    """Converts an image (H, W, C) for a figure that shows many, to colours and opacity (H, W, 4) in
    0..1. A gray image has the colour `ink` (4,) and a transparent background; others have a frame
    in this colour.
    """
    found = image(pixels, 1) / 255
    whole = np.broadcast_to(ink, (*found.shape[:2], 4)).copy()
    if found.shape[2] == 3:
        edge = max(1, len(found) // 16)
        whole[edge:-edge, edge:-edge, :3] = found[edge:-edge, edge:-edge]
        return whole
    values = found[..., 0]
    border = np.concatenate([values[0], values[-1], values[:, 0], values[:, -1]]).mean()
    whole[..., 3] = values if border < 0.5 else 1 - values
    return whole


def maps(output: np.ndarray) -> np.ndarray:
    """Draws a layer's output as a picture (H', W', 3). Maps (H, W, C) become tiles. Each number in
    any other output becomes a square.
    """
    if output.ndim == 3:
        tiles = np.moveaxis(gray(output), 2, 0)
        tiles = _enlarge(tiles, -(-LEAST // min(tiles.shape[1:])))
        columns = int(np.clip(WIDE // (tiles.shape[2] + GAP), 4, 8))
        return grid(np.repeat(tiles[..., None], 3, -1), columns)
    side, columns, gap = (CELL, 32, GAP) if output.size <= MANY else (3, 256, 0)
    tiles = _enlarge(gray(output).reshape(-1, 1, 1), side)
    return grid(np.repeat(tiles[..., None], 3, -1), columns, gap)


def filters(kernel: np.ndarray, is_rgb: bool = False) -> np.ndarray:
    """Draws filters (KH, KW, C, F) as one picture (H', W', 3), red above 0, blue below 0.

    A filter over one map is a tile. A filter over C maps is a column of C tiles. With `is_rgb`, a
    filter over three maps is a tile whose colours are its weights, scaled so that gray is 0.
    """
    high, wide, depth, count = kernel.shape
    factor = max(1, -(-LEAST // high) if depth == 1 or is_rgb else LEAST // high)
    if is_rgb:
        most = np.abs(_finite(kernel)).max((0, 1, 2)) + 1e-30
        tiles = np.moveaxis(np.rint(127.5 + 127.5 * _finite(kernel) / most).astype(np.uint8), 3, 0)
        return grid(_enlarge(tiles, factor), 8, WIDE_GAP)
    tiles = np.moveaxis(diverging(kernel), (2, 3), (0, 1)).reshape(-1, high, wide, 3)
    return grid(_enlarge(tiles, factor), 8 if depth == 1 else count)


def strongest(values: np.ndarray, axis: int, most: int) -> np.ndarray:
    """Returns the indices, in ascending order, of at most `most` slices with the largest sums of
    squares.
    """
    others = tuple(i for i in range(values.ndim) if i != axis % values.ndim)
    return np.sort(np.argsort(-(_finite(values) ** 2).sum(others), kind="stable")[:most])


def grid(tiles: np.ndarray, columns: int, gap: int = GAP) -> np.ndarray:
    """Joins tiles (N, H, W, 3) to one picture, with `columns` tiles per row."""
    n, h, w, _ = tiles.shape
    columns = max(1, min(columns, n))
    rows = -(-n // columns)
    whole = np.full((rows * (h + gap) + gap, columns * (w + gap) + gap, 3), GROUND, np.uint8)
    for number, tile in enumerate(tiles):
        top, left = (gap + side * (size + gap) for side, size in zip(divmod(number, columns), (h, w)))
        whole[top : top + h, left : left + w] = tile
    return whole


def image(pixels: np.ndarray, least: int = 112) -> np.ndarray:
    """Returns an image (H, W, C) as bytes. Enlarges its longer side to at least `least` pixels."""
    if pixels.ndim != 3:
        return maps(pixels)
    is_bytes = pixels.dtype == np.uint8 or (pixels.min() >= 0 and 1 < pixels.max() <= 255)
    values = np.rint(pixels).astype(np.uint8) if is_bytes else gray(pixels)
    values = values if pixels.shape[2] in (1, 3) else values[..., :1]
    return _enlarge(values[None], max(1, -(-least // max(values.shape[:2]))))[0]


def _finite(values: np.ndarray) -> np.ndarray:
    """Replaces NaN and infinities by 0, so that a diverged net can be shown."""
    values = np.asarray(values, np.float64)
    return np.where(np.isfinite(values), values, 0)


def _enlarge(tiles: np.ndarray, factor: int) -> np.ndarray:
    """Enlarges tiles (N, H, W, ...). Each pixel becomes a square of side `factor`."""
    return tiles.repeat(factor, 1).repeat(factor, 2)
