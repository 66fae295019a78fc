"""Trains the lecture net on the processor with different numbers of threads: machines with a GPU
have many cores.
"""

from typing import Any

from autoconv.programs.bench import machine

from . import rounds, workloads
from .phases import Failed, Run, share

PEER, NET, MODE = "autoconv", "lecture", "train"
BATCH_SIZES = (64, 256)
ROUNDS = 4
# fraction of a usual round's work: one thread does it in about a second, sixteen in a tenth of a
# second
EFFORT = 0.25


def counts(processors: int) -> list[int]:
    """Returns the powers of two up to the number of processors, and that number."""
    return sorted({*(1 << i for i in range(processors.bit_length())), processors})


def measure(run: Run, until: float) -> dict[str, Any]:
    """Trains with each number of threads, in a separate process that is confined to as many
    processors.
    """
    taken, found = counts(machine.processors()), []
    left = len(taken) * len(BATCH_SIZES)
    for batch_size in BATCH_SIZES:
        alone = None
        for threads in taken:
            plan = _plan(batch_size, threads, until, left)
            peer = rounds.compare([PEER], NET, batch_size, MODE, plan, run.report)["peers"][PEER]
            left -= 1
            found.append({"workload": NET, "batch_size": batch_size, "mode": MODE, "threads": threads, **peer})
            run.add(scaling=found)
            what = f"{NET}, {MODE}, batch {batch_size}, {threads} thread{'s' * (threads > 1)} of the processor"
            if peer["status"] != "timed":
                run.say(f"{what}: {peer['status']}, {peer['reason']}")
                continue
            speed = peer["images_per_s"]["median"]
            alone = alone or (speed if threads == 1 else None)
            run.say(f"{what}: {speed:,.0f} images/s{f', {speed / alone:.2f} times one thread' if alone else ''}")
    if wrong := [f"{each['threads']}: {each['reason']}" for each in found if each["status"] != "timed"]:
        raise Failed(f"not timed with these threads: {'; '.join(wrong)}", {"scaling": found})
    return {"scaling": found}


def _plan(batch_size: int, threads: int, until: float, left: int) -> rounds.Plan:
    """Returns a plan with an equal share of the remaining time."""
    end = share(until, left)
    steps = workloads.steps(workloads.WORKLOADS[NET], batch_size, MODE, EFFORT)
    return rounds.Plan(ROUNDS, ROUNDS, threads, steps, until=end, ready_by=end)
