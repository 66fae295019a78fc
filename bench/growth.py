"""Measures how a training step's time grows with batch, pixels, channels and depth: `python -m
bench.growth`, then `--plot`.

It measures the processor time of one thread for one recorded step. Of several steps the shortest time
is used, so that other programs hardly affect the result.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from autoconv.engine.costs.tables import table
from autoconv.programs.bench import machine

from . import nets, workloads
from .specs import Conv, GlobalPool
from .workloads import Workload

SECONDS = 4.0  # seconds per point; at least 3 steps are measured
COLOURS = {"batch": "#3f51b5", "pixels": "#ef6c00", "channels": "#2e7d32", "depth": "#8e24aa"}
SIDE, MARGIN = 460, 60  # sides of the plot and of its margin, in the picture's units


def series() -> dict[str, list[tuple[int, Workload, int]]]:
    """Returns the points of each series: the value on the x axis, the net, and the batch size. The
    nets are the lecture net and chains of 3x3 convolutions.
    """
    def lecture(side: int) -> Workload:
        return Workload("lecture", (side, side, 1), 10, nets.LECTURE, (1,))

    def chain(channels: int, depth: int) -> Workload:
        body = (*(Conv(channels, 3, 1) for _ in range(depth)), GlobalPool())
        return Workload("chain", (16, 16, channels), 10, body, (1,))

    return {
        "batch": [(n, lecture(28), n) for n in (1, 4, 16, 64, 256, 1024)],
        "pixels": [(side * side, lecture(side), 16) for side in (28, 40, 56, 80, 112, 160)],
        "channels": [(c, chain(c, 2), 16) for c in (8, 16, 32, 64, 128, 256)],
        "depth": [(d, chain(32, d), 16) for d in (1, 2, 4, 8, 16, 32)],
    }


def measure_step(workload: Workload, batch_size: int) -> float:
    """Returns the seconds of processor time of a recorded training step on one thread."""
    from .peers.autoconv import Autoconv

    peer = Autoconv(workload, 1, "train", workloads.SEED)
    peer.load(workloads.weights(workload))
    peer.hold(*workloads.data(workload, batch_size), batch_size)
    times, end = [], time.perf_counter() + SECONDS
    while len(times) < 4 or time.perf_counter() < end:
        start = time.thread_time()
        peer.net.train_on_batch(peer.images, peer.targets)
        times.append(time.thread_time() - start)
    return min(times[1:])  # the first step is recorded and takes longer


def points() -> Iterator[dict[str, Any]]:
    from autoconv.kernels import device

    device.get("cpu").set_num_threads(1)
    for axis, places in series().items():
        for position, workload, batch_size in places:
            flops = workloads.flops(workload, "train") * batch_size
            yield {"axis": axis, "at": position, "flops": flops, "seconds": measure_step(workload, batch_size)}


def rows(points: Sequence[dict[str, Any]]) -> str:
    """Returns the points as a table."""
    lines = [[p["axis"], f"{p['at']:,}", f"{p['flops'] / 1e9:.3g}", f"{1e3 * p['seconds']:.3g}",
              f"{p['flops'] / p['seconds'] / 1e9:.0f}"] for p in points]
    return table(["axis", "at", "GFLOP a step", "ms", "GFLOP/s"], lines)


def svg(points: Sequence[dict[str, Any]]) -> str:
    """Draws the time over the number of operations as SVG, with logarithmic axes and a straight line
    through the fastest point.
    """
    x_low, x_high = _decades([p["flops"] / 1e9 for p in points])
    y_low, y_high = _decades([p["seconds"] * 1e3 for p in points])

    def place(flops: float, seconds: float) -> tuple[float, float]:
        across = (math.log10(flops / 1e9) - x_low) / (x_high - x_low)
        up = (math.log10(seconds * 1e3) - y_low) / (y_high - y_low)
        return MARGIN + SIDE * across, MARGIN / 2 + SIDE * (1 - up)

    parts = [*_axis(x_low, x_high, "GFLOP a step", False), *_axis(y_low, y_high, "ms a step, one thread", True)]
    fastest = max(p["flops"] / p["seconds"] for p in points)
    (x, y), (x_end, y_end) = (place(10**at * 1e9, 10**at * 1e9 / fastest) for at in (x_low, x_high))
    parts.append(f'<clipPath id="frame"><rect x="{MARGIN}" y="{MARGIN / 2}" width="{SIDE}" height="{SIDE}"/></clipPath>'
                 f'<path d="M{x:.1f} {y:.1f}L{x_end:.1f} {y_end:.1f}" stroke="#9e9e9e" clip-path="url(#frame)"/>')
    for number, (axis, colour) in enumerate(COLOURS.items()):
        places = [place(p["flops"], p["seconds"]) for p in points if p["axis"] == axis]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
        parts.append(f'<text x="{MARGIN + 14}" y="{MARGIN / 2 + 22 + 18 * number}" fill="{colour}">{axis}</text>')
    size = f'width="{SIDE + 2 * MARGIN}" height="{SIDE + 1.5 * MARGIN}"'
    return (f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {SIDE + 2 * MARGIN} {SIDE + 1.5 * MARGIN}" '
            'font-family="system-ui, sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
            f'{"".join(parts)}</svg>\n')


def draw(file: str | Path) -> None:
    """Draws the latest points in bench/results, and writes the picture to `file`."""
    latest = max((Path(__file__).parent / "results").glob("*-growth.json"))
    Path(file).write_text(svg(json.loads(latest.read_text(encoding="utf-8"))["points"]), encoding="utf-8")


def _decades(values: Sequence[float]) -> tuple[int, int]:
    return math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))


def _axis(low: int, high: int, title: str, upright: bool) -> list[str]:
    """Returns the SVG of an axis: lines and numbers at powers of ten, and the title."""
    parts, bottom, middle = [], MARGIN / 2 + SIDE, MARGIN / 2 + SIDE / 2
    for power in range(low, high + 1):
        at = SIDE * (power - low) / (high - low)
        if upright:
            parts.append(f'<path d="M{MARGIN} {bottom - at:.1f}h{SIDE}" stroke="#e0e0e0"/>'
                         f'<text x="{MARGIN - 6}" y="{bottom - at + 4:.1f}" text-anchor="end">{10.0**power:g}</text>')
        else:
            parts.append(f'<path d="M{MARGIN + at:.1f} {bottom}v-{SIDE}" stroke="#e0e0e0"/>'
                         f'<text x="{MARGIN + at:.1f}" y="{bottom + 18}" text-anchor="middle">{10.0**power:g}</text>')
    turned = f' transform="rotate(-90 16 {middle})" x="16" y="{middle}"' if upright else (
        f' x="{MARGIN + SIDE / 2}" y="{bottom + 40}"')
    return [*parts, f'<text{turned} text-anchor="middle">{title}</text>']


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="file for the points")
    parser.add_argument("--plot", type=Path, help="draw the latest points in bench/results as SVG, without measuring")
    options = parser.parse_args(argv)
    if options.plot:
        draw(options.plot)
        return 0
    measurements = list(points())
    print(rows(measurements))
    if options.json:
        text = json.dumps({"machine": machine.describe(), "points": measurements}, indent=1)
        options.json.write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
