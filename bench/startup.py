"""From the start of a process to the end of its first training step: cold, with empty caches, and warm."""

import tempfile
from collections.abc import Callable
from typing import Any

from autoconv.bench import stats

from . import peers, workloads
from .process import PeerError, Process
from .turns import STARTING

# Where autoconv, PyTorch's compiler and everything that keeps to the XDG rules put what they compile.
CACHES = ("XDG_CACHE_HOME", "AUTOCONV_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")


def measure(
    names: list[str], workload: str, batch_size: int, rounds: int, threads: int, report: Callable[[str], None]
) -> dict[str, Any]:
    """Each peer once with empty caches, then all of them in turns with those caches filled."""
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        caches = {name: dict.fromkeys(CACHES, f"{folder}/{name}") for name in names}

        def run(name: str) -> dict[str, Any]:
            job = {"factory": peers.PEERS[name].factory, "workload": workload, "batch_size": batch_size,
                   "mode": "start", "threads": threads, "seed": workloads.SEED}
            with Process(job, caches[name]) as process:
                return process.answer(STARTING, sleep=False)

        for i in range(rounds + 1):
            for name in [n for n in names if found.get(n, {}).get("status") != "failed"]:
                report(f"start {workload}: {'cold' if i == 0 else f'warm {i}/{rounds}'}, {name}")
                try:
                    answer = run(name)
                except PeerError as error:
                    found[name] = {"status": "failed", "reason": str(error)}
                    continue
                if i == 0:
                    found[name] = {"status": "timed", "cold_s": answer["at"], "warm_s": []}
                else:
                    found[name]["warm_s"].append(answer["at"])
                    found[name]["peak_memory"] = answer["peak"]
    for f in found.values():
        if f["status"] == "timed":
            f["warm"] = stats.spread(f["warm_s"])
    return {"workload": workload, "batch_size": batch_size, "mode": "start", "peers": found}
