"""Defines the targets for autoconv's GPU kernels, and compares gpu_check's results with them."""

from collections.abc import Sequence
from statistics import fmean, median
from typing import Any, NamedTuple

from autoconv.engine.costs.tables import table

EAGER = ("torch-cuda",)
# peers for workloads whose steps take longer than their launches
BEST_OF_LARGE = ("torch-cuda-graph", "jax-cuda", "torch-cuda-compile")
BEST = (*BEST_OF_LARGE, "jax-cuda-50")
TORCH = ("torch-cuda", "torch-cuda-compile", "torch-cuda-graph")
OURS = "autoconv-cuda"

Row = tuple[str, int, str]  # a row of the comparison: workload, batch size, mode


class Speed(NamedTuple):
    """A target for the time of the fastest peer in `against` divided by autoconv's time."""

    workload: str
    batch_size: int
    mode: str
    against: tuple[str, ...]
    least: float
    aim: float


SPEEDS = (  # in order of importance, in which they are also measured
    Speed("lecture", 64, "train", EAGER, 3, 6),
    Speed("lecture", 64, "train", BEST, 1, 1.5),
    Speed("lecture", 1024, "train", BEST, 0.7, 1.2),
    Speed("lecture", 64, "infer", BEST, 1, 1.5),
    Speed("lecture", 1024, "infer", BEST, 1, 1.5),
    Speed("lecture-large", 128, "train", BEST_OF_LARGE, 0.5, 1),
    Speed("photos", 128, "train", BEST_OF_LARGE, 0.5, 1),
)
KERNELS = (0.4, 0.7)  # minimum and aim: fraction of the lower ceiling that each convolution reaches
# minimum mean accuracy over three seeds on MNIST's test images, after five epochs of `autoconv train`
# with its defaults
ACCURACY = 0.9910
# time from the start of the process to 99.0%: PyTorch's time divided by autoconv's, and the aim in
# seconds
RACE, RACE_SECONDS = 2.0, 1.5


class Verdict(NamedTuple):
    """A line of the table. status: "aim", "least", "no" or "not measured". In the last case, `result` is
    the reason.
    """

    goal: str
    against: str
    result: str
    least: str
    aim: str
    status: str


def rows() -> dict[Row, tuple[str, ...]]:
    """Returns the rows of the comparison to measure, each with the peers to compare it with."""
    result: dict[Row, tuple[str, ...]] = {}
    for speed in SPEEDS:
        row = speed.workload, speed.batch_size, speed.mode
        result[row] = (*result.get(row, ()), *speed.against)
    return result


def describe_row(workload: str, batch_size: int, mode: str) -> str:
    """Describes a row of the comparison in words."""
    return f"{workload}, {mode}, batch {batch_size}"


def phase_name(workload: str, batch_size: int, mode: str) -> str:
    """Returns the name of the phase of gpu_check that measures a row of the comparison."""
    return "inference" if mode == "infer" else f"{workload}-{batch_size}"


def verdicts(document: dict[str, Any]) -> list[Verdict]:
    """Returns each target with its result, including those that were not measured."""
    return [_tests(document), *(_speed(document, target) for target in SPEEDS), _kernels(document),
            _accuracy(document), _race(document)]


def format_table(document: dict[str, Any]) -> str:
    """Returns the verdicts as a table for a terminal."""
    return table(["", "against", "found", "at least", "aim", "met"], [list(v) for v in verdicts(document)])


def _tests(document: dict[str, Any]) -> Verdict:
    goal, found = "tests marked gpu", document.get("tests")
    if not found or found["status"] not in ("passed", "failed"):
        reason = found["status"] if found else _explain_missing(document, "tests")
        return Verdict(goal, "", reason, "all", "", "not measured")
    text = f"{found['passed']} passed, {found['failed']} failed, {found['skipped']} skipped"
    return Verdict(goal, "", text, "all", "", "aim" if found["status"] == "passed" else "no")


