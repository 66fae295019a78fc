"""`autoconv bench`: measures the speed of the built-in nets and their kernels."""

import sys
from pathlib import Path

import click

from ...files import atomic
from ..bench.suite import SUITE
from . import options, result_files
from .lines import echo


@click.command()
@click.option("--net", "nets", type=options.Name("net", SUITE), multiple=True, show_default="all",
              help="Time only this net. The option can be given several times.")
@click.option("--batch-size", type=click.IntRange(min=1), metavar="N", show_default="the net's own",
              help="Number of images per step.")
@options.device_options
@click.option("--rounds", type=click.IntRange(min=1), show_default="6, quick 3",
              help="Number of rounds; each round times every net and kernel once.")
@click.option("--quick", is_flag=True, help="Time only the lecture net, in short rounds. "
              "The command then takes less than a minute.")
@click.option("--kernels/--no-kernels", default=True,
              help="Also time each kernel, and compare it with this machine's ceilings.")
@click.option("--html", type=options.FILE, metavar="FILE",
              help="Write the results to FILE as an HTML page with charts.")
@options.json_option
@options.quiet_option
def bench(nets: tuple[str, ...], batch_size: int | None, device: str, threads: int | None, rounds: int | None,
          quick: bool, kernels: bool, html: Path | None, json_file: Path | None, quiet: bool) -> None:
    """Time the built-in nets, in training and inference, and each of their kernels.

    A kernel's share is the fraction of this machine's measured ceiling that the kernel reaches. The ceiling is the
    rate of multiply-adds from registers or of copying memory, whichever limits the kernel. The nets receive random
    images, so no data set is needed. A share above 100% is left blank, and a line below the table states the reasons.
    """
    from ...train.progress import Progress
    from ..bench import result_tables
    from ..bench.page import page
    from ..bench.run import run

    target = options.use_device(device, threads)
    for path in (html, json_file):
        result_files.check_writable(path)
    silent = json_file == result_files.STDOUT
    names = nets or (("lecture",) if quick else tuple(SUITE))
    target.prepare(target.all_kernels(["float32"]), Progress(0, 0 if quiet or silent else 1).compiling)
    line = _Line(quiet or silent)
    results = run(target, names, batch_size, rounds or (3 if quick else 6), 0.3 if quick else 1.0, kernels, line)
    line.clear()
    if json_file is not None:
        result_files.write_json(json_file, results)
    if html is not None:
        atomic.write(html, page([results]))
    if not silent:
        echo(result_tables.report(results))
    for what, path in (("results", json_file), ("page", html)):
        if path is not None and not silent:
            echo(f"wrote the {what} to {path}")


class _Line:
    """A progress line on a terminal, which each call overwrites with new text."""

    def __init__(self, silent: bool) -> None:
        self.silent = silent or not sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        if not self.silent:
            click.echo(f"\r\033[K{text[:100]}", nl=False, err=True)

    def clear(self) -> None:
        self("")
