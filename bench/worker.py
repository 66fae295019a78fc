"""Runs one peer in a separate process: `python -m bench.worker JOB`, with the job as JSON.

It sends `ready` with a description of its net, and then answers each line that it receives, `warm-up`
or `round`. Answers are lines of JSON on standard output. All other output of the framework is
redirected to standard error.
"""

import contextlib
import importlib
import json
import math
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np

from . import environment, peers, workloads

# untimed fraction of a round that precedes each round, to wake up threads and warm the caches
WAKE = 0.1


class Talk:
    """The connection to the process that started this worker, the runner."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def say(self, event: str, **facts: Any) -> None:
        print(json.dumps({"event": event, **facts}), file=self._out, flush=True)


def main() -> None:
    job, talk = json.loads(sys.argv[1]), Talk()
    environment.confine(job["threads"])
    workload = workloads.WORKLOADS[job["workload"]]
    importlib.import_module(job["factory"].partition(":")[0])
    job["base_memory"] = peak_memory()
    peer = peers.create(job["factory"], workload, job["threads"], job["mode"], job["seed"])
    {"start": start, "accuracy": accuracy}.get(job["mode"], throughput)(peer, job, talk)


def throughput(peer: peers.Peer, job: dict[str, Any], talk: Talk) -> None:
    """Runs a round of training or inference whenever the runner requests one. A round is one pass
    through the data, or as many passes as fill the job's "seconds". On a GPU, which computes
    asynchronously, "seconds" must be given.
    """
    mode, steps, batch_size, least = job["mode"], job["steps"], job["batch_size"], job.get("seconds", 0)
    run = peer.train if mode == "train" else peer.infer
    # rounds that last several "seconds" need no untimed part, and a GPU stays awake between rounds
    awake, passes = 0 if least else max(1, round(steps * WAKE)), 1
    given, checked = workloads.weights(peer.workload), min(batch_size, workloads.CHECKED)
    images, labels = workloads.data(peer.workload, steps * batch_size)
    peer.load(given)
    own = peer.weights()
    talk.say("ready", versions=peer.versions(), base_memory=job.get("base_memory"),
             parameters=int(sum(w.size for w in own)), loss=peer.loss(images[:checked], labels[:checked]),
             code=code_folder())
    peer.hold(images, labels, batch_size)
    for line in sys.stdin:
        match line.strip():
            case "warm-up":
                peer.shuffle = False
                run(steps)
                peer.shuffle = True
                unchanged = sum(np.array_equal(a, b) for a, b in zip(given, peer.weights()))
                trained = peer.loss(images[:checked], labels[:checked])
                if least:
                    passes = math.ceil(least / peer.seconds(mode, steps))
                talk.say("warm", unchanged=unchanged, arrays=len(given), trained=trained, steps=steps * passes)
                peer.load(given)
            case "round":
                if awake:
                    run(awake)
                taken = peer.seconds(mode, steps, passes)
                talk.say("round", seconds=taken / (steps * passes), peak=peak_memory())
                if mode == "train":
                    peer.load(given)  # so that every round does the same work


def start(peer: peers.Peer, job: dict[str, Any], talk: Talk) -> None:
    """Runs one training step on one batch. The runner measures the time since it started this process.
    """
    images, labels = workloads.data(peer.workload, job["batch_size"])
    peer.load(workloads.weights(peer.workload))
    peer.hold(images, labels, job["batch_size"])
    peer.train(1)
    talk.say("stepped", peak=peak_memory())


def accuracy(peer: peers.Peer, job: dict[str, Any], talk: Talk) -> None:
    """Trains by the recipe, and reports the fraction of test images that the net classifies correctly.
    """
    recipe = workloads.RECIPE
    arrays = {name: np.load(path, mmap_mode=None) for name, path in job["arrays"].items()}
    images = {name: arrays[name].astype(np.float32)[..., None] / np.float32(255) for name in ("train", "test")}
    peer.load(workloads.weights(peer.workload, job["seed"]))
    count = len(images["train"]) // recipe.batch_size * recipe.batch_size
    peer.hold(images["train"][:count], arrays["train_labels"][:count].astype(np.int64), recipe.batch_size)
    steps = count // recipe.batch_size
    peer.schedule(recipe.learning_rates(steps))
    peer.train(steps)
    found = peer.predict(images["test"], 1000)
    talk.say("trained", accuracy=float((found == arrays["test_labels"]).mean()), peak=peak_memory())


def peak_memory() -> int | None:
    """Returns the peak memory of this process in bytes, or None if the system does not report it."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    try:
        import resource
    except ImportError:
        return None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def code_folder() -> str | None:
    """Returns the folder of the imported autoconv, or None if autoconv was not imported."""
    package = sys.modules.get("autoconv")
    return None if package is None else str(Path(package.__file__).parent)


if __name__ == "__main__":
    main()