def _speed(document: dict[str, Any], target: Speed) -> Verdict:
    goal = describe_row(*target[:3])
    limits = f"{target.least:g}x", f"{target.aim:g}x"
    names = "PyTorch eager" if target.against == EAGER else "the best of torch.compile, CUDA graph, JAX"
    entries = [e for e in document.get("results", ()) if (e["workload"], e["batch_size"], e["mode"]) == target[:3]]
    if not entries:
        return Verdict(goal, names, _explain_missing(document, phase_name(*target[:3])), *limits, "not measured")
    timed = [(e["peers"], e["peers"][OURS]["seconds"]) for e in entries if e["peers"][OURS]["status"] == "timed"]
    if not timed:
        ours = entries[0]["peers"][OURS]
        return Verdict(goal, names, f"autoconv: {ours['status']}, {ours['reason'][:80]}", *limits, "not measured")
    ratios = {name: times(theirs[name]["seconds"], ours) for theirs, ours in timed for name in target.against
              if theirs.get(name, {}).get("status") == "timed"}
    if not ratios:
        return Verdict(goal, names, "none of them ran", *limits, "not measured")
    best = min(ratios, key=ratios.__getitem__)
    return Verdict(goal, best, f"{ratios[best]:.2f}x", *limits, _grade(ratios[best], target.least, target.aim))


def times(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """Returns the median over the rounds of the peer's time divided by autoconv's time."""
    return median(a / b for a, b in zip(theirs, ours, strict=True))


def _kernels(document: dict[str, Any]) -> Verdict:
    goal, against = "convolution kernels, the slowest", "the lower of arithmetic and bandwidth"
    limits = [f"{share:.0%}" for share in KERNELS]
    shares = [k["fraction"]["median"] for k in document.get("kernels", ())]
    if not shares:
        return Verdict(goal, against, _explain_missing(document, "kernels"), *limits, "not measured")
    reached = sum(share >= KERNELS[0] for share in shares)
    text = f"{min(shares):.0%} (median {median(shares):.0%}; {reached} of {len(shares)} reach {KERNELS[0]:.0%})"
    return Verdict(goal, against, text, *limits, _grade(min(shares), *KERNELS))


def _accuracy(document: dict[str, Any]) -> Verdict:
    goal, against, limits = "MNIST, 5 epochs", "test accuracy, mean of 3 seeds", (f"{ACCURACY:.4f}", "")
    found = document.get("accuracy")
    if not found:
        return Verdict(goal, against, _explain_missing(document, "accuracy"), *limits, "not measured")
    mean = fmean(found["test_accuracy"])
    if found["dataset"] != "mnist":
        return Verdict(goal, against, f"no MNIST here; {found['dataset']}: {mean:.4f}", *limits, "not measured")
    if len(found["test_accuracy"]) < 3:
        return Verdict(goal, against, f"{mean:.4f} of {len(found['test_accuracy'])} seeds", *limits, "not measured")
    return Verdict(goal, against, f"{mean:.4f}", *limits, _grade(mean, ACCURACY, ACCURACY))


def _race(document: dict[str, Any]) -> Verdict:
    goal, against, limits = "start to 99.0% of MNIST", "PyTorch's best", (f"{RACE:g}x", f"{RACE_SECONDS} s")
    found = next((e for e in document.get("results", ()) if e["mode"] == "accuracy"), None)
    if found is None:
        return Verdict(goal, against, _explain_missing(document, "race"), *limits, "not measured")
    reached = {name: f["seconds_to_target"]["median"] for name, f in found["peers"].items() if "seconds_to_target" in f}
    if OURS not in reached:
        return Verdict(goal, against, "autoconv did not reach it", *limits, "no")
    rivals = {name: seconds for name, seconds in reached.items() if name in TORCH}
    if not rivals:
        return Verdict(goal, against, f"{reached[OURS]:.1f} s; PyTorch did not reach it", *limits, "not measured")
    best = min(rivals, key=rivals.__getitem__)
    ratio = rivals[best] / reached[OURS]
    status = "no" if ratio < RACE else "aim" if reached[OURS] < RACE_SECONDS else "least"
    return Verdict(goal, best, f"{ratio:.2f}x, {reached[OURS]:.1f} s", *limits, status)


def _grade(value: float, least: float, aim: float) -> str:
    return "aim" if value >= aim else "least" if value >= least else "no"


def _explain_missing(document: dict[str, Any], phase: str) -> str:
    """Returns the reason why a phase has no result."""
    note = document.get("phases", {}).get(phase, {"status": "not run"})
    return f"{note['status']}: {note['reason'][:80]}" if "reason" in note else note["status"]
