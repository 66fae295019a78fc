"""`python -m bench.compare`: compares autoconv and other frameworks on this machine.
docs/benchmarks.md explains the method; `--quick` takes less than two minutes.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from autoconv.arguments import names
from autoconv.programs.bench import machine
from autoconv.programs.bench.run import SCHEMA

from . import accuracy, install_size, overview, peers, rounds, show, startup, workloads

DEFAULT_ROUNDS = {"train": 18, "infer": 18, "start": 3, "accuracy": 3}
ROUNDS_OF_A_PROCESS = 3


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.compare", description=__doc__)
    parser.add_argument("--workload", default="lecture",
                        help=f"comma-separated, or all: {', '.join(workloads.WORKLOADS)}")
    parser.add_argument("--mode", default="train,infer", help=f"comma-separated: {', '.join(workloads.MODES)}")
    parser.add_argument("--peers", default="all", help=f"comma-separated: {', '.join(peers.list_peers('cpu'))}; "
                        f"or all except {' and '.join(_slow())}; ratios are relative to the first one")
    parser.add_argument("--batch-size", default="", help="comma-separated, or all: those of the workload; "
                        "by default the workload's usual one")
    parser.add_argument("--threads", type=_positive, default=machine.processors(), help="default: %(default)s")
    parser.add_argument("--rounds", type=_positive, help="default: 18, three in a process; 3 of start and accuracy")
    parser.add_argument("--quick", action="store_true", help="six short rounds, for a first look, without "
                        "torch-compile unless --peers names it")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all rounds to FILE")
    options = parser.parse_args(argv)
    try:
        options.workload = _parse_names("workload", options.workload, workloads.WORKLOADS)
        options.mode = _parse_names("mode", options.mode, workloads.MODES)
        # --quick leaves out torch-compile, because compiling takes too long
        left_out = [*_slow(), *(["torch-compile"] if options.quick else [])]
        known = peers.list_peers("cpu")
        usual = [name for name in known if name not in left_out]
        options.peers = usual if options.peers == "all" else _parse_names("peer", options.peers, known)
        options.batch_sizes = {w: _batch_sizes(options.batch_size, w) for w in options.workload}
    except ValueError as error:
        parser.error(str(error))
    if options.json is not None and not options.json.absolute().parent.is_dir():
        parser.error(f"--json: missing folder {options.json.absolute().parent}")
    return options


def main(argv: Sequence[str] | None = None) -> int:
    """Returns the exit code: 0, or 1 if a peer failed or computed a different result."""
    options, say = arguments(argv), show.Progress()
    present = {name: peers.missing(name) for name in options.peers}
    results = []
    for result in measurements(options, [name for name, lacks in present.items() if not lacks], say):
        _add_absent(result, present)
        results.append(result)
        say.clear()
        print(show.entry(result) + "\n", flush=True)
    if sum(result["mode"] in ("train", "infer") for result in results) > 1:
        print(overview.format_tables(results) + "\n")
    for remark in show.remarks(results):
        print(remark)
    if options.json is not None:
        options.json.write_text(json.dumps(_document(options, results, present), indent=1) + "\n", encoding="utf-8")
        print(f"wrote all rounds to {options.json}")
    wrong = [f for result in results for f in result["peers"].values() if f["status"] in ("failed", "wrong")]
    return 1 if wrong else 0


def measurements(options: argparse.Namespace, names: list[str], say: show.Progress) -> Iterable[dict[str, Any]]:
    """Yields all requested measurements, one after the other."""
    quick = options.quick
    for mode in options.mode:
        count = options.rounds or (6 if quick and mode in ("train", "infer") else DEFAULT_ROUNDS[mode])
        if mode == "accuracy":
            able = [name for name in names if mode in peers.PEERS[name].modes]
            yield accuracy.measure(able, count, options.threads, say)
            continue
        for workload in options.workload:
            able = [name for name in names if peers.able(name, mode, workload)]
            for batch_size in options.batch_sizes[workload]:
                if mode == "start":
                    yield startup.measure(able, workload, batch_size, count, options.threads, say)
                else:
                    sitting, effort = (count, 0.25) if quick else (ROUNDS_OF_A_PROCESS, 0.5)
                    steps = workloads.steps(workloads.WORKLOADS[workload], batch_size, mode, effort)
                    plan = rounds.Plan(count, sitting, options.threads, steps)
                    yield rounds.compare(able, workload, batch_size, mode, plan, say)


def _document(
    options: argparse.Namespace, results: list[dict[str, Any]], present: dict[str, tuple[str, ...]]
) -> dict[str, Any]:
    """Returns the results as JSON: machine, versions, threads and every round."""
    return {
        "schema": SCHEMA, "machine": machine.describe(), "threads": options.threads, "device": "cpu",
        "settings": {"rounds": options.rounds, "quick": options.quick, "command": show.command(sys.argv[1:])},
        "peers": {
            name: {
                "label": peers.label(name), "status": "absent" if lacks else "present",
                "versions": _versions(name, results),
                "install_bytes": None if lacks else install_size.count_bytes(peers.PEERS[name].distributions),
            }
            for name, lacks in present.items()
        },
        "results": results, "kernels": [],
    }


def _versions(name: str, results: list[dict[str, Any]]) -> dict[str, str]:
    found = [result["peers"][name] for result in results if name in result["peers"]]
    return next((f["versions"] for f in found if "versions" in f), {})


def _add_absent(result: dict[str, Any], present: dict[str, tuple[str, ...]]) -> None:
    for name, lacks in present.items():
        if lacks and peers.able(name, result["mode"], result["workload"]):
            reason = f"not installed: {', '.join(lacks)}. pip install -e '.[peers]'"
            result["peers"][name] = {"status": "absent", "reason": reason}


def _parse_names(kind: str, text: str, choices: Iterable[str]) -> list[str]:
    choices = list(choices)
    if text == "all":
        return choices
    return [names.lookup(kind, word.strip(), {k: k for k in choices}) for word in text.split(",")]


def _slow() -> list[str]:
    """Returns the peers whose rounds take minutes. They are timed only if --peers names them."""
    return [name for name, entry in peers.list_peers("cpu").items() if not entry.usual]


def _batch_sizes(text: str, workload: str) -> list[int]:
    sizes = workloads.WORKLOADS[workload].batch_sizes
    if text in ("", "all"):
        return list(sizes if text else sizes[:1])
    if not all(word.strip().isdigit() and int(word) for word in text.split(",")):
        raise ValueError(f"--batch-size requires positive integers. Received: {text!r}.")
    return [int(word) for word in text.split(",")]


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"must be a positive integer. Received: {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
