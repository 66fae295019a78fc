"""Checks the interpreter at import, and handles Ctrl-C without a traceback.

In the `autoconv` command, Ctrl-C during the import prints one line and exits with code 130.
In any other program that imports autoconv, Ctrl-C raises KeyboardInterrupt, as usual.
"""

import atexit
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import NoReturn


def check_interpreter() -> None:
    """Raises ImportError if Python runs without its global interpreter lock."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():  # since Python 3.13
        raise ImportError("autoconv needs Python's global interpreter lock. Received: a free-threaded Python "
                          f"{sys.version.split()[0]} that runs without it. Use a standard build of Python.")


def end_quietly() -> None:
    """Makes Ctrl-C end this process at once from now on, if it runs the `autoconv` command."""
    if _is_program() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


@contextmanager
def running() -> Iterator[None]:
    """Makes Ctrl-C raise KeyboardInterrupt inside the `with` block, which runs a command."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        end_quietly()


def leave(code: int) -> None:
    """Ends this process, if it runs the `autoconv` command, without waiting for its threads."""
    if _is_program():
        atexit._run_exitfuncs()  # one of these functions stops the compiler processes
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                if stream is not None:
                    stream.flush()
        os._exit(code)


def _is_program() -> bool:
    """Returns whether this process runs the command `autoconv` or `python -m autoconv`."""
    name = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else ""
    by_module = name in ("-m", "__main__.py") and ("-m", "autoconv") in zip(sys.orig_argv, sys.orig_argv[1:])
    spawned = "--multiprocessing-fork" in sys.orig_argv  # a child process of multiprocessing
    return (by_module or name.removesuffix(".exe") == "autoconv") and not spawned


def _end(number: int, frame: FrameType | None) -> NoReturn:
    with suppress(OSError):
        os.write(2, b"Interrupted.\n")
    os._exit(130)  # the exit code that shells use for SIGINT, 128 + 2


check_interpreter()
end_quietly()
