"""Writes tables of results into a Markdown file, between two marks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoconv.engine.costs.tables import interval

THE_SAME = "This table was measured on the same machine and with the same versions as the previous table."
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def insert(path: Path, documents: Sequence[dict[str, Any]]) -> None:
    """Replaces the text between the two marks in a file by the results. Raises ValueError if the file
    lacks the marks.
    """
    text = path.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{path} lacks the line {BEGIN} or {END}, between which the tables are written.")
    path.write_text(f"{before}{BEGIN}\n\n{tables(documents)}\n\n{END}{after}", encoding="utf-8")


def tables(documents: Sequence[dict[str, Any]]) -> str:
    """Returns each document's results as tables, after a description of its machine and versions."""
    sections, before = [], ""
    for d in documents:
        machine, versions = d["machine"], dict[str, str]()
        for peer in d["peers"].values():
            versions |= peer.get("versions", {})
        processor = machine["gpu"]["name"] if "gpu" in machine else f"{machine['cpu']}, {d['threads']} threads"
        listed = "; " + ", ".join(f"{k} {v}" for k, v in sorted(versions.items())) if versions else ""
        measured = f"{processor}, {machine['system']}, Python {machine['python']}, {machine['date'][:10]}{listed}."
        sections.append(THE_SAME if measured == before else measured)
        before = measured
        labels = {name: peer.get("label", name) for name, peer in d["peers"].items()}
        speeds = [entry for entry in d["results"] if entry["mode"] not in ("start", "accuracy")]
        if speeds:
            sections.append(_speeds(speeds, labels))
        sections += [_entry(entry, labels) for entry in d["results"] if entry["mode"] in ("start", "accuracy")]
        if d["kernels"]:
            sections.append(_kernels(d["kernels"]))
    return "\n\n".join(sections)


def _speeds(entries: Sequence[dict[str, Any]], labels: dict[str, str]) -> str:
    """Returns one table of training and inference. Its rows are the peers or the nets, whichever are
    more numerous.
    """
    names = [name for name in labels if any(name in entry["peers"] for entry in entries)]
    nets = [f"{entry['workload']}, {entry['batch_size']}, {entry['mode']}" for entry in entries]
    rows = [[labels[name], *(_speed(entry["peers"].get(name)) for entry in entries)] for name in names]
    if len(names) > len(nets):
        return _table(["", *nets], rows)
    return _table(["", *(row[0] for row in rows)], [[net, *(row[i] for row in rows)] for i, net in enumerate(nets, 1)])


def _speed(f: dict[str, Any] | None) -> str:
    """Returns a cell with a peer's images per second, the ratio of its time to the first peer's time
    with an interval, and its peak memory, as far as they are known.
    """
    if f is None:
        return ""
    if f.get("status", "timed") != "timed":
        return f["status"]
    ratio, peak = f.get("ratio"), f.get("peak_memory")
    found = [f"{f['images_per_s']['median']:,.0f}"]
    if ratio:
        between = interval(ratio, sep=" to ") if ratio["low"] < ratio["high"] else ""
        found.append(f"{ratio['median']:.2f}" + (f" ({between})" if between else ""))
    return "; ".join(found + ([f"{peak / 1e6:,.0f} MB"] if peak else []))


def _entry(entry: dict[str, Any], labels: dict[str, str]) -> str:
    """Returns a table of the times to the first step, or of the times to the target accuracy."""
    columns, cells = {
        "start": (["cold, s", "warm, s"], lambda f: [f"{f['cold_s']:.1f}", f"{f['warm']['median']:.1f}"]),
        "accuracy": (["seconds", "reached"], _accuracy_cells),
    }[entry["mode"]]
    rows = []
    for name, f in entry["peers"].items():
        timed = f.get("status", "timed") == "timed"
        rows.append([labels.get(name, name), *(cells(f) if timed else [f["status"], *[""] * (len(columns) - 1)])])
    head = f"**{entry['workload']}, batch size {entry['batch_size']}, {entry['mode']}**"
    return f"{head}\n\n" + _table(["", *columns], rows)


def _accuracy_cells(f: dict[str, Any]) -> list[str]:
    if "seconds_to_target" not in f:
        return ["not reached", ""]
    return [f"{f['seconds_to_target']['median']:.1f}", f["reached"]]


def _kernels(kernels: Sequence[dict[str, Any]]) -> str:
    """Returns a table of the first net's kernels. A row per layer has the speed of each pass, and the
    fraction of the ceiling that it reaches.
    """
    first, *others = dict.fromkeys(k["workload"] for k in kernels)
    rows: dict[str, list[str]] = {}
    for k in (k for k in kernels if k["workload"] == first):
        layer, _, direction = k["kind"].partition(" ")
        speed = f"{k['gflops']:,.0f} GFLOP/s" if k["bound"] == "arithmetic" else f"{k['gbytes_per_s']:,.0f} GB/s"
        passed = f"{direction} {speed} ({k['fraction']['median']:.0%})".lstrip()
        rows.setdefault(f"{layer}, {k['layer']}", []).append(passed)
    head = [f"{first}: layer", "speed of each kernel (fraction of its ceiling)"]
    shown = _table(head, [[name, ", ".join(passes)] for name, passes in rows.items()], "---|")
    return f"{shown}\n\nThe JSON file also contains the kernel speeds of {', '.join(others)}." if others else shown


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], column: str = "---:|") -> str:
    lines = [f"| {' | '.join(head)} |", f"|---|{column * (len(head) - 1)}"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows])
