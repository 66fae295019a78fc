"""Ends all ranks if an exception ends one of them, because the other ranks would wait forever."""

import atexit
import sys
from typing import Any

_code = 0  # exit code of all ranks if one failed


def watch(comm: Any) -> None:
    """Makes all ranks of a communicator end if an exception ends this process."""
    if comm.size > 1:
        atexit.register(_end, comm)


def fail(code: int = 1) -> None:
    """Makes all ranks end with this exit code when this rank ends."""
    global _code
    _code = code


def _end(comm: Any) -> None:
    if _code or getattr(sys, "last_value", None) is not None:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        comm.Abort(_code or 1)
