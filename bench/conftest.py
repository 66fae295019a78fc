"""Adds to pytest-benchmark's output the fraction of its ceiling that each kernel reaches, and to its
JSON a description of the machine.
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
