"""Simulates two hosts on one machine by Linux network namespaces. They are connected by a virtual
cable, whose bandwidth is limited by `tc`.
"""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

NAMES, CABLES, ADDRESSES = ("autoconv1", "autoconv2"), ("acv1", "acv2"), ("10.77.0.1", "10.77.0.2")


def missing() -> str:
    """Returns the reason why hosts cannot be simulated here, or "" if they can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "only root can make network namespaces, and only on Linux"
    lacks = [program for program in ("ip", "tc") if shutil.which(program) is None]
    if lacks:
        return f"{' and '.join(lacks)} is not installed: apt-get install iproute2"
    try:
        with create_hosts(1.0):
            return ""
    except subprocess.CalledProcessError as error:
        return f"the kernel allows no network namespaces: {' '.join(error.cmd)} failed"


@contextmanager
def create_hosts(gigabits: float) -> Iterator[Path]:
    """Creates both hosts for the `with` block. Yields the path of a program that runs `sh -c COMMAND`
    on one of them. MPICH's launcher Hydra calls it like ssh.
    """
    _remove()
    try:
        for name in NAMES:
            _run("ip", "netns", "add", name)
        _run("ip", "link", "add", CABLES[0], "type", "veth", "peer", "name", CABLES[1])
        for name, cable, address in zip(NAMES, CABLES, ADDRESSES):
            _run("ip", "link", "set", cable, "netns", name)
            _run("ip", "-n", name, "addr", "add", f"{address}/24", "dev", cable)
            for device in (cable, "lo"):
                _run("ip", "-n", name, "link", "set", device, "up")
            _run("ip", "netns", "exec", name, "tc", "qdisc", "add", "dev", cable, "root", "tbf", "rate",
                 f"{gigabits:g}gbit", "burst", f"{max(128, round(gigabits * 12.5))}kb", "latency", "50ms")
        with tempfile.TemporaryDirectory() as folder:
            launcher = Path(folder, "launch")
            cases = " ".join(f"{address}) name={name};;" for address, name in zip(ADDRESSES, NAMES))
            launcher.write_text("#!/bin/sh\nwhile [ \"${1#-}\" != \"$1\" ]; do shift; done\n"
                                f"case $1 in {cases} esac\nshift\nexec ip netns exec $name sh -c \"$*\"\n")
            launcher.chmod(launcher.stat().st_mode | stat.S_IXUSR)
            yield launcher
    finally:
        _remove()


def host_command(host: int) -> list[str]:
    """Returns the words that must precede a command to run it on host number `host`."""
    return ["ip", "netns", "exec", NAMES[host]]


def _remove() -> None:
    for name in NAMES:
        subprocess.run(["ip", "netns", "del", name], stderr=subprocess.DEVNULL)


def _run(*words: str) -> None:
    subprocess.run(words, check=True)
