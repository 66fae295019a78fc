"""Runs one script of examples/homework/ with one framework, for bench.homework.

`python -m bench.homework_script SCRIPT FRAMEWORK THREADS DIGITS` runs the script, and then prints the seconds that
`fit` took, or that the script printed per epoch. In Keras, a script for autoconv runs with `keras` in place of
`autoconv` in its imports. DIGITS is a file with the digits, because Keras and PyTorch must not wait for an import
of autoconv.
"""

import contextlib
import inspect
import io
import json
import os
import re
import sys
import time
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from . import environment

EPOCH = re.compile(r"^epoch \d+: ([\d.]+) s", re.MULTILINE)


def main() -> None:
    script, framework, threads, digits = sys.argv[1:]
    environment.confine(int(threads))
    source = Path(script).read_text(encoding="utf-8")
    out = io.StringIO()
    if framework != "autoconv":
        hide_autoconv(digits)
    if framework == "keras":
        os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3"}
        source = source.replace("from autoconv import", "from keras import")
    with contextlib.redirect_stdout(out):
        fits = [] if framework == "torch" else time_fits(framework)
        exec(compile(source, script, "exec"), {"__name__": "__main__"})
    printed = out.getvalue()
    epochs = [float(seconds) for seconds in EPOCH.findall(printed)]
    print(json.dumps({"train_s": sum(fits) + sum(epochs), "epoch_s": epochs, "last": printed.splitlines()[-1]}))


def hide_autoconv(digits: str) -> None:
    """Makes `from autoconv.datasets import digits` read a file, and every other import from autoconv fail."""
    import numpy as np

    def load_data() -> Any:
        with np.load(digits) as arrays:
            return tuple((arrays[f"x_{part}"], arrays[f"y_{part}"]) for part in ("train", "test"))

    sys.modules["autoconv"] = None  # type: ignore[assignment]
    sys.modules["autoconv.datasets"] = SimpleNamespace(digits=SimpleNamespace(load_data=load_data))  # type: ignore


def time_fits(framework: str) -> list[float]:
    """Returns a list to which each call of `fit` adds its seconds."""
    model, seconds = import_module(framework).Model, list[float]()
    fit = inspect.getattr_static(model, "fit")  # a descriptor, which binds the model

    def timed(self: Any, *arguments: Any, **keywords: Any) -> Any:
        begun = time.perf_counter()
        result = fit.__get__(self, model)(*arguments, **keywords)
        seconds.append(time.perf_counter() - begun)
        return result

    model.fit = timed
    return seconds


if __name__ == "__main__":
    main()
