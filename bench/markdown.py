"""Writes results as tables into a Markdown file, between two markers."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoconv.engine.costs.tables import interval

BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def insert(path: Path, documents: Sequence[dict[str, Any]]) -> None:
    """Replaces the text between the markers. Raises ValueError if the file does not contain them."""
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} lacks the line {BEGIN} or {END}, between which the tables are written.")
    path.write_text(f"{before}{BEGIN}\n\n{tables(documents)}\n\n{END}{after}", encoding="utf-8")


def tables(documents: Sequence[dict[str, Any]]) -> str:
    """Returns all results, with one table each, after a description of the machine."""
    parts = []
    for d in documents:
        machine, versions = d["machine"], {}
        for peer in d["peers"].values():
            versions |= peer.get("versions", {})
        what = machine["gpu"]["name"] if "gpu" in machine else f"{machine['cpu']}, {d['threads']} threads"
        parts.append(f"{what}, {machine['system']}, Python {machine['python']}, "
                     f"{machine['date'][:10]}; " + ", ".join(f"{k} {v}" for k, v in sorted(versions.items())) + ".")
        labels = {name: peer.get("label", name) for name, peer in d["peers"].items()}
        parts += [_entry(entry, labels) for entry in d["results"]]
        if d["kernels"]:
            parts.append(_table(["kernel", "achieved", "share of its ceiling"], [
                [f"{k['workload']}: {k['kind']}, {k['layer']}",
                 f"{k['gflops']:,.0f} GFLOP/s" if k["bound"] == "arithmetic" else f"{k['gbytes_per_s']:,.0f} GB/s",
                 f"{k['fraction']['median']:.0%}"] for k in d["kernels"]]))
    return "\n\n".join(parts)


def _entry(entry: dict[str, Any], labels: dict[str, str]) -> str:
    columns, cells = {
        "start": (["cold, s", "warm, s"], lambda f: [f"{f['cold_s']:.1f}", f"{f['warm']['median']:.1f}"]),
        "accuracy": (["seconds", "reached"], _reached),
    }.get(entry["mode"], (["images/s", "times the time of the first", "interval", "peak memory, MB"], _speed))
    rows = []
    for name, f in entry["peers"].items():
        timed = f.get("status", "timed") == "timed"
        rows.append([labels.get(name, name), *(cells(f) if timed else [f["status"], *[""] * (len(columns) - 1)])])
    head = f"**{entry['workload']}, batch size {entry['batch_size']}, {entry['mode']}**"
    return f"{head}\n\n" + _table(["", *columns], rows)


def _speed(f: dict[str, Any]) -> list[str]:
    ratio, peak = f.get("ratio"), f.get("peak_memory")
    compared = [f"{ratio['median']:.2f}", interval(ratio, to=" to ")] if ratio else ["", ""]
    return [f"{f['images_per_s']['median']:,.0f}", *compared, f"{peak / 1e6:,.0f}" if peak else ""]


def _reached(f: dict[str, Any]) -> list[str]:
    if "seconds_to_target" not in f:
        return ["not reached", ""]
    return [f"{f['seconds_to_target']['median']:.1f}", f["reached"]]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
