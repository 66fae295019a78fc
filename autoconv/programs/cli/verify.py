"""`autoconv verify`: checks that this machine computes the same bits as every other."""

import platform
import time
from pathlib import Path

import click

from ... import __version__
from ...kernels import device as devices
from . import options, result_files
from .lines import echo


@click.command()
@options.json_option
def verify(json_file: Path | None) -> None:
    """Check that this machine trains nets to the same weights, bit for bit, as every other.

    Trains five small nets, resizes a picture, and compares the SHA-256 of all outputs, gradients,
    weights and pixels with a table that comes with autoconv. Exits with code 1 if a hash differs,
    and names the first result that differs.
    """
    from .. import fingerprints  # imported here, because no other command needs its nets

    result_files.check_writable(json_file)
    is_silent = json_file == result_files.STDOUT
    start = time.perf_counter()
    table = fingerprints.read_table()
    hashes = {}
    different = []
    for name, found in fingerprints.compute():
        hashes[name] = found
        expected = table.get(name, {}) if found else {}
        result = fingerprints.find_difference(found, expected)
        text = f"same       {len(found)} results" if found else "not compared: Pillow is missing"
        if result is not None:
            different.append(name)
            text = (f"different  {result} is {found.get(result)} instead of {expected.get(result)}; "
                    f"the {list(expected | found).index(result)} results before it are the same")
        if not is_silent:
            echo(f"{name:<10} {text}")
    if json_file is not None:
        result_files.write_json(json_file, hashes)
    if different:
        raise click.ClickException(
            f"This machine's results differ from the table of autoconv {__version__} in "
            f"{', '.join(different)}. {_explain_difference(different == [fingerprints.PICTURES])}")
    if not is_silent:
        echo(f"All nets have the weights that autoconv {__version__} computes on every processor "
             f"({time.perf_counter() - start:.1f} s).")


def _explain_difference(is_only_in_pictures: bool) -> str:
    """Returns the likely reason for a difference, and what the user can do."""
    if is_only_in_pictures:
        return "Pillow has resized the pictures: its version rounds otherwise."
    is_x86 = platform.machine() in ("x86_64", "AMD64")
    if is_x86 and "fma" not in devices.get("cpu").describe()["cpu_features"]:
        return "Its processor has no FMA instructions, so it rounds each product before adding it."
    return ("If you have not changed autoconv's code, this is a bug: report it with the output of this "
            "command and of autoconv info.")
