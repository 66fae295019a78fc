"""Builds an HTML page of results: charts and tables, without scripts or network access."""

from collections.abc import Sequence
from html import escape
from typing import Any

from ...engine.costs.tables import BLANK, interval, interval_head, share
from ..pages import document
from ..pages.charts import Bar, bars
from ..pages.document import section
from . import result_tables

Results = dict[str, Any]

# CPU flags for vector instructions that the page lists.
VECTORS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "neon", "asimd", "sve", "amx_tile")


def page(documents: Sequence[Results]) -> str:
    """Returns the page of results. Raises ValueError if there are no results."""
    if not any(d.get("results") or d.get("kernels") for d in documents):
        raise ValueError("The results must contain at least one measurement.")
    entries = _label_peers(documents)
    reasons = dict.fromkeys(f"{n}: {f['status']}, {f['reason']}" for e in entries for n,
                            f in e["peers"].items() if "reason" in f)
    not_timed = "".join(f"<li>{escape(line)}</li>" for line in reasons)
    body = [_head(documents), *_throughput(entries, "train", "Training"),
            *_throughput(entries, "infer", "Inference"), *_accuracy(entries), *_start(entries),
            *_memory(entries), *_size(documents), *_kernels([k for d in documents
                                                             for k in d["kernels"]]),
            *([f"<section><h2>Not timed</h2><ul>{not_timed}</ul></section>"] if reasons else [])]
    return document.document("autoconv benchmarks", body)


def _label_peers(documents: Sequence[Results]) -> list[Results]:
    """Returns the results of all documents, with each peer's label as its key."""
    labels: dict[str, str] = {}
    for d in documents:
        labels |= {name: peer.get("label", name) for name, peer in d["peers"].items()}
    return [{**entry, "peers": {labels.get(n, n): f for n, f in entry["peers"].items()}}
            for d in documents for entry in d["results"]]


def _head(documents: Sequence[Results]) -> str:
    machines: dict[str, dict[str, list[str]]] = {}
    for d in documents:
        facts = machines.setdefault(f"{d['machine']['cpu']} {d['machine']['cpu_flags']}", {})
        for key, values in _facts(d).items():
            facts.setdefault(key, []).extend(v for v in values if v not in facts[key])
    lists = ["".join(f"<dt>{escape(key)}</dt><dd>{escape(', '.join(values))}</dd>" for key,
                     values in facts.items() if any(values)) for facts in machines.values()]
    return ("<header><h1>autoconv "
            f"benchmarks</h1>{''.join(f'<dl>{rows}</dl>' for rows in lists)}<p>Bars show medians "
            "over rounds; whiskers span half of the rounds. Ratios are taken within each round and "
            "averaged per process; the median over processes is shown, with its interval."
            "</p></header>")


def _facts(d: Results) -> dict[str, list[str]]:
    """Returns the machine, threads, date and versions of one document, as lists by name."""
    machine = d["machine"]
    versions = [f"{name} {v}" for peer in d["peers"].values() for name, v in peer.get("versions", {}).items()]
    return {
        "Processor": [machine["cpu"]],
        "Vector instructions": [" ".join(flag for flag in VECTORS if flag in machine["cpu_flags"])],
        "Threads": [f"{d['threads']} of {machine['processors']} processors"],
        "Memory": [f"{machine['memory_gb']} GB" if machine["memory_gb"] else ""],
        "System": [f"{machine['system']}, Python {machine['python']}"],
        "Measured": [machine["date"][:10]],
        "Versions": list(dict.fromkeys(versions)),
    }


# Sections of the page. Each function returns a list of one section, or [] if it has no results.


def _throughput(entries: Sequence[Results], mode: str, heading: str) -> list[str]:
    cards = []
    for entry in entries:
        timed = {n: f for n, f in entry["peers"].items() if "images_per_s" in f}
        if entry["mode"] != mode or not timed:
            continue
        order = sorted(timed, key=lambda n: -timed[n]["images_per_s"]["median"])
        rows = [_spread_bar(n, timed[n]["images_per_s"], "{:,.0f} images/s") for n in order]
        head = ["", "images/s", "half the rounds"]
        numbers = [[n, *_speed(timed[n])] for n in order]
        if len(timed) > 1:
            head += [f"time / {next(iter(timed))}'s", interval_head(timed[order[0]]["ratio"])]
            for row, n in zip(numbers, order):
                ratio = timed[n]["ratio"]
                row += [f"{ratio['median']:.2f}", interval(ratio, sep=" to ")]
        title = _title(entry)
        cards.append(_card(title, bars(f"{heading}: {title}", rows), head, numbers))
    return section(heading, "Images per second; more is better.", cards)


