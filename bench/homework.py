"""Compares a term's homework in autoconv and in Keras: `python -m bench.homework [--only gan unet]`.

Each script of examples/homework/ runs with both frameworks, each in its own process, in rotation. If there is a file
such as gan_keras.py, it is the Keras version; otherwise Keras runs the same script with `keras` in place of `autoconv`
in its imports. gan_torch.py is a PyTorch version. An untimed run compiles autoconv's kernels first.

The table lists the lines of code, the median seconds of the whole process and of the training (the calls of `fit`, or
the epochs of a hand-written loop), their ratios, and the figure that the script prints last, which shows that both do
the same work.
"""

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
import tokenize
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from autoconv.datasets import digits
from autoconv.programs.bench import machine

from . import environment, show

FOLDER = environment.ROOT / "examples" / "homework"
PEERS = ("keras", "torch")
NAMES = [path.stem for path in sorted(FOLDER.glob("*.py")) if path.stem.rpartition("_")[2] not in PEERS]
NOT_CODE = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING,
            tokenize.ENDMARKER)

Runs = dict[str, list[dict[str, Any]]]  # the runs of a homework by framework


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser("python -m bench.homework", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=NAMES, default=NAMES, help="scripts to run; default: all")
    parser.add_argument("--rounds", type=int, default=3, help="number of timed runs; default: %(default)s")
    parser.add_argument("--threads", type=int, default=machine.processors(), help="number of threads")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS,
                        help="other frameworks to run, if they are installed; default: %(default)s")
    options, say = parser.parse_args(argv), show.Progress()
    missing = [name for name in options.peers if not find_spec(name)]
    runs: dict[str, Runs] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder, "digits.npz")
        (x_train, y_train), (x_test, y_test) = digits.load_data()
        np.savez(data, x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
        for name in options.only:
            scripts = find_scripts(name, [peer for peer in options.peers if peer not in missing])
            say(f"{name}: autoconv compiles its kernels")
            run(scripts["autoconv"], "autoconv", options.threads, data)
            runs[name] = {framework: [] for framework in scripts}
            for i in range(options.rounds):
                for framework in list(scripts)[:: (-1) ** i]:
                    say(f"{name}: round {i + 1}/{options.rounds}, {framework}")
                    runs[name][framework].append(run(scripts[framework], framework, options.threads, data))
    say.clear()
    print(f"{options.threads} threads, {options.rounds} rounds; medians\n")
    print(table(runs))
    for name, frameworks in runs.items():
        if "torch" in frameworks:
            print(f"\n{epochs_table(name, frameworks)}")
    if missing:
        print(f"not installed: {', '.join(missing)}. pip install -e '.[peers]'")


def find_scripts(name: str, peers: Sequence[str]) -> dict[str, Path]:
    """Returns the script of each framework. PyTorch has only the scripts that are written for it."""
    scripts = {framework: FOLDER / f"{name}_{framework}.py" for framework in peers}
    if "keras" in scripts and not scripts["keras"].exists():
        scripts["keras"] = FOLDER / f"{name}.py"
    return {"autoconv": FOLDER / f"{name}.py"} | {key: path for key, path in scripts.items() if path.exists()}


def run(script: Path, framework: str, threads: int, data: Path) -> dict[str, Any]:
    """Runs a script in a separate process and an empty folder. Raises CalledProcessError if the process fails."""
    command = [sys.executable, "-m", "bench.homework_script", str(script), framework, str(threads), str(data)]
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        process = subprocess.run(command, cwd=folder, env=environment.clean(threads, {"MPLBACKEND": "agg"}),
                                 check=True, text=True, stdout=subprocess.PIPE)
        seconds = time.perf_counter() - begun
    return {"process_s": seconds, "lines": count_lines(script), **json.loads(process.stdout)}


def count_lines(script: Path) -> int:
    """Returns the number of lines that contain code. Blank lines, comments and docstrings do not count."""
    lines: set[int] = set()
    begins_statement = True
    for token in tokenize.generate_tokens(io.StringIO(script.read_text(encoding="utf-8")).readline):
        is_docstring = token.type == tokenize.STRING and begins_statement
        if token.type not in NOT_CODE and not is_docstring:
            lines.update(range(token.start[0], token.end[0] + 1))
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            begins_statement = token.type in (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING)
    return len(lines)


def table(runs: dict[str, Runs]) -> str:
    """Returns a Markdown table with one row per homework: autoconv's and Keras's numbers, and Keras's divided by ours.
    """
    rows = ["| homework | lines, autoconv / Keras | whole process, s | ratio | training, s | ratio | last line |",
            "|---|---:|---:|---:|---:|---:|---|"]
    for name, frameworks in runs.items():
        ours, theirs = frameworks["autoconv"], frameworks.get("keras", [])
        cells = [f"`{name}`", " / ".join(str(f[0]["lines"]) for f in (ours, theirs) if f)]
        for key in ("process_s", "train_s"):
            medians = [statistics.median(f[key] for f in each) for each in (ours, theirs) if each]
            cells.append(" / ".join(f"{median:.1f}" for median in medians))
            cells.append(f"{medians[1] / medians[0]:.2f}" if theirs else "")
        figures = [f[0]["last"].rpartition(" ") for f in (ours, theirs) if f]
        cells.append(f"{figures[0][0]} {' / '.join(figure[2] for figure in figures)}")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def epochs_table(name: str, runs: Runs) -> str:
    """Returns a Markdown table of the seconds of an epoch, the median of all epochs except each run's first."""
    medians = {key: statistics.median(s for f in each for s in f["epoch_s"][1:]) for key, each in runs.items()}
    rows = [f"| `{name}` | lines | seconds per epoch | divided by autoconv's | last line |", "|---|---:|---:|---:|---|"]
    return "\n".join(rows + [f"| {key} | {runs[key][0]['lines']} | {seconds:.3f} | {seconds / medians['autoconv']:.2f} "
                             f"| {runs[key][0]['last']} |" for key, seconds in medians.items()])


if __name__ == "__main__":
    main()
