"""`python -m ptx.standin program.py ...` or `python -m ptx.standin -m pytest ...`: runs a Python program with the
stand-in as its driver and all kernels in the PTX emulator.
"""

import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

from .build import MissingError, build, environment
from .host import attach

STARTED = "PTX_STANDIN"  # environment variable that is set in the process of the program


def main() -> int:
    if STARTED not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = {**environment(build(Path(folder))), STARTED: "1"}
            except MissingError as error:
                sys.exit(f"The stand-in cannot be compiled: {error}.")
            return subprocess.run([sys.executable, "-m", "ptx.standin", *sys.argv[1:]], env=found).returncode
    attach()
    del sys.argv[0]
    if sys.argv[:1] == ["-m"]:
        del sys.argv[0]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")
    return 0


if __name__ == "__main__":
    sys.exit(main())
