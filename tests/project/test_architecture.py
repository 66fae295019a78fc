"""What docs/architecture.md says of tiers, files and recordings is so."""

import re
import sys
import tomllib
from copy import copy
from pathlib import Path

import numpy as np
import pytest
from fake_ranks import Echo

from autoconv import layers, losses, metrics, models, optimizers
from autoconv.kernels import trace
from autoconv.programs.cli import main
from autoconv.train import fitting

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def rows(header):
    """The cells of a table's rows, found by its first row."""
    lines = PAGE[PAGE.index(header):].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def names(text):
    return re.findall(r"`([\w.]+)`", text)


def test_the_tiers_are_those_of_the_import_contract():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    tiers = [sorted(tier.split(" | ")) for tier in tools["importlinter"]["contracts"][0]["layers"]]
    assert [sorted(names(modules)) for _, modules, _ in rows("| tier | modules")] == tiers
    assert [int(number) for number, *_ in rows("| tier | modules")] == list(range(1, len(tiers) + 1))


def test_nothing_above_kernels_knows_one_device_from_another():
    package = ROOT / "autoconv"
    question = re.compile(r"\b(is_gpu|is_cuda|CpuDevice|CudaDevice)\b|isinstance\([^()]*, (\w+\.)?Device\)"
                          r"|device\.name (==|!=|in) |device\.name\.startswith")
    asked = {f"{path.relative_to(package)}: {found[0]}" for path in package.rglob("*.py")
             if path.relative_to(package).parts[0] != "kernels" for found in question.finditer(path.read_text("utf-8"))}
    assert asked == set()


def test_a_model_has_a_trainer_and_is_none():
    assert not [of for of in models.Sequential.__mro__ if of.__module__.startswith("autoconv.train")]
    model = models.Sequential([layers.Input((3,)), layers.Dense(2)])
    model.compile("sgd", "mse")
    model.optimizer, model.loss, model.stop_training = "adam", "mae", True
    model.fit(np.ones((4, 3), np.float32), np.ones((4, 2), np.float32), verbose=0)
    assert isinstance(model.optimizer, optimizers.Adam)
    assert isinstance(model.loss, losses.Loss)
    assert not model.stop_training
    twin = copy(model)
    twin.compile("sgd", "mse")
    assert isinstance(model.optimizer, optimizers.Adam)


def ours(frame):
    """The functions of the package that run, the innermost first, as far as the command line's own."""
    found = []
    while frame is not None and (not found or found[-1].co_qualname != "train"):
        if Path(frame.f_code.co_filename).is_relative_to(ROOT / "autoconv"):
            found.append(frame.f_code)
        frame = frame.f_back
    return found


def test_a_kernel_is_few_calls_away(monkeypatch):
    recorded, replayed = [], []
    add, replay = trace.Section.add, trace.Trace._run
    monkeypatch.setattr(trace.Section, "add", lambda section, *call: (recorded.append(ours(sys._getframe(1))),
                                                                      add(section, *call)))
    monkeypatch.setattr(trace.Trace, "_run", lambda self, names: (replayed.append(ours(sys._getframe(1))),
                                                                  replay(self, names)))
    main(["train", "digits", "--epochs", "1", "--limit", "192", "--validate", "0", "--quiet"], standalone_mode=False)

    def check(stacks, frames, files):
        assert max(map(len, stacks)) <= frames
        assert max(len({code.co_filename for code in stack}) for stack in stacks) <= files

    in_layers = [stack for stack in recorded if any(code.co_qualname == "forward" for code in stack)]
    check(in_layers, 20, 13)
    check([stack for stack in recorded if stack not in in_layers], 20, 11)
    check([stack for stack in recorded if any(code.co_qualname == "load" for code in stack)], 13, 8)
    from_fit = [stack[: stack.index(fitting.fit.__code__) + 1] for stack in replayed if fitting.fit.__code__ in stack]
    check(from_fit, 7, 4)  # and the kernel is one more of each


def test_all_of_ours_are_recorded():
    for module, base, but in ((layers, layers.Layer, {"Lambda"}), (losses, losses.Loss, set()),
                              (optimizers, optimizers.Optimizer, set()), (metrics, metrics.MeanMetricWrapper, set())):
        public = {thing for name, thing in vars(module).items() if not name.startswith("_") and thing is not base
                  and isinstance(thing, type) and issubclass(thing, base)}
        assert {thing.__name__ for thing in public if not thing.recordable} == but


def test_the_phases_are_those_of_a_step():
    listed = [names(phase)[0] for phase, *_ in rows("| phase | what it does")]
    model = models.Sequential([layers.Input((3,)), layers.Dense(2)])
    model.compile("sgd", "mse", metrics=[lambda y_true, y_pred: abs(y_true - y_pred)])
    reduced = []
    model.distribute(Echo(reduced.append))
    x = np.ones((4, 3), np.float32)
    model.fit(x, x[:, :2], verbose=0)
    model.predict(x, verbose=0)
    report = model.recording_report()
    assert list(report["train"]) == [phase for phase in listed if phase != "store"]
    assert list(report["predict"]) == [phase for phase in listed if phase in report["predict"]]
    assert set(listed) == set(report["train"]) | set(report["predict"])
    assert reduced


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/kernels.md", "docs/extending.md", "docs/ptx.md",
                                  "CONTRIBUTING.md"])
def test_every_file_that_is_named_is_there(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    made = set(re.findall(r"^# (\w+\.py)$", text, re.MULTILINE))  # by a recipe
    folders = ("autoconv", "tests", "bench", "ptx", "docsite")
    files = [path.as_posix() for folder in folders for path in (ROOT / folder).rglob("*.py")]
    for name in set(re.findall(r"`([\w./]+\.py)`", text)) - made:
        assert any(path.endswith(f"/{name}") for path in files), name
