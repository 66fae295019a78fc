"""Draws the built-in set `digits`: handwritten-looking digits in MNIST's format, from strokes, with NumPy alone.

Run it from anywhere: `python datasets/make_digits.py` writes the four IDX files to the folder `digits` beside it, and
running it again writes the same bytes. How an image comes about:

1. `GLYPHS[digit]` picks one of several ways in which people write the digit and returns its strokes: lists of
   *pieces*, a piece being the control points of a smooth curve; pieces of a stroke meet in a corner.
2. `trace` turns a stroke into a polyline, its control points jittered, its corners more or less rounded.
3. `warp` bends the plane gently, then slants, turns and stretches it.
4. `render` fits the ink into 20 x 20 pixels, draws it with a pen of varying width and centres its mass in 28 x 28,
   which is what was done to MNIST (LeCun et al., 1998). No image of MNIST is used anywhere.

Every image has a random stream of its own, seeded by (SEED, split, index): any of them can be drawn alone, and no
test image shares a stream with a training image.
"""

import argparse
import gzip
import io
from pathlib import Path

import numpy as np

SEED = 1998
TRAIN, TEST = 0, 1
COUNTS = {TRAIN: 14_000, TEST: 2_000}
PREFIX = {TRAIN: "train", TEST: "t10k"}
BOX, SIDE = 20, 28  # pixels: the ink's box and the whole image, as in MNIST
FINE = 2  # sub-pixels along each side of a pixel

Points = list[tuple[float, float]]
Stroke = list[Points]


# --- The ten digits: x to the right and y down, both about 0..1 -------------------------------------------------------


def zero(rng: np.random.Generator) -> list[Stroke]:
    """An oval, begun near the top, whose end may fall short of its beginning, pass it, or lie within or without."""
    start = np.radians(rng.uniform(-140, -20))
    turn = np.radians(rng.uniform(325, 425)) * rng.choice([-1, 1], p=[0.8, 0.2])
    angles = start + np.linspace(0, turn, 12)
    radius = 0.5 * np.linspace(1, rng.uniform(0.75, 1.2), 12)
    width = rng.uniform(0.5, 1.1) if rng.random() < 0.85 else rng.uniform(1.1, 1.7)
    return [[[(0.5 + width * r * np.cos(a), 0.5 + r * np.sin(a)) for a, r in zip(angles, radius, strict=True)]]]


def one(rng: np.random.Generator) -> list[Stroke]:
    """A bar; now and then with a flag at its head, and then perhaps with a foot."""
    style = rng.random()
    bend = rng.normal(0, 0.03)
    bar = [(0.5, 0.0), (0.5 + bend, 0.35), (0.5 + bend, 0.7), (0.5, 1.0)]
    if style < 0.80:
        return [[bar]]
    flag = [(0.5 - rng.uniform(0.12, 0.32), rng.uniform(0.1, 0.28)), (0.5, 0.0)]
    if style < 0.92:
        return [[flag, bar]]
    foot = rng.uniform(0.2, 0.4)
    return [[flag, bar], [[(0.5 - foot, 1.0), (0.5 + foot, 1.0)]]]


def two(rng: np.random.Generator) -> list[Stroke]:
    """A hook and a base that meet in a corner, in a loop (small or large) or in a soft turn."""
    style = rng.random()
    belly = rng.uniform(0.2, 0.42)
    head = [(rng.uniform(-0.02, 0.25), rng.uniform(0.1, 0.42)), (0.25, 0.06), (0.52, 0.0), (0.8, 0.1), (0.84, belly)]
    right, end = rng.uniform(0.55, 1.2), rng.uniform(0.8, 1.08)
    if style < 0.4:
        base = [(0.05, 0.97), (0.45, rng.uniform(0.9, 1.0)), (right, end)]
        return [[[*head, (0.6, 0.6), (0.3, 0.82), (0.05, 0.97)], base]]
    if style < 0.85:
        low, left = rng.uniform(0.62, 0.92), rng.uniform(-0.16, 0.05)
        loop = [(0.16, 0.97), (left, 0.5 * low + 0.46), (left + 0.12, low - 0.06), (0.36, low), (0.66, 0.97)]
        return [[[*head, (0.7, 0.62), (0.42, 0.88), *loop, (right, end)]]]
    return [[[*head, (0.55, 0.62), (0.2, 0.86), (0.12, 0.97), (0.4, 0.98), (right, end)]]]


