"""How a rank ends: if an exception ends one, the others, which would wait for it, end too."""

import atexit
import sys
from typing import Any

_code = 0  # with which all ranks end, where one failed


def watch(comm: Any) -> None:
    """Ends all ranks of a communicator if an exception, already shown, ends this one."""
    if comm.size > 1:
        atexit.register(_end, comm)


def fail(code: int = 1) -> None:
    """Has all ranks end, with this exit code, when this one does."""
    global _code
    _code = code


def _end(comm: Any) -> None:
    if _code or getattr(sys, "last_value", None) is not None:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        comm.Abort(_code or 1)
