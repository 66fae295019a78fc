"""`autoconv warmup`: compiles all kernels in advance."""

import time

import click

from . import options
from .lines import echo


@click.command()
@options.device_options
def warmup(device: str, threads: int | None) -> None:
    """Compile all kernels for float32 and float64 into the cache folder. One run per machine is enough."""
    target = options.use_device(device, threads)
    start = time.perf_counter()
    for dtype in ("float32", "float64"):
        kernels = target.all_kernels([dtype])
        with click.progressbar(length=len(kernels), label=f"compiling kernels for {dtype}", show_pos=True) as bar:

            def report(count: int, total: int, bar=bar) -> None:
                bar.length = total
                bar.update(count - bar.pos)

            target.prepare(kernels, report)
            if bar.pos == 0:  # no kernel had to be compiled
                report(len(kernels), len(kernels))
    facts = target.describe()
    echo(f"{facts['cache_folder']}: {facts['cache_state']}, {time.perf_counter() - start:.1f} s")
