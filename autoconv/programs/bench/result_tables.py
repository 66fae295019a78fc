"""Formats results as tables for a terminal."""

from collections.abc import Sequence

from ...engine.costs.tables import BLANK, share, table
from ...files.json_text import JsonObject


def report(results: JsonObject) -> str:
    """Formats all results of a run of `autoconv bench`."""
    head = f"{results['machine']['cpu']}, threads: {results['threads']}, device: {results['device']}"
    parts = [head, throughput(results["results"])]
    for name in dict.fromkeys(k["workload"] for k in results["kernels"]):
        parts.append(f"kernels of {name}\n" + kernels([k for k in results["kernels"] if k["workload"] == name]))
    return "\n\n".join(parts)


def throughput(results: Sequence[JsonObject]) -> str:
    """Formats a table with one line per net and mode, for results of a single peer."""
    rows = []
    for entry in results:
        for result in entry["peers"].values():
            speed = result["images_per_s"]
            rows.append([entry["workload"], str(entry["batch_size"]), entry["mode"],
                         f"{speed['median']:,.0f}", f"{speed['low']:,.0f} .. {speed['high']:,.0f}",
                         f"{1e3 * entry['batch_size'] / speed['median']:.3f}",
                         f"{speed['median'] * result['flops_per_image'] / 1e9:.0f}"])
    return table(["net", "batch", "mode", "images/s", "half the rounds", "ms/step", "GFLOP/s"], rows)


def kernels(entries: Sequence[JsonObject]) -> str:
    """Formats a table with one line per kernel."""
    rows = [[f"{k['kind']}, {k['layer']}", *rates(k), *shares(k)] for k in entries]
    reason = f"\n{BLANK}" if any(k["fraction"]["high"] > 1 for k in entries) else ""
    return table(["kernel", "achieved", "ceiling", "share", "half the rounds"], rows) + reason


def shares(k: JsonObject) -> tuple[str, str]:
    """Returns a kernel's median fraction of its ceiling, and the range of the middle half of the rounds."""
    low, median, high = (share(k["fraction"][name]) for name in ("low", "median", "high"))
    return median, f"{low} .. {high}" if median and high else ""


def rates(k: JsonObject) -> tuple[str, str]:
    """Returns a kernel's measured rate and its ceiling, in the unit of the limiting resource."""
    if k["bound"] == "arithmetic":
        return f"{k['gflops']:,.1f} GFLOP/s", f"{k['ceiling_gflops']:,.0f} GFLOP/s"
    return f"{k['gbytes_per_s']:,.1f} GB/s", f"{k['ceiling_gbytes_per_s']:,.0f} GB/s"
