"""`python -m bench.child JOB` runs one function in a separate process, which the caller can end if the
function hangs. A crash does not affect the caller.
"""

import json
import sys
import time
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Any

from .process import PeerError, Process
from .turns import clip_timeout
from .worker import Talk


def call(function: str, arguments: dict[str, Any], threads: int, deadline: float) -> Any:
    """Returns the result of `module:function` for these arguments. Arguments and result must be JSON.

    Raises PeerError if the function raises an exception, if the process fails, or if it does not
    answer by `deadline`, a time of time.perf_counter. The error names the exception.
    """
    with Process({"function": function, "arguments": arguments, "threads": threads}, module="bench.child") as process:
        answer = process.answer(clip_timeout(deadline - time.perf_counter(), deadline), sleep=False)
    if "raised" in answer:
        raise PeerError(answer["raised"]) from RuntimeError(answer["traceback"])
    return answer["result"]


def main() -> None:
    job, talk = json.loads(sys.argv[1]), Talk()
    try:
        talk.say("done", result=load_function(job["function"])(**job["arguments"]))
    except Exception as error:
        talk.say("raised", raised=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())


def load_function(function: str) -> Callable[..., Any]:
    """Returns the function that `module:function` names."""
    module, _, name = function.partition(":")
    return getattr(import_module(module), name)


if __name__ == "__main__":
    main()