def three(rng: np.random.Generator) -> list[Stroke]:
    """Two bows that meet in a point, in a loop or softly; or a flat roof, a slope and one bow."""
    style = rng.random()
    waist = rng.uniform(0.32, 0.54)
    tongue = rng.uniform(0.25, 0.6)
    side = rng.uniform(0.7, 0.95)
    tail = (rng.uniform(-0.1, 0.3), rng.uniform(0.76, 1.0))
    low = [(side, rng.uniform(0.66, 0.8)), (side - 0.2, 0.95), (0.5 * side - 0.08, 1.0), tail]
    if style < 0.2:
        roof = [[(0.05, 0.03), (0.8, 0.0)], [(0.8, 0.0), (0.6, 0.2), (tongue, waist - 0.03)]]
        return [[*roof, [(tongue, waist - 0.03), (0.66, waist + 0.05), *low]]]
    begin = (rng.uniform(0.0, 0.18), rng.uniform(0.08, 0.22))
    head = [begin, (0.36, 0.0), (0.7, 0.06), (0.78, 0.22), (0.62, waist - 0.06)]
    if style < 0.75:
        return [[[*head, (tongue, waist)], [(tongue, waist), (0.68, waist + 0.07), *low]]]
    if style < 0.88:
        return [[[*head, (0.42, waist), (0.36, waist - 0.07), (0.5, waist - 0.02), (0.72, waist + 0.1), *low]]]
    return [[[*head, (0.5, waist + 0.02), (0.7, waist + 0.1), *low]]]


def four(rng: np.random.Generator) -> list[Stroke]:
    """Open with a corner, open and round, closed to a triangle, or in one go; its stem on the right."""
    style = rng.random()
    level = rng.uniform(0.45, 0.65)
    out = rng.uniform(0.78, 1.1)
    top = rng.uniform(-0.05, 0.2)
    stem = [(0.76, top), (0.74, 0.5), (rng.uniform(0.6, 0.76), 1.0)]
    if style < 0.4:
        left = [(rng.uniform(0.08, 0.32), 0.0), (0.12, 0.25), (0.02, level)]
        return [[left, [(0.02, level), (0.4, level), (out, level + rng.uniform(-0.1, 0.05))]], [stem]]
    if style < 0.6:
        cup = [(0.16, 0.0), (0.04, 0.26), (0.08, level - 0.06), (0.34, level + 0.02), (0.74, level - 0.08)]
        return [[cup], [stem]]
    if style < 0.82:
        apex = (rng.uniform(0.55, 0.76), 0.0)
        beam = [(0.0, level + 0.05), (0.5, level + 0.05), (out, level + 0.03)]
        slope = [apex, (0.35, 0.3), (0.0, level + 0.05)]
        return [[slope, beam], [[apex, (0.68, 0.5), (0.64, 1.0)]]]
    cup = [(0.14, 0.02), (0.04, 0.28), (0.12, level), (0.42, level), (0.7, level - 0.2), (0.82, top)]
    return [[cup, [(0.82, top), (0.74, 0.5), (0.66, 1.0)]]]


def five(rng: np.random.Generator) -> list[Stroke]:
    """Roof, neck and bow: in one go, with the roof apart, or all in one soft curve; the bow's tail may curl up."""
    style = rng.random()
    neck = rng.uniform(0.3, 0.52)
    roof_end, roof_up = rng.uniform(0.55, 1.3), rng.uniform(-0.14, 0.06)
    left, foot = rng.uniform(0.12, 0.4), rng.uniform(0.02, 0.25)
    side = rng.uniform(0.6, 0.88)
    tail = [(0.4, 1.0), (rng.uniform(-0.1, 0.15), rng.uniform(0.78, 0.98))]
    if rng.random() < 0.12:
        tail = [(0.35, 1.0), (0.05, 0.86), (0.12, rng.uniform(0.6, 0.76))]
    bow = [(foot, neck), (0.5 * (foot + side), neck - 0.05), (side, neck + 0.15), (side - 0.04, 0.84), *tail]
    if style < 0.4:
        return [[[(roof_end, roof_up), (left, 0.02)], [(left, 0.02), (foot, neck)], bow]]
    if style < 0.75:
        roof = [(left + rng.uniform(-0.08, 0.12), 0.02), (roof_end, roof_up)]
        return [[[(left, 0.02), (foot, neck)], bow], [roof]]
    soft = [(roof_end, roof_up), (0.5, 0.02), (0.3, 0.08), (foot + 0.08, neck - 0.1), (0.4, neck)]
    return [[[*soft, (side - 0.08, neck + 0.16), (side - 0.08, 0.84), *tail]]]


