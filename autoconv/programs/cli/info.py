"""`autoconv info`: shows installed versions, the processor and the devices."""

import json
import platform

import click

from ...files.json_text import JsonObject
from ...kernels import device as devices
from .lines import echo
from .train import versions


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print the information as JSON.")
def info(as_json: bool) -> None:
    """Show versions, processor, threads, devices and the cache of compiled kernels."""
    facts = collect()
    if as_json:
        echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        if isinstance(value, dict):
            value = [f"{part} {'missing' if found is None else found}" for part, found in value.items()]
        echo(f"{name.replace('_', ' '):<16} {', '.join(value) if isinstance(value, list) else value}")


def collect() -> JsonObject:
    """Returns the values that `autoconv info` prints, keyed by name."""
    cpu = devices.get("cpu").describe()
    cuda = devices.gpu_versions()
    return {
        **versions(), **({"cuda": cuda} if cuda else {}),
        "system": platform.platform(), "cpu": platform.processor() or platform.machine(),
        **{name: value for name, value in cpu.items() if name not in ("numba", "llvmlite")},
        "device_cpu": "available",
        **{f"device_{name}": described for name, described in devices.gpus().items()},
    }
