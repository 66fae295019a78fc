"""Adds the kernels' fractions of their ceilings to pytest-benchmark's output, and the machine to
its JSON.
"""

from autoconv.kernels import device
from autoconv.programs.bench import machine, result_tables

FOUND: list[dict] = []


def pytest_terminal_summary(terminalreporter):
    if FOUND:
        terminalreporter.section("share of this machine's own ceiling")
        terminalreporter.write_line(result_tables.kernels(FOUND))


def pytest_benchmark_update_machine_info(config, machine_info):
    machine_info["autoconv"] = {"machine": machine.describe(), "threads": device.get("cpu").get_num_threads()}
