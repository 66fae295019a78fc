"""Formats columns of text for a terminal, and numbers that fit into the columns."""

from collections.abc import Mapping, Sequence

BLANK = ("A share above 100% is left blank. Wide 3x3 layers (Winograd's algorithm) and gradients of pooled layers need "
         "fewer\nmultiplications than are counted, and reading alone is faster than the copy that measures the "
         "ceiling. The ceiling is\nalso measured too low if other programs run at the same time.")
ONE_PROCESS = "An interval is blank if all rounds ran in one process: an interval needs several. Run more rounds."


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Formats columns as narrow as possible. The first column is left-aligned, the others right-aligned."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]

    def line(row: Sequence[str]) -> str:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]
        return "  ".join(cells).rstrip()

    return "\n".join([line(head), "  ".join("-" * width for width in widths), *map(line, rows)])


def share(fraction: float | None) -> str:
    """Returns a fraction of a ceiling as a percentage; "" if it is unknown or above 100% (see `BLANK`)."""
    return f"{fraction:.0%}" if fraction is not None and fraction <= 1 else ""


def interval(ratio: Mapping[str, float], unit: float = 1.0, sep: str = " .. ") -> str:
    """Returns the interval of a ratio as text, in multiples of `unit`; "" if a single process measured it."""
    return f"{ratio['low'] / unit:.2f}{sep}{ratio['high'] / unit:.2f}" if ratio["confidence"] else ""


def interval_head(ratio: Mapping[str, float]) -> str:
    """Returns the heading of a column of intervals, such as `95% interval`."""
    return f"{ratio['confidence']:.0%} interval" if ratio["confidence"] else "interval"


def short(number: float, unit: str = "") -> str:
    """Formats a number with three digits and an SI prefix: 903400 as "903 k", 6e6 bytes as "6.00 MB"."""
    prefixes = ["", "k", "M", "G", "T"]
    while number >= 999.5 and len(prefixes) > 1:
        number /= 1000
        prefixes.pop(0)
    digits = 0 if prefixes[0] == "" or number >= 99.95 else 1 if number >= 9.995 else 2
    return f"{number:.{digits}f} {prefixes[0]}{unit}".rstrip()