def six(rng: np.random.Generator) -> list[Stroke]:
    """A sweep down into a bowl that closes on itself, its loop large or small, its stem bent or straight."""
    top = rng.uniform(0.36, 0.7)
    lean = rng.uniform(0.15, 0.9)
    right = rng.uniform(0.55, 1.0)
    bend = rng.uniform(-0.08, 0.12)
    stem = [(lean, 0.0), (0.5 * lean + 0.05 - bend, 0.26), (0.1 - 0.3 * bend, 0.6)]
    peak = rng.uniform(0.45, 0.85) * right
    bowl = [(0.1, 0.84), (0.38, 1.0), (right - 0.06, 0.9), (right, 0.5 * top + 0.44), (peak, top)]
    low = rng.uniform(0.45, 0.9)
    end = [(0.24, low * 0.98 + (1 - low) * top)] if rng.random() < 0.75 else [(0.3, top + 0.08), (0.08, low)]
    return [[[*stem, *bowl, *end]]]


def seven(rng: np.random.Generator) -> list[Stroke]:
    """Roof and stem, with or without a serif on the left and a bar through the stem; its corner sharp or round."""
    knee = rng.uniform(0.7, 0.95)
    foot = rng.uniform(0.15, 0.6)
    sag = rng.uniform(-0.12, 0.06)
    roof = [(0.0, rng.uniform(0.0, 0.18)), (0.45, rng.uniform(-0.04, 0.12)), (knee, 0.02)]
    middle = (0.5 * (knee + foot) + sag, 0.5)
    stem = [(knee, 0.02), middle, (foot, 1.0)]
    strokes: list[Stroke] = [[roof, stem] if rng.random() < 0.75 else [[*roof[:2], (knee, 0.08), *stem[1:]]]]
    if rng.random() < 0.4:
        strokes[0].insert(0, [(rng.uniform(-0.08, 0.1), rng.uniform(0.15, 0.42)), roof[0]])
    if rng.random() < 0.25:
        level = rng.uniform(0.42, 0.6)
        reach = rng.uniform(0.15, 0.4)
        strokes.append([[(middle[0] - reach, level + 0.02), (middle[0] + reach, level - 0.02)]])
    return strokes


def eight(rng: np.random.Generator) -> list[Stroke]:
    """One crossing curve, begun at the top right or in the middle, closed or not; or two rings. Either may be slim."""
    style = rng.random()
    waist = rng.uniform(0.36, 0.62)
    upper, lower = rng.uniform(0.14, 0.4), rng.uniform(0.12, 0.4)
    if style < 0.12:
        rings = []
        for cy, rx, ry in ((waist / 2, upper, waist / 2), ((1 + waist) / 2, lower, (1 - waist) / 2)):
            angles = np.radians(rng.uniform(-120, -60) + np.linspace(0, -370, 9))
            rings.append([[(0.5 + rx * np.cos(a), cy + ry * np.sin(a)) for a in angles]])
        return rings
    high, deep = 0.4 * waist, waist + 0.55 * (1 - waist)
    top = [(0.5, 0.0), (0.5 - upper, high), (0.5, waist)]
    low = [(0.5 + lower, deep), (0.5, 1.0), (0.5 - lower, deep)]
    if style < 0.6:
        start = (0.5 + upper * rng.uniform(0.4, 1.1), rng.uniform(0.02, 0.5) * waist)
        finish = (0.5 + upper * rng.uniform(0.7, 1.2), rng.uniform(0.0, 0.45) * waist)
        return [[[start, *top, *low, (0.5 + 0.3 * upper, 0.8 * waist), finish]]]
    if style < 0.85:
        start = (0.5 + rng.uniform(0.2, 0.5), rng.uniform(-0.05, 0.15))
        finish = (0.5 + upper * rng.uniform(0.3, 1.4), rng.uniform(0.1, 0.75) * waist)
        return [[[start, *top, *low, (0.52, waist + 0.02), finish]]]
    middle = (0.5, waist)
    return [[[middle, (0.5 - upper, high), (0.5, 0.0), (0.5 + upper, high), (0.48, waist + 0.03), *low[::-1], middle]]]


