"""How a rank ends: where an exception ends one, the others would wait for it, so they end as well."""

import atexit
import sys
from typing import Any

_failed = False


def watch(comm: Any) -> None:
    """Ends all ranks of a communicator where an exception, which Python has shown by then, ends this one."""
    if comm.size > 1:
        atexit.register(_end, comm)


def fail() -> None:
    """Has all ranks end when this one does, whatever it says then."""
    global _failed
    _failed = True


def _end(comm: Any) -> None:
    if _failed or getattr(sys, "last_value", None) is not None:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
        comm.Abort(1)
