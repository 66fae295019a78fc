"""What docs/architecture.md says of tiers, files and recordings is so."""

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from fake_ranks import Echo

from autoconv import layers, losses, metrics, models, optimizers

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def rows(header):
    """The cells of a table's rows, found by its first row."""
    lines = PAGE[PAGE.index(header):].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def names(text):
    return re.findall(r"`(\w+)`", text)


def test_the_tiers_are_those_of_the_import_contract():
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    tiers = [sorted(tier.split(" | ")) for tier in tools["importlinter"]["contracts"][0]["layers"]]
    assert [sorted(names(modules)) for _, modules, _ in rows("| tier | modules")] == tiers
    assert [int(number) for number, *_ in rows("| tier | modules")] == list(range(1, len(tiers) + 1))


def test_nothing_above_backend_knows_one_device_from_another():
    package = ROOT / "autoconv"
    question = re.compile(r"\b(is_gpu|is_cuda|CpuDevice|CudaDevice)\b|isinstance\([^()]*, (\w+\.)?Device\)"
                          r"|device\.name (==|!=|in) |device\.name\.startswith")
    asked = {f"{path.relative_to(package)}: {found[0]}" for path in package.rglob("*.py")
             if path.relative_to(package).parts[0] != "backend" for found in question.finditer(path.read_text("utf-8"))}
    assert asked == set()


def test_all_of_ours_are_in_the_table_of_what_is_recorded():
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