def nine(rng: np.random.Generator) -> list[Stroke]:
    """A ring, large or small, closed or open at its top, and a stem: straight, bent or hooked to the left."""
    style = rng.random()
    low = rng.uniform(0.36, 0.7)
    side = rng.uniform(0.66, 0.9)
    begin = (side - rng.uniform(-0.1, 0.25), rng.uniform(-0.04, 0.22))
    left = rng.uniform(-0.06, 0.14)
    ring = [begin, (0.44, 0.0), (left + 0.06, 0.35 * low), (left, 0.72 * low), (0.34, low), (side - 0.08, 0.6 * low)]
    corner = (side, rng.uniform(0.02, 0.2))
    if style < 0.45:
        foot = rng.uniform(0.3, 0.95)
        return [[[*ring, corner], [corner, (0.5 * (side + foot) + 0.04, 0.55), (foot, 1.0)]]]
    if style < 0.65:
        hook = [(0.6, 0.92), (0.35, 1.0), (rng.uniform(0.0, 0.15), 0.9)]
        return [[[*ring, corner], [corner, (side + 0.02, 0.55), *hook]]]
    foot = rng.uniform(0.25, 0.85)
    return [[[*ring, (side + 0.02, 0.16), (side + 0.02, 0.4), (0.5 * (side + foot) + 0.05, 0.7), (foot, 1.0)]]]


GLYPHS = (zero, one, two, three, four, five, six, seven, eight, nine)


# --- From control points to ink ---------------------------------------------------------------------------------------


