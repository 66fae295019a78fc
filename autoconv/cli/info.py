"""`autoconv info`: what is installed and what it runs on."""

import json
import platform
from typing import Any

import click

from .. import device as devices
from .train import versions


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
def info(as_json: bool) -> None:
    """Show versions, processor, threads, devices and the cache of compiled kernels."""
    facts = collect()
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for name, value in facts.items():
        click.echo(f"{name.replace('_', ' '):<16} {', '.join(value) if isinstance(value, list) else value}")


def collect() -> dict[str, Any]:
    """All that is known, one item a name."""
    cpu = devices.get("cpu").describe()
    return {
        **versions(), "system": platform.platform(), "cpu": platform.processor() or platform.machine(),
        **{name: value for name, value in cpu.items() if name not in ("numba", "llvmlite")},
        **{f"device_{name}": _available(name) for name in ("cpu", "cuda")},
    }


def _available(name: str) -> str:
    try:
        devices.get(name)
    except devices.DeviceError as error:
        return f"no: {error}"
    return "available"
