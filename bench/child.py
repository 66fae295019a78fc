"""One function in a process of its own: `python -m bench.child JOB`, so that what hangs or crashes can be ended."""

import json
import sys
import time
from importlib import import_module
from typing import Any

from .process import Process
from .turns import within
from .worker import Talk


def call(function: str, arguments: dict[str, Any], threads: int, until: float) -> Any:
    """What `module:function` returns for these arguments; all of it must be JSON.

    Raises PeerError where the process fails, or does not answer until time.perf_counter says so.
    """
    with Process({"function": function, "arguments": arguments, "threads": threads}, module="bench.child") as process:
        return process.answer(within(until - time.perf_counter(), until), sleep=False)["result"]


def main() -> None:
    job, talk = json.loads(sys.argv[1]), Talk()
    module, _, function = job["function"].partition(":")
    talk.say("done", result=getattr(import_module(module), function)(**job["arguments"]))


if __name__ == "__main__":
    main()
