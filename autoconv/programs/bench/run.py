"""Runs all measurements of `autoconv bench`, and returns the results of nets and kernels."""

from collections.abc import Callable, Sequence

from ... import __version__
from ...engine.costs import ceilings
from ...files.json_text import JsonObject
from ...kernels.device import Device
from . import machine, throughput
from .cases import cases
from .suite import SUITE

SCHEMA = 1  # version of the results' format, incremented when a value changes its meaning

Report = Callable[[str], None]


def run(device: Device, names: Sequence[str], batch_size: int | None, rounds: int, seconds: float,
        kernels: bool, report: Report) -> JsonObject:
    """Times the nets, and if `kernels` also each kernel. report: a function for progress lines."""
    results = []
    shares = []
    for name in names:
        batch = batch_size or SUITE[name].batch_size

        def tell(text: str, name: str = name) -> None:
            report(f"{name}: {text}")

        measured = throughput.measure(SUITE[name], batch, device, rounds, seconds, tell)
        results += [{"workload": name, "batch_size": batch, "mode": mode,
                     "peers": {"autoconv": found}} for mode, found in measured.items()]
        if kernels:
            shares += kernel_shares(name, device, rounds, tell)
    facts = device.describe()
    compiler = {key: facts[key] for key in ("numba", "llvmlite", "threading_layer") if key in facts}
    return {"schema": SCHEMA, "machine": machine.describe(), "threads": device.get_num_threads(),
            "device": device.name, "settings": {"rounds": rounds, "seconds_per_round": seconds},
            "peers": {"autoconv": {"status": "present",
                                   "versions": {"autoconv": __version__, **compiler}}},
            "results": results, "kernels": shares}


def kernel_shares(name: str, device: Device, rounds: int, report: Report) -> list[JsonObject]:
    """Measures which fraction of this machine's ceilings each kernel of a net in SUITE reaches."""
    ceiling = ceilings.Ceilings(device)
    results = []
    timed_net = SUITE[name]
    for case in cases(timed_net.build(), timed_net.batch_size, device):
        report(case.name)
        measured = ceilings.share(ceiling, case.call, case.flops, case.bytes, rounds)
        results.append({"workload": name, "kind": case.kind, "layer": case.layer,
                        **ceilings.summarize(measured, case.flops, case.bytes)})
    return results
