"""`python -m bench.report RESULTS.json ... --html PAGE.html` writes one page with results of
bench.compare, `autoconv bench` and test_kernels.py. `--docs FILE.md` writes the same tables between
the two marks in FILE.md.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from autoconv.programs.bench.page import page
from autoconv.programs.bench.run import SCHEMA

from . import markdown


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m bench.report", description=__doc__)
    parser.add_argument("results", nargs="+", type=Path, help="JSON files with results")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write an HTML page to FILE")
    parser.add_argument("--docs", type=Path, metavar="FILE", help="write the tables into the Markdown file FILE")
    options = parser.parse_args(argv)
    if options.html is None and options.docs is None:
        parser.error("nothing to write: pass --html FILE, --docs FILE or both")
    try:
        documents = [load(path) for path in options.results]
        if options.html is not None:
            options.html.write_text(page(documents), encoding="utf-8")
        if options.docs is not None:
            markdown.insert(options.docs, documents)
    except (OSError, ValueError) as error:
        parser.exit(1, f"{parser.prog}: {error}\n")
    return 0


def load(path: Path) -> dict[str, Any]:
    """Loads a file of results. Raises ValueError if it contains none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}.") from error
    if isinstance(document, dict) and "benchmarks" in document and "machine_info" in document:
        return _convert_pytest_benchmark(document)
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise ValueError(f"{path} has no results of bench.compare, `autoconv bench` or "
                         f"test_kernels.py, or results of another version (schema {SCHEMA} is required).")
    return document


def _convert_pytest_benchmark(document: dict[str, Any]) -> dict[str, Any]:
    """Converts the results of test_kernels.py, to which conftest.py has added the machine, to the
    format of `autoconv bench`.
    """
    if "autoconv" not in document["machine_info"]:
        raise ValueError("These pytest-benchmark results are not from bench/test_kernels.py.")
    shares = [b["extra_info"] for b in document["benchmarks"] if "fraction" in b["extra_info"]]
    return {"schema": SCHEMA, **document["machine_info"]["autoconv"], "device": "cpu", "peers": {}, "results": [],
            "kernels": shares}


if __name__ == "__main__":
    sys.exit(main())
