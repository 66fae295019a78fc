"""Times all kernels of a net in a separate process, for compare_refs. It uses the same protocol as
worker.py. The answer to `round` has the seconds of each kernel.
"""

import json
import sys

from . import environment
from .worker import Talk, code_folder

try:
    from autoconv.engine.costs import timing
    from autoconv.programs.bench.cases import cases
    from autoconv.programs.bench.suite import SUITE
except ImportError:  # the timed version may be older
    from autoconv.bench.cases import cases  # type: ignore[no-redef]
    from autoconv.bench.suite import SUITE  # type: ignore[no-redef]

    try:
        from autoconv.costs import timing  # type: ignore[no-redef]
    except ImportError:
        from autoconv.bench import timing  # type: ignore[no-redef]

SECONDS = 0.002  # approximate seconds per try; a round reports the best of three tries


def main() -> None:
    job, talk = json.loads(sys.argv[1]), Talk()
    environment.confine(job["threads"])
    timed, found = SUITE.get(job["workload"]), {}
    if timed is not None:  # an older version may not have this net
        net = timed.build()
        found = {case.name: case.call for case in cases(net, timed.batch_size, net.device)}
    counts: dict[str, int] = {}
    talk.say("ready", code=code_folder())
    for line in sys.stdin:
        if line.strip() == "warm-up":
            counts = {name: timing.repetitions(call, SECONDS) for name, call in found.items()}
            talk.say("warm")
        elif line.strip() == "round":
            talk.say("round", seconds={name: timing.best(call, counts[name]) for name, call in found.items()})


if __name__ == "__main__":
    main()
