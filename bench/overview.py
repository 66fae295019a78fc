"""`python -m bench.overview RESULTS.json ...` prints one line per net in results of bench.compare. It
compares autoconv with the fastest peer.

Training is compared with the fastest framework. Inference is compared with the fastest inference
engine, or with the fastest framework if no engine was timed. Each line has the minimum ratio that
autoconv should reach, and the aim. The peak memory in training follows.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from autoconv.engine.costs.tables import interval, table

from . import peers, report

OURS = "autoconv"


class Target(NamedTuple):
    """The required speed relative to the fastest peer: the minimum and the aim."""

    least: float
    aim: float


TARGETS = {  # targets by (net, mode, batch size)
    ("lecture", "train", 64): Target(3.6, 5), ("lecture", "infer", 64): Target(1.4, 2),
    ("lecture", "infer", 1): Target(1.25, 2),
    ("resnet20", "train", 64): Target(1.4, 2.2), ("resnet20", "infer", 64): Target(1.0, 1.4),
    ("resnet20", "infer", 1): Target(0.8, 1.2),
    ("vgg-bn", "train", 64): Target(1.5, 2), ("vgg-bn", "infer", 64): Target(0.95, 1.3),
    ("vgg-bn", "infer", 1): Target(0.9, 1.3),
    ("mobile", "train", 64): Target(1.3, 2), ("mobile", "infer", 64): Target(0.9, 1.3),
    ("mobile", "infer", 1): Target(0.7, 1.2),
    ("wide", "train", 64): Target(1.3, 1.8), ("wide", "infer", 64): Target(0.85, 1.1),
    ("wide", "infer", 1): Target(1, 1.3),
    ("lecture-bn", "train", 64): Target(2, 3), ("lecture-bn", "infer", 64): Target(1.3, 1.7),
    ("lecture-bn", "infer", 1): Target(1, 1.5),
    ("lenet5", "train", 64): Target(2, 3), ("lenet5", "infer", 64): Target(1.1, 1.5),
    ("lenet5", "infer", 1): Target(0.9, 1.2),
    ("mlp", "train", 64): Target(2, 3), ("mlp", "infer", 64): Target(1.0, 1.3), ("mlp", "infer", 1): Target(0.9, 1.2),
    ("lecture-large", "train", 32): Target(2, 3), ("photos", "train", 32): Target(1.8, 2.5),
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m bench.overview", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="+", type=Path, help="JSON files that bench.compare wrote")
    options = parser.parse_args(argv)
    try:
        print(format_tables(entry for path in options.results for entry in report.load(path)["results"]))
    except (OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    return 0


def format_tables(entries: Iterable[dict[str, Any]]) -> str:
    """Returns a table of the measurements of training and inference, followed by a table of the peak
    memory in training.
    """
    entries = list(entries)
    parts = [table(["net, batch size", "", "autoconv", "the fastest peer", "", "times as fast", "interval", "at least",
                    "aim"], [_row(entry) for entry in entries if entry["mode"] in ("train", "infer")])]
    if memory := [row for entry in entries if entry["mode"] == "train" and (row := _memory(entry))]:
        parts.append(table(["peak memory of training, MB", "autoconv", "the least of the others", "", "the lowest"],
                           memory))
    return "\n\n".join(parts)


def _memory(entry: dict[str, Any]) -> list[str]:
    """Returns a row that compares the peak memory of autoconv's process with the lowest peak of the
    other peers. Returns [] if they are unknown.
    """
    peaks = {name: f["peak_memory"] for name, f in entry["peers"].items() if f.get("peak_memory")}
    ours = peaks.pop(OURS, None)
    if ours is None or not peaks:
        return []
    least = min(peaks, key=peaks.__getitem__)
    return [f"{entry['workload']}, {entry['batch_size']}", f"{ours / 1e6:,.0f}", peers.label(least),
            f"{peaks[least] / 1e6:,.0f}", "yes" if ours < peaks[least] else "no"]


def _row(entry: dict[str, Any]) -> list[str]:
    mode, found = entry["mode"], entry["peers"]
    head = [f"{entry['workload']}, {entry['batch_size']}", mode]
    ours = found.get(OURS, {"status": "not measured"})
    rivals = {name: f for name, f in found.items() if f["status"] == "timed" and name in peers.PEERS and name != OURS}
    dedicated = {name for name in rivals if ("train" in peers.PEERS[name].modes) == (mode == "train")}
    if ours["status"] != "timed" or not rivals:
        return [*head, ours["status"] if ours["status"] != "timed" else "no peer was timed", *[""] * 6]
    best = min(dedicated or rivals, key=lambda name: rivals[name]["ratio"]["median"] / ours["ratio"]["median"])
    base, ratio = ours["ratio"]["median"], rivals[best]["ratio"]
    target = TARGETS.get((entry["workload"], mode, entry["batch_size"]))
    return [*head, f"{ours['images_per_s']['median']:,.0f}", peers.label(best),
            f"{rivals[best]['images_per_s']['median']:,.0f}", f"{ratio['median'] / base:.2f}",
            interval(ratio, base),
            *((f"{target.least:g}", f"{target.aim:g}") if target and best in dedicated else ("", ""))]


if __name__ == "__main__":
    sys.exit(main())