def _accuracy(entries: Sequence[Results]) -> list[str]:
    cards = []
    for entry in [e for e in entries if e["mode"] == "accuracy"]:
        peers = {n: f for n, f in entry["peers"].items() if "seconds_to_target" in f}
        order = sorted(peers, key=lambda n: peers[n]["seconds_to_target"]["median"])
        rows = [_spread_bar(n, peers[n]["seconds_to_target"], "{:.1f} s") for n in order]
        numbers = [[n, f"{peers[n]['seconds_to_target']['median']:.1f}", peers[n]["reached"]] for n in order]
        title = f"MNIST to {entry['recipe']['target']:.1%} of the test images"
        cards.append(_card(title, bars(title, rows), ["", "seconds", "reached in"], numbers))
    return section(
        "Time to accuracy",
        "Seconds from the start of the process; less is better. The recipe is the same for all.", cards)


def _start(entries: Sequence[Results]) -> list[str]:
    cards = []
    for entry in [e for e in entries if e["mode"] == "start"]:
        timed = {n: f for n, f in entry["peers"].items() if f["status"] == "timed"}
        order = sorted(timed, key=lambda n: timed[n]["warm"]["median"])
        rows = []
        for n in order:
            rows.append(_spread_bar(n, timed[n]["warm"], "{:.1f} s")._replace(label=f"{n}, warm"))
            rows.append(Bar(f"{n}, cold", timed[n]["cold_s"], f"{timed[n]['cold_s']:.1f} s", kind="faint"))
        numbers = [[n, f"{timed[n]['cold_s']:.1f}", f"{timed[n]['warm']['median']:.1f}"] for n in order]
        title = _title(entry)
        cards.append(_card(title, bars(f"Start: {title}", rows), ["", "cold, s", "warm, s"], numbers))
    return section(
        "From start to the first training step",
        "Seconds; less is better. Cold: with empty caches of compiled code.", cards)


def _memory(entries: Sequence[Results]) -> list[str]:
    cards = []
    for entry in [e for e in entries if e["mode"] == "train"]:
        held = {n: f["peak_memory"] for n, f in entry["peers"].items() if f.get("peak_memory")}
        if held:
            cards.append(_megabytes("Peak memory in training", _title(entry), held))
    return section("Peak memory in training", "Memory of the whole process, including the data; less is better.", cards)


def _size(documents: Sequence[Results]) -> list[str]:
    alike: dict[int, str] = {}  # labels by size; a shared installation is listed once
    for d in documents:
        for name, peer in d["peers"].items():
            if peer.get("install_bytes"):
                alike.setdefault(peer["install_bytes"], peer.get("label", name))
    cards = [_megabytes("Install size", "On the disk", {n: size for size, n in alike.items()})] if alike else []
    return section("Install size", "The package and all its dependencies; less is better.", cards)


def _kernels(shares: Sequence[Results]) -> list[str]:
    cards = []
    for name in dict.fromkeys(k["workload"] for k in shares):
        found = [k for k in shares if k["workload"] == name]
        called = [f"{k['kind']}, {k['layer']}" for k in found]
        rows = [_spread_bar(label, k["fraction"], "{:.0%}")._replace(kind="plain") for k,
                label in zip(found, called) if share(k["fraction"]["high"])]
        numbers = [[label, *result_tables.rates(k), share(k["fraction"]["median"])]
                   for k, label in zip(found, called)]
        cards.append(_card(f"{name}: share of the ceiling", bars(f"Kernels of {name}", rows, most=1.0),
                           ["kernel", "achieved", "ceiling", "share"], numbers))
    return section("Kernels against this machine's own ceilings", "The ceiling is multiply-adds "
                   "from registers or copying memory, whichever limits that kernel, "
                   f"measured in the same rounds. {BLANK}", cards)


# Helpers of the sections.


def _title(entry: Results) -> str:
    return f"{entry['workload']}, batch size {entry['batch_size']}"


def _speed(f: Results) -> list[str]:
    speed = f["images_per_s"]
    return [f"{speed['median']:,.0f}", f"{speed['low']:,.0f} to {speed['high']:,.0f}"]


def _spread_bar(label: str, spread: dict[str, float], form: str) -> Bar:
    kind = "first" if label == "autoconv" else "other"
    return Bar(label, spread["median"], form.format(spread["median"]), spread["low"], spread["high"], kind)


def _megabytes(chart: str, heading: str, sizes: dict[str, int]) -> str:
    order = sorted(sizes, key=lambda n: sizes[n])
    rows = [Bar(n, sizes[n], f"{sizes[n] / 1e6:,.0f} MB", kind="first" if n == "autoconv" else "other") for n in order]
    return _card(heading, bars(f"{chart}: {heading}", rows), ["", "MB"], [[n, f"{sizes[n] / 1e6:,.0f}"] for n in order])


def _card(title: str, chart: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Returns a card with a chart and a collapsible table of its numbers."""
    return document.card(title, chart + document.numbers(head, rows))
