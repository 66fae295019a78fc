"""Measures the time to accuracy: the seconds from the start of a process until its net classifies
the required fraction of MNIST's test images correctly.
"""

import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from autoconv import datasets
from autoconv.engine.costs import stats

from . import peers, workloads
from .process import PeerError, Process
from .turns import clip_timeout

RUN = 1800.0  # seconds after which a peer's training run counts as failed


def measure(
    names: list[str], rounds: int, threads: int, report: Callable[[str], None], deadline: float = math.inf
) -> dict[str, Any]:
    """Trains every peer `rounds` times by the recipe, in rotation. The i-th run starts from the same
    weights for all peers.

    No run starts or continues after `deadline`, a time of time.perf_counter. The results include the
    runs that were completed before the deadline.
    """
    results: dict[str, dict[str, Any]] = {name: {"status": "timed", "runs": []} for name in names}
    with tempfile.TemporaryDirectory() as folder:
        arrays = save_arrays(Path(folder), "mnist")
        for i in range(rounds):
            for name in names:
                if results[name]["status"] == "timed" and time.perf_counter() < deadline:
                    label = f"accuracy, run {i + 1}/{rounds}, {name}"
                    try:
                        results[name]["runs"].append(_run(name, arrays, threads, i, label, report, deadline))
                    except PeerError as error:
                        if not results[name]["runs"] or time.perf_counter() < deadline:
                            results[name] = {"status": "failed", "reason": str(error)}
    for f in results.values():
        seconds = [run["seconds"] for run in f.get("runs", []) if run["seconds"] is not None]
        if seconds:
            f["seconds_to_target"] = stats.spread(seconds)
            f["reached"] = f"{len(seconds)} of {len(f['runs'])} runs"
    recipe = workloads.RECIPE
    return {"workload": "lecture", "batch_size": recipe.batch_size, "mode": "accuracy", "recipe": recipe._asdict(),
            "peers": results}


def _run(
    name: str, arrays: dict[str, str], threads: int, seed: int, label: str, report: Callable[[str], None],
    deadline: float,
) -> dict[str, Any]:
    """Trains one peer in a separate process. Returns the accuracy, and, if the accuracy reaches the
    recipe's target, the seconds since the process was started.
    """
    job = {"factory": peers.PEERS[name].factory, "workload": "lecture", "mode": "accuracy", "threads": threads,
           "seed": seed, "arrays": arrays}
    with Process(job) as process:
        report(label)
        answer = process.answer(clip_timeout(RUN, deadline), sleep=False)
    report(f"{label}: {answer['accuracy']:.4f} after {answer['at']:.1f} s")
    return {"seconds": answer["at"] if answer["accuracy"] >= workloads.RECIPE.target else None,
            "accuracy": answer["accuracy"], "took": answer["at"], "peak_memory": answer["peak"]}


def save_arrays(folder: Path, dataset: str, limit: int | None = None) -> dict[str, str]:
    """Saves a data set as .npy files, so that no peer needs autoconv to read it. Returns paths by
    name. With `limit`, saves only the first images for training and test.
    """
    (train, train_labels), (test, test_labels) = (
        (images[:limit], labels[:limit]) for images, labels in datasets.load(dataset))
    arrays = {"train": train, "train_labels": train_labels, "test": test, "test_labels": test_labels}
    for name, array in arrays.items():
        np.save(folder / name, array)
    return {name: str(folder / f"{name}.npy") for name in arrays}
