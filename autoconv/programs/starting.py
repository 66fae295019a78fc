"""Checks the interpreter at import, and handles Ctrl-C without a traceback.

If autoconv is the program, an interrupt during its import ends it with one line and exit code 130.
In any other program an interrupt raises KeyboardInterrupt, as usual.
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
    """Raises ImportError for a Python without its global lock, which autoconv's memory needs."""
    if not getattr(sys, "_is_gil_enabled", lambda: True)():  # since Python 3.13
        raise ImportError("autoconv needs Python's global interpreter lock. Received: a free-threaded Python "
                          f"{sys.version.split()[0]} that runs without it. Use a standard build of Python.")


def end_quietly() -> None:
    """Makes an interrupt end this process at once from now on, if it runs autoconv's program."""
    if _is_program() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)


@contextmanager
def running() -> Iterator[None]:
    """A block, around a command, in which an interrupt raises KeyboardInterrupt."""
    if signal.getsignal(signal.SIGINT) is _end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        end_quietly()


def leave(code: int) -> None:
    """Ends this process at once, if it runs autoconv's program: Python would wait for threads."""
    if _is_program():
        atexit._run_exitfuncs()  # stops the compiling processes
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                if stream is not None:
                    stream.flush()
        os._exit(code)


def _is_program() -> bool:
    """Returns whether this process runs `autoconv` or `python -m autoconv`."""
    name = os.path.basename(sys.argv[0]) if getattr(sys, "argv", None) else ""
    by_module = name in ("-m", "__main__.py") and ("-m", "autoconv") in zip(sys.orig_argv, sys.orig_argv[1:])
    spawned = "--multiprocessing-fork" in sys.orig_argv  # started by such a process
    return (by_module or name.removesuffix(".exe") == "autoconv") and not spawned


def _end(number: int, frame: FrameType | None) -> NoReturn:
    with suppress(OSError):
        os.write(2, b"Interrupted.\n")
    os._exit(130)  # a shell's exit code: 128 + SIGINT


check_interpreter()
end_quietly()
