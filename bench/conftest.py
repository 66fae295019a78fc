"""The kernels' shares of their ceilings, below pytest-benchmark's own table."""

from autoconv.bench import tables

FOUND: list[dict] = []


def pytest_terminal_summary(terminalreporter):
    if FOUND:
        terminalreporter.section("share of this machine's own ceiling")
        terminalreporter.write_line(tables.kernels(FOUND))
