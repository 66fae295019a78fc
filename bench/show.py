"""Formats the comparison's results as tables for a terminal, and shows its progress."""

import sys
from collections.abc import Sequence
from typing import Any

from autoconv.engine.costs.tables import ONE_PROCESS, interval, interval_head, table

from . import peers


class Progress:
    """Shows the current activity. In a terminal, one line is overwritten; otherwise each activity is
    printed as a new line.
    """

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if self._live:
            print(f"\r\033[K{text[:110]}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        if self._live:
            self("")


def command(arguments: Sequence[str]) -> str:
    """Returns the command's arguments, without the path of this machine's results."""
    parts = list(arguments)
    while "--json" in parts:
        del parts[(at := parts.index("--json")) : at + 2]
    return " ".join(part for part in parts if not part.startswith("--json="))


def entry(result: dict[str, Any]) -> str:
    """Returns one measurement as a table with its heading."""
    formatter = {"start": _start, "accuracy": _accuracy}.get(result["mode"], _throughput)
    head = f"{result['workload']}, batch size {result['batch_size']}, {result['mode']}"
    return f"{head}\n{formatter(result['peers'])}"


def _throughput(entries: dict[str, dict[str, Any]]) -> str:
    rows, sure = [], ""
    for name, f in entries.items():
        if f["status"] != "timed":
            rows.append([peers.label(name), *_not_timed(f, 5)])
            continue
        speed, ratio = f["images_per_s"], f["ratio"]
        sure = interval_head(ratio)
        rows.append([peers.label(name), f"{speed['median']:,.0f}", f"{speed['low']:,.0f} .. {speed['high']:,.0f}",
                     f"{ratio['median']:.2f}", interval(ratio), net_memory(f)])
    first = next((peers.label(n) for n, f in entries.items() if f["status"] == "timed"), "the first")
    return table(["", "images/s", "half the rounds", f"x time of {first}", sure, "MB for the net"], rows)


def net_memory(f: dict[str, Any]) -> str:
    """Returns a peer's peak memory less the peak before its net was created, in MB, or "" if it is unknown."""
    known = f.get("peak_memory") and f.get("base_memory")
    return f"{(f['peak_memory'] - f['base_memory']) / 1e6:,.0f}" if known else ""


def _start(entries: dict[str, dict[str, Any]]) -> str:
    rows = [[peers.label(n), f"{f['cold_s']:.1f}", f"{f['warm']['median']:.1f}",
             f"{f['warm']['low']:.1f} .. {f['warm']['high']:.1f}"] if f["status"] == "timed"
            else [peers.label(n), *_not_timed(f, 3)] for n, f in entries.items()]
    return table(["seconds to the first step", "cold", "warm", "half the rounds"], rows)


def _accuracy(entries: dict[str, dict[str, Any]]) -> str:
    rows = []
    for name, f in entries.items():
        reached = f.get("seconds_to_target")
        if f["status"] != "timed" or reached is None:
            missed = f if f["status"] != "timed" else {"status": "not reached"}
            rows.append([peers.label(name), *_not_timed(missed, 3)])
            continue
        rows.append([peers.label(name), f"{reached['median']:.1f}", f"{reached['low']:.1f} .. {reached['high']:.1f}",
                     f["reached"]])
    return table(["seconds to the target", "median", "half the runs", "reached"], rows)


def _not_timed(f: dict[str, Any], columns: int) -> list[str]:
    return [f["status"], *[""] * (columns - 1)]


def remarks(results: list[dict[str, Any]]) -> list[str]:
    """Returns the reasons why peers or intervals are missing from the tables, each reason once."""
    reasons = []
    for result in results:
        for name, f in result["peers"].items():
            if "reason" in f:
                reasons.append(f"{peers.label(name)}: {f['status']}, {f['reason']}")
            if f.get("ratio", {}).get("confidence") == 0:
                reasons.append(ONE_PROCESS)
    return list(dict.fromkeys(reasons))
