"""Estimates the efficiency of training on many machines, with the model of bench/messages.py and the
latest results of `bench.scaling`. Writes a table and a picture.
"""

import json
import math
from pathlib import Path
from typing import Any

from autoconv.engine.costs.tables import table

from . import messages
from .rank import SMALLER
from .scaling import median

USED = 0.93  # fraction of a network's nominal bandwidth that remains for data, without headers
GIGABITS, RANKS, BATCH = (10.0, 100.0), tuple(2**i for i in range(9)), 1024
COLOURS = ("#3f51b5", "#ef6c00", "#2e7d32", "#8e24aa")
WIDTH, HEIGHT, LEFT, TOP = 520, 260, 52, 16


def latest() -> dict[str, Any]:
    """Returns the latest results in bench/results."""
    path = max((Path(__file__).parent / "results").glob("*-scaling.json"))
    return json.loads(path.read_text(encoding="utf-8"))


def nets(document: dict[str, Any]) -> dict[str, messages.Net]:
    """Returns each net's costs on one machine with two cores, by name. They follow from the times of
    steps with two batch sizes.
    """
    found = {}
    for result in document["results"]:
        if result["gigabits"] is None:
            rounds, batch = result["rounds"]["autoconv 1x2"], result["batch_size"]
            whole, small = median(rounds), median(rounds, "small")
            image = min((whole - small) / (batch - batch // SMALLER), whole / batch)
            size = result["rounds"]["autoconv 2x1"][0]["bytes"]
            found[result["workload"]] = messages.Net(whole - image * batch, image, size)
    return found


def latency(document: dict[str, Any]) -> float:
    """Returns the latency of a message between two hosts. It is the largest of the fitted latencies."""
    return max(messages.fit_network([tuple(pair) for each in result["rounds"]["autoconv 2x1"] for pair in each["sums"]],
                               2).latency for result in document["results"] if result["gigabits"])


def rows(document: dict[str, Any]) -> str:
    """Returns a table of the largest number of machines with which each net has an efficiency of at
    least one half.
    """
    delay, lines = latency(document), []
    for name, net in nets(document).items():
        of = [messages.Network(delay, USED * gigabits * 1e9 / 8) for gigabits in GIGABITS]
        alone = net.computes(64)
        kept = [f"{alone / messages.step(alone, net.size, 64, network):.0%}" for network in of]
        lines.append([name, f"{1e3 * net.fixed_seconds:.2f} + {1e3 * net.image:.4f} n", f"{net.size / 1e6:.2f}",
                      *(str(messages.most(net, BATCH, network)) for network in of), *kept])
    head = ["net", "ms, n images", "MB", "10 Gbit/s", "100 Gbit/s", "64 each, 10", "64 each, 100"]
    return table(head, lines)


def svg(document: dict[str, Any]) -> str:
    """Draws the efficiency over the number of machines as SVG, if the machines divide a batch of 1024
    images. Dashed lines are for 100 Gbit/s.
    """
    delay, parts = latency(document), []

    def point(ranks: int, share: float) -> str:
        return f"{LEFT + WIDTH * math.log2(ranks) / math.log2(RANKS[-1]):.1f} {TOP + HEIGHT * (1 - share):.1f}"

    for ranks in RANKS:
        x, y = point(ranks, 0).split()
        parts.append(f'<path d="M{x} {y}v-{HEIGHT}" stroke="#e0e0e0"/>'
                     f'<text x="{x}" y="{float(y) + 18}" text-anchor="middle">{ranks}</text>')
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = point(1, share).split()
        parts.append(f'<path d="M{x} {y}h{WIDTH}" stroke="#e0e0e0"/>'
                     f'<text x="{float(x) - 6}" y="{float(y) + 4}" text-anchor="end">{share:.0%}</text>')
    for number, ((name, net), colour) in enumerate(zip(nets(document).items(), COLOURS)):
        for gigabits, dashes in zip(GIGABITS, ("none", "6 4")):
            network = messages.Network(delay, USED * gigabits * 1e9 / 8)
            points = "L".join(point(n, messages.efficiency(net, BATCH, n, network)) for n in RANKS)
            parts.append(f'<path d="M{points}" fill="none" stroke="{colour}" stroke-width="2" '
                         f'stroke-dasharray="{dashes}"/>')
        parts.append(f'<text x="{LEFT + 14}" y="{TOP + HEIGHT - 70 + 18 * number}" fill="{colour}">{name}</text>')
    parts.append(f'<text x="{LEFT + WIDTH / 2}" y="{TOP + HEIGHT + 38}" text-anchor="middle">machines that share a '
                 f"batch of {BATCH} images; solid 10 Gbit/s, dashed 100</text>")
    across, down = WIDTH + LEFT + 24, HEIGHT + TOP + 52
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{across}" height="{down}" viewBox="0 0 {across} {down}" '
            f'font-family="system-ui, sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>'
            f'{"".join(parts)}</svg>\n')


def draw(file: str | Path) -> None:
    """Draws the latest results, and writes the picture to `file`."""
    Path(file).write_text(svg(latest()), encoding="utf-8")


if __name__ == "__main__":
    print(rows(latest()))