def spline(points: np.ndarray, per_piece: int = 10) -> np.ndarray:
    """The Catmull-Rom curve through `points` (n, 2): ((n - 1) * per_piece + 1, 2) points on it."""
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    a, b, c, d = padded[:-3, None], padded[1:-2, None], padded[2:-1, None], padded[3:, None]
    t = (np.arange(per_piece) / per_piece)[None, :, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return np.concatenate([curve.reshape(-1, 2), points[-1:]])


def trace(stroke: Stroke, rng: np.random.Generator, jitter: float, rounding: int) -> np.ndarray:
    """The polyline (n, 2) of a stroke, its points about 0.03 apart, corners rounded over 2 * `rounding` + 1 of them."""
    moved: dict[tuple[float, float], np.ndarray] = {}
    for piece in stroke:
        for point in piece:
            moved.setdefault(point, np.asarray(point) + rng.normal(0, jitter, 2))
    line = np.concatenate([spline(np.array([moved[point] for point in piece])) for piece in stroke])
    steps = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    even = np.linspace(0, steps[-1], max(4, int(steps[-1] / 0.03) + 1))
    line = np.stack([np.interp(even, steps, line[:, axis]) for axis in (0, 1)], axis=1)
    padded = np.concatenate([np.repeat(line[:1], rounding, 0), line, np.repeat(line[-1:], rounding, 0)])
    return sum(padded[i : i + len(line)] for i in range(2 * rounding + 1)) / (2 * rounding + 1)


def warp(lines: list[np.ndarray], rng: np.random.Generator, digit: int) -> list[np.ndarray]:
    """Bends the plane by three slow waves, then stretches, slants and turns it: the same for all strokes of a digit."""
    waves = [(rng.uniform(1, 5, 2), rng.uniform(0, 2 * np.pi), rng.normal(0, 0.025, 2)) for _ in range(3)]
    wide = np.exp(rng.normal(-0.12, 0.22))
    slant = rng.normal(0.3, 0.3) if digit == 1 else rng.normal(0.15, 0.22)
    angle = rng.normal(0, 0.12)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    bent = []
    for line in lines:
        centred = line - 0.5
        for frequency, phase, size in waves:
            centred = centred + np.sin((line * frequency).sum(1) + phase)[:, None] * size
        x, y = centred[:, 0] * wide, centred[:, 1]
        x = x - slant * y
        bent.append(np.stack([turn[0, 0] * x + turn[0, 1] * y, turn[1, 0] * x + turn[1, 1] * y], axis=1))
    return bent


def render(lines: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """The ink as uint8 (28, 28): its longer side 20 pixels, its centre of mass in the middle, white on black."""
    pen = float(np.clip(np.exp(rng.normal(0.2, 0.28)), 0.6, 2.3))  # radius in pixels
    low = np.min([line.min(0) for line in lines], axis=0)
    high = np.max([line.max(0) for line in lines], axis=0)
    scale = (BOX - 2 * pen) / (high - low).max()
    fitted = [(line - (low + high) / 2) * scale for line in lines]
    start = np.concatenate([line[:-1] for line in fitted])
    end = np.concatenate([line[1:] for line in fitted])
    radius = np.concatenate([pen * pressure(len(line) - 1, rng) for line in fitted])
    return centre(draw(start, end, radius, rng))


def pressure(count: int, rng: np.random.Generator) -> np.ndarray:
    """How hard the pen is pressed along a stroke of `count` segments: a slow wave about 1."""
    along = np.linspace(0, 1, count)
    return 1 + 0.15 * np.sin(2 * np.pi * (along * rng.uniform(0.3, 1.5) + rng.random()))


def draw(start: np.ndarray, end: np.ndarray, radius: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Capsules from `start` to `end` (n, 2), in pixels about the origin, as grey (28, 28) in 0..1, edges rough and
    antialiased."""
    axis = (np.arange(SIDE * FINE) + 0.5) / FINE - SIDE / 2
    x, y = axis[None, :, None], axis[:, None, None]
    span = end - start
    length = np.maximum((span**2).sum(1), 1e-9)
    t = np.clip(((x - start[:, 0]) * span[:, 0] + (y - start[:, 1]) * span[:, 1]) / length, 0, 1)
    away = np.sqrt((x - start[:, 0] - t * span[:, 0]) ** 2 + (y - start[:, 1] - t * span[:, 1]) ** 2)
    depth = (radius - away).max(2) + rng.normal(0, 0.12, (SIDE * FINE, SIDE * FINE))
    fine = np.clip(depth * rng.uniform(0.9, 2.0) + 0.5, 0, 1)
    return fine.reshape(SIDE, FINE, SIDE, FINE).mean((1, 3))


def centre(ink: np.ndarray) -> np.ndarray:
    """`ink` (28, 28) in 0..1 as uint8, moved by whole pixels so that its centre of mass is the image's middle.

    Its box has a margin of 4 pixels, by which it can be moved at most.
    """
    places = np.arange(SIDE) + 0.5
    margin = (SIDE - BOX) // 2
    mass = [(ink.sum(axis) * places).sum() / ink.sum() for axis in (1, 0)]
    down, right = (int(np.clip(np.rint(SIDE / 2 - place), -margin, margin)) for place in mass)
    grey = np.pad(np.rint(255 * np.clip(ink * 1.1 - 0.03, 0, 1)).astype(np.uint8), margin)
    return grey[margin - down : margin - down + SIDE, margin - right : margin - right + SIDE]


def image(split: int, index: int) -> np.ndarray:
    """Image `index` of the split (TRAIN or TEST): uint8 (28, 28). Its label is `label(split, index)`."""
    rng = np.random.default_rng([SEED, split, index])
    digit = label(split, index)
    jitter = rng.uniform(0.01, 0.045)
    rounding = int(rng.integers(0, 4))
    lines = [trace(stroke, rng, jitter, rounding) for stroke in GLYPHS[digit](rng)]
    return render(warp(lines, rng, digit), rng)


def label(split: int, index: int) -> int:
    """The digit of image `index`: each run of ten images holds each digit once, in an order of its own."""
    order = np.random.default_rng([SEED, split, index // 10, 10]).permutation(10)
    return int(order[index % 10])


# --- Files ------------------------------------------------------------------------------------------------------------


def idx(array: np.ndarray) -> bytes:
    """A uint8 array as a gzipped IDX file: the same bytes for the same array (no time of writing in the header)."""
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    packed = io.BytesIO()
    with gzip.GzipFile("", "wb", 9, packed, mtime=0) as file:
        file.write(header + array.tobytes())
    return packed.getvalue()


def main() -> None:
    """Draws both splits and writes the four files."""
    parser = argparse.ArgumentParser(description="Draw the built-in set of digits.")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent / "digits")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for split, count in COUNTS.items():
        images = np.stack([image(split, index) for index in range(count)])
        labels = np.array([label(split, index) for index in range(count)], dtype=np.uint8)
        for name, array in ((f"{PREFIX[split]}-images-idx3-ubyte.gz", images),
                            (f"{PREFIX[split]}-labels-idx1-ubyte.gz", labels)):
            (folder / name).write_bytes(idx(array))
            print(f"{folder / name}: {array.shape}")


if __name__ == "__main__":
    main()
