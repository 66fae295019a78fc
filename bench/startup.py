"""Measures the time from the start of a process to the end of its first training step, with empty
caches (cold) and with filled caches (warm).

`python -m bench.startup` compares three ways to run that step in autoconv: `fit`, `train_on_batch`
and `functional` calls outside a model. With an empty cache, each compiles its kernels first.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from autoconv.engine.costs import stats
from autoconv.programs.bench import machine

from . import peers, show, workloads
from .process import PeerError, Process
from .turns import STARTING

# Environment variables that set the cache folders of autoconv, of PyTorch's compiler, and of all
# programs that follow the XDG rules.
CACHES = ("XDG_CACHE_HOME", "AUTOCONV_CACHE_DIR", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR")
WAYS = {
    "fit": "bench.peers.autoconv:Autoconv",
    "train_on_batch": "bench.peers.autoconv:ByBatch",
    "functional": "bench.peers.autoconv:ByFunctions",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m bench.startup", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", default="lecture", choices=workloads.WORKLOADS,
                        help="net to train; default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3,
                        help="number of starts with filled caches; default: %(default)s")
    parser.add_argument("--threads", type=int, default=machine.processors(),
                        help="number of threads; default: %(default)s")
    options, say = parser.parse_args(argv), show.Progress()
    batch_size = workloads.WORKLOADS[options.workload].batch_sizes[0]
    result = measure(list(WAYS), options.workload, batch_size, options.rounds, options.threads, say, WAYS)
    say.clear()
    print(show.entry(result))
    for line in show.remarks([result]):
        print(line)
    return 0 if all(peer["status"] == "timed" for peer in result["peers"].values()) else 1


def measure(
    names: list[str], workload: str, batch_size: int, rounds: int, threads: int, report: Callable[[str], None],
    factories: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Runs each peer once with empty caches, and then all peers in rotation with filled caches.
    `factories` maps the names to factories; by default, the names are peers.
    """
    results: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        caches = {name: dict.fromkeys(CACHES, f"{folder}/{name}") for name in names}

        def run(name: str) -> dict[str, Any]:
            factory = peers.PEERS[name].factory if factories is None else factories[name]
            job = {"factory": factory, "workload": workload, "batch_size": batch_size, "mode": "start",
                   "threads": threads, "seed": workloads.SEED}
            with Process(job, caches[name]) as process:
                return process.answer(STARTING, sleep=False)

        for i in range(rounds + 1):
            for name in [n for n in names if results.get(n, {}).get("status") != "failed"]:
                report(f"start {workload}: {'cold' if i == 0 else f'warm {i}/{rounds}'}, {name}")
                try:
                    answer = run(name)
                except PeerError as error:
                    results[name] = {"status": "failed", "reason": str(error)}
                    continue
                if i == 0:
                    results[name] = {"status": "timed", "cold_s": answer["at"], "warm_s": []}
                else:
                    results[name]["warm_s"].append(answer["at"])
                    results[name]["peak_memory"] = answer["peak"]
    for f in results.values():
        if f["status"] == "timed":
            f["warm"] = stats.spread(f["warm_s"])
    return {"workload": workload, "batch_size": batch_size, "mode": "start", "peers": results}


if __name__ == "__main__":
    sys.exit(main())
