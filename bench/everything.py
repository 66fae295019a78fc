"""Runs all comparisons of autoconv, one after the other: `python -m bench.everything FOLDER`.

Each part is a separate command, whose output and JSON are written to FOLDER. If a command fails, the
failure is reported and the next command runs. At the end, one line per net compares autoconv with
the fastest peer.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from . import overview

DEEP = "lecture,resnet20,vgg-bn,mobile,wide,lecture-bn,lenet5,mlp"
PARTS = {  # commands by part; a final "--json" is completed with the path of a file in FOLDER
    "train": f"bench.compare --quick --mode train --workload {DEEP},lecture-large,photos "
             "--peers autoconv,torch-channels-last,torch-compile,jax,keras-50 --json",
    "infer": f"bench.compare --quick --mode infer --workload {DEEP} --batch-size 64,1 "
             "--peers autoconv,onnxruntime,openvino,mnn --json",
    "convolutions": "bench.convolutions --json",
    "busy": "bench.busy --rounds 4 --peers autoconv torch-channels-last keras-50 jax --json",
    "startup": "bench.startup",
    "sprint": "bench.sprint --peers torch keras jax",
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m bench.everything", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder to write the results to")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="parts to run; default: all")
    options = parser.parse_args(argv)
    options.folder.mkdir(parents=True, exist_ok=True)
    failed = [part for part in options.parts if not run(part, options.folder)]
    compared = [str(file) for part in ("train", "infer") if (file := options.folder / f"{part}.json").exists()]
    if compared:
        overview.main(compared)
    if failed:
        print(f"failed: {', '.join(failed)}; see {options.folder}")
    return 1 if failed else 0


def run(part: str, folder: Path) -> bool:
    """Runs the command of one part. Returns whether the command succeeded."""
    command = [sys.executable, "-m", *PARTS[part].split()]
    command += [str(folder / f"{part}.json")] if command[-1] == "--json" else []
    start = time.perf_counter()
    with (folder / f"{part}.txt").open("w") as file, (folder / f"{part}.log").open("w") as log:
        code = subprocess.run(command, stdout=file, stderr=log, check=False).returncode
    text = (folder / f"{part}.txt").read_text()
    print(f"{part}: {(time.perf_counter() - start) / 60:.1f} minutes\n\n{text}", flush=True)
    return code == 0


if __name__ == "__main__":
    sys.exit(main())
