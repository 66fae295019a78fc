"""Trains the lecture net on the CPU with different numbers of threads, because machines with a GPU
have many cores.
"""

from typing import Any

from autoconv.programs.bench import machine

from . import rounds, workloads
from .phases import Failure, Run, share

PEER, NET, MODE = "autoconv", "lecture", "train"
BATCH_SIZES = (64, 256)
ROUNDS = 4
# work of a round, as a fraction of a usual round: one thread needs about a second, sixteen threads a
# tenth of a second
EFFORT = 0.25


def counts(processors: int) -> list[int]:
    """Returns the powers of two up to `processors`, and `processors` itself."""
    return sorted({*(1 << i for i in range(processors.bit_length())), processors})


def measure(run: Run, deadline: float) -> dict[str, Any]:
    """Trains with each number of threads, in a separate process that is confined to the same number
    of processors.
    """
    thread_counts, results = counts(machine.processors()), []
    remaining = len(thread_counts) * len(BATCH_SIZES)
    for batch_size in BATCH_SIZES:
        alone = None
        for threads in thread_counts:
            plan = _plan(batch_size, threads, deadline, remaining)
            peer = rounds.compare([PEER], NET, batch_size, MODE, plan, run.report)["peers"][PEER]
            remaining -= 1
            results.append({"workload": NET, "batch_size": batch_size, "mode": MODE, "threads": threads, **peer})
            run.add(scaling=results)
            label = f"{NET}, {MODE}, batch {batch_size}, {threads} thread{'s' * (threads > 1)} of the processor"
            if peer["status"] != "timed":
                run.say(f"{label}: {peer['status']}, {peer['reason']}")
                continue
            speed = peer["images_per_s"]["median"]
            alone = alone or (speed if threads == 1 else None)
            run.say(f"{label}: {speed:,.0f} images/s{f', {speed / alone:.2f} times one thread' if alone else ''}")
    if wrong := [f"{each['threads']}: {each['reason']}" for each in results if each["status"] != "timed"]:
        raise Failure(f"not timed with these threads: {'; '.join(wrong)}", {"scaling": results})
    return {"scaling": results}


def _plan(batch_size: int, threads: int, deadline: float, remaining: int) -> rounds.Plan:
    """Returns the plan of the next measurement, which has an equal part of the remaining time."""
    end = share(deadline, remaining)
    steps = workloads.steps(workloads.WORKLOADS[NET], batch_size, MODE, EFFORT)
    return rounds.Plan(ROUNDS, ROUNDS, threads, steps, deadline=end, ready_by=end)
