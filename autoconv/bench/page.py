"""Results as one HTML page: charts, the same numbers as tables, no script and nothing from the network."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import Any

from . import tables
from .charts import Bar, Point, bars, roofline

Results = dict[str, Any]

VECTORS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_bf16", "avx512_vnni", "neon", "asimd")  # the telling ones
HEADINGS = {"train": "Training", "infer": "Inference", "start": "Start", "accuracy": "Time to accuracy"}


def page(documents: Sequence[Results]) -> str:
    """The page of one or several results, as `autoconv bench --json` and bench.compare write them.

    Raises ValueError where there is nothing to show.
    """
    if not any(d.get("results") or d.get("kernels") for d in documents):
        raise ValueError("There is nothing to show: the results hold no measurement.")
    labels: dict[str, str] = {}
    for d in documents:
        labels |= {name: peer.get("label", name) for name, peer in d["peers"].items()}
    entries = [entry for d in documents for entry in d["results"]]
    shares = [k for d in documents for k in d["kernels"]]
    body = [_head(documents)]
    body += _throughput([e for e in entries if e["mode"] in ("train", "infer")], labels)
    body += _accuracy([e for e in entries if e["mode"] == "accuracy"], labels)
    body += _start([e for e in entries if e["mode"] == "start"], labels)
    body += _memory(entries, labels) + _size(documents, labels) + _kernels(shares)
    body += _absent(documents, entries, labels)
    style = files(__package__).joinpath("page.css").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>autoconv benchmarks</title>'
        f'<link rel="icon" href="data:,"><style>{style}</style></head><body><main>\n' + "\n".join(body)
        + "\n</main></body></html>\n"
    )


def _head(documents: Sequence[Results]) -> str:
    facts = []
    for d in documents:
        machine = d["machine"]
        flags = [f for f in machine["cpu_flags"] if f in VECTORS or f.startswith(("sve", "amx"))]
        rows = {
            "Processor": machine["cpu"], "Vector instructions": " ".join(flags) or "unknown",
            "Threads": f"{d['threads']} of {machine['processors']} processors",
            "Memory": f"{machine['memory_gb']} GB" if machine["memory_gb"] else "unknown",
            "System": f"{machine['system']}, Python {machine['python']}", "Measured": machine["date"][:16].replace("T", " ") + " UTC",
            "Versions": ", ".join(dict.fromkeys(f"{n} {v}" for p in d["peers"].values()
                                                for n, v in p.get("versions", {}).items())),
        }
        if facts and rows.items() - facts[-1].items() <= {("Measured", rows["Measured"])}:
            continue
        facts.append(rows)
    lists = "".join("<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in rows.items() if v) + "</dl>"
                    for rows in facts)
    return (f"<header><h1>autoconv benchmarks</h1>{lists}<p>Bars are medians over rounds; whiskers hold half of the rounds. "
            "A ratio is the median of the ratios within each round, with its interval.</p></header>")


def _throughput(entries: Sequence[Results], labels: dict[str, str]) -> list[str]:
    parts = []
    for mode in ("train", "infer"):
        cards = []
        for entry in [e for e in entries if e["mode"] == mode]:
            timed = {n: f for n, f in entry["peers"].items() if "images_per_s" in f}
            if not timed:
                continue
            title = f"{entry['workload']}, batch size {entry['batch_size']}"
            fastest_first = sorted(timed, key=lambda n: -timed[n]["images_per_s"]["median"])
            rows = [Bar(labels.get(n, n), s["median"], f"{s['median']:,.0f} images/s", s["low"], s["high"], _kind(n))
                    for n in fastest_first for s in [timed[n]["images_per_s"]]]
            head = ["", "images/s", "half the rounds"]
            numbers = [[labels.get(n, n), f"{s['median']:,.0f}", f"{s['low']:,.0f} to {s['high']:,.0f}"]
                       for n in fastest_first for s in [timed[n]["images_per_s"]]]
            if len(timed) > 1:
                sure = next(iter(timed.values()))["ratio"]["confidence"]
                head += [f"times the time of {labels.get(n, n)}" for n in list(timed)[:1]] + [f"{sure:.0%} interval"]
                for row, n in zip(numbers, fastest_first):
                    r = timed[n]["ratio"]
                    row += [f"{r['median']:.2f}", f"{r['low']:.2f} to {r['high']:.2f}"]
            cards.append(_card(title, bars(f"{HEADINGS[mode]}: {title}", rows), head, numbers))
        parts += _section(HEADINGS[mode], cards, "Images a second, more is better.")
    return parts


def _accuracy(entries: Sequence[Results], labels: dict[str, str]) -> list[str]:
    cards = []
    for entry in entries:
        reached = {n: f for n, f in entry["peers"].items() if "seconds_to_target" in f}
        order = sorted(reached, key=lambda n: reached[n]["seconds_to_target"]["median"])
        rows = [Bar(labels.get(n, n), s["median"], f"{s['median']:.1f} s", s["low"], s["high"], _kind(n))
                for n in order for s in [reached[n]["seconds_to_target"]]]
        numbers = [[labels.get(n, n), f"{reached[n]['seconds_to_target']['median']:.1f}", reached[n]["reached"]] for n in order]
        title = f"MNIST to {entry['recipe']['target']:.1%} of the test images"
        cards.append(_card(title, bars(title, rows), ["", "seconds", "reached in"], numbers))
    return _section("Time to accuracy", cards, "Seconds from the start of the process, less is better. The recipe is the "
                    "same for all.")


def _start(entries: Sequence[Results], labels: dict[str, str]) -> list[str]:
    cards = []
    for entry in entries:
        timed = {n: f for n, f in entry["peers"].items() if f["status"] == "timed"}
        order = sorted(timed, key=lambda n: timed[n]["warm"]["median"])
        rows = []
        for n in order:
            warm, name = timed[n]["warm"], labels.get(n, n)
            rows.append(Bar(f"{name}, warm", warm["median"], f"{warm['median']:.1f} s", warm["low"], warm["high"], _kind(n)))
            rows.append(Bar(f"{name}, cold", timed[n]["cold_s"], f"{timed[n]['cold_s']:.1f} s", kind="faint"))
        numbers = [[labels.get(n, n), f"{timed[n]['cold_s']:.1f}", f"{timed[n]['warm']['median']:.1f}"] for n in order]
        title = f"{entry['workload']}, batch size {entry['batch_size']}"
        cards.append(_card(title, bars(f"Start: {title}", rows), ["", "cold, s", "warm, s"], numbers))
    return _section("From start to the first training step", cards, "Seconds, less is better. Cold: with empty caches of "
                    "compiled code.")


def _memory(entries: Sequence[Results], labels: dict[str, str]) -> list[str]:
    cards = []
    for entry in entries:
        held = {n: f["peak_memory"] for n, f in entry["peers"].items() if f.get("peak_memory")}
        if entry["mode"] == "train" and held:
            title = f"{entry['workload']}, batch size {entry['batch_size']}"
            cards.append(_megabytes(f"Peak memory in training: {title}", title, held, labels))
    return _section("Peak memory in training", cards, "Of the whole process, the data included; less is better.")


def _size(documents: Sequence[Results], labels: dict[str, str]) -> list[str]:
    size = {n: p["install_bytes"] for d in documents for n, p in d["peers"].items() if p.get("install_bytes")}
    alike: dict[int, list[str]] = {}
    for name, value in size.items():
        alike.setdefault(value, []).append(name)
    single = {names[0]: value for value, names in alike.items()}  # configurations of one framework are one installation
    cards = [_megabytes("Install size", "On the disk", single, labels)] if single else []
    return _section("Install size", cards, "The package and all that it needs; less is better.")


def _megabytes(title: str, heading: str, found: dict[str, int], labels: dict[str, str]) -> str:
    order = sorted(found, key=lambda n: found[n])
    rows = [Bar(labels.get(n, n), found[n], f"{found[n] / 1e6:,.0f} MB", kind=_kind(n)) for n in order]
    return _card(heading, bars(title, rows), ["", "MB"], [[labels.get(n, n), f"{found[n] / 1e6:,.0f}"] for n in order])


def _kernels(shares: Sequence[Results]) -> list[str]:
    cards = []
    for name in dict.fromkeys(k["workload"] for k in shares):
        found = [k for k in shares if k["workload"] == name]
        points = [Point(f"{k['kind']}, {k['layer']}: {k['gflops']:,.0f} GFLOP/s, {k['fraction']['median']:.0%} of its ceiling",
                        k["flops"] / k["bytes"], k["gflops"], k["kind"]) for k in found if k["flops"]]
        peak = max(k["ceiling_gflops"] for k in found)
        bandwidth = max(found, key=lambda k: k["bytes"])["ceiling_gbytes_per_s"]
        rows = [Bar(f"{k['kind']}, {k['layer']}", s["median"], f"{s['median']:.0%}", s["low"], s["high"], "plain")
                for k in found for s in [k["fraction"]]]
        numbers = [[f"{k['kind']}, {k['layer']}", *tables.achieved(k), f"{k['fraction']['median']:.0%}"] for k in found]
        if points:
            cards.append(f'<article><h3>{escape(name)}: roofline</h3>{roofline(f"Roofline of {name}", points, peak, bandwidth)}'
                         "</article>")
        cards.append(_card(f"{name}: share of the ceiling", bars(f"Kernels of {name}", rows, most=1.0),
                           ["kernel", "achieved", "ceiling", "share"], numbers))
    return _section("Kernels against this machine's own ceilings", cards, "The ceiling is multiply-adds from registers or a "
                    "copy of as many bytes, whichever is lower for that kernel, measured in the same rounds. The slope of a "
                    "roofline is the copy of the largest kernel's bytes; smaller ones stay in a cache and may lie above it.")


def _absent(documents: Sequence[Results], entries: Sequence[Results], labels: dict[str, str]) -> list[str]:
    said = [f"{labels.get(n, n)}: {f['status']}, {f['reason']}" for e in entries for n, f in e["peers"].items() if "reason" in f]
    items = "".join(f"<li>{escape(line)}</li>" for line in dict.fromkeys(said))
    return [f"<section><h2>Not timed</h2><ul>{items}</ul></section>"] if said else []


def _kind(name: str) -> str:
    return "first" if name == "autoconv" else "other"


def _section(title: str, cards: Sequence[str], note: str) -> list[str]:
    if not cards:
        return []
    if len(cards) == 1:  # there is room for the numbers
        cards = [cards[0].replace("<details>", "<details open>")]
    return [f'<section><h2>{escape(title)}</h2><p>{escape(note)}</p><div class="cards">{"".join(cards)}</div></section>']


def _card(title: str, chart: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(c)}</{tag}>" for c in cells) + "</tr>"

    table = f"<table><thead>{line(head, 'th')}</thead><tbody>{''.join(line(r, 'td') for r in rows)}</tbody></table>"
    return (f'<article><h3>{escape(title)}</h3>{chart}<details><summary>Numbers</summary><div class="scroll">{table}</div>'
            "</details></article>")
