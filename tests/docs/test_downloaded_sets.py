"""The listings and commands of docs/lectures/nets.md for CIFAR-10 and Fashion-MNIST, on made files of their formats."""

import gzip
import io
import re
import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from autoconv import datasets
from autoconv.datasets import cifar_set
from autoconv.programs import jupyter
from autoconv.programs.cli import main
from docsite import blocks

pytestmark = pytest.mark.slow

PAGE = Path(__file__).resolve().parents[2] / "docs" / "lectures" / "nets.md"
TEXT = PAGE.read_text(encoding="utf-8")
SETS = {block.needs for block in jupyter.blocks(TEXT)} - {None}
RECORDS = 40  # in a batch of the made CIFAR-10: the real one has 10,000


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Where the made sets lie, as AUTOCONV_DATA has them: each class has a brightness of its own."""
    rng = np.random.default_rng(0)
    monkeypatch.setattr(cifar_set, "RECORDS", RECORDS)
    monkeypatch.setenv("AUTOCONV_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    (tmp_path / "data" / "fashion_mnist").mkdir()

    with tarfile.open(tmp_path / "data" / "cifar10" / "cifar-10-binary.tar.gz", "w:gz") as tar:
        for name in cifar_set.BINARY:
            labels = np.arange(RECORDS, dtype="uint8")[:, None] % 10
            records = np.hstack([labels, labels * 25 + rng.integers(0, 20, (RECORDS, 3072), dtype="uint8")])
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = records.size
            tar.addfile(member, io.BytesIO(records.tobytes()))

    for part, count in (("train", 200), ("t10k", 40)):
        labels = np.arange(count, dtype="uint8") % 10
        images = labels[:, None, None] * 25 + rng.integers(0, 20, (count, 28, 28), dtype="uint8")
        for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
            header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
            file = tmp_path / "data" / "fashion_mnist" / f"{part}-{kind}-ubyte.gz"
            file.write_bytes(gzip.compress(header + array.tobytes()))
    return tmp_path


@pytest.mark.parametrize("name", sorted(SETS))
def test_the_listings(name, folder, monkeypatch, capsys):
    """From `load_data()` to the accuracy of each class, and the pictures."""
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("agg")
    monkeypatch.chdir(folder)
    names = {}
    for block in jupyter.blocks(TEXT):
        if block.needs == name or re.search(r"^def (class_table|mistakes)", block.source, re.MULTILINE):
            exec(block.source, names)
    plt.close("all")
    printed = capsys.readouterr().out
    classes = datasets.info(name).classes
    assert [line[:12].strip() for line in printed.splitlines()[-len(classes):]] == list(classes)
    assert all(0 <= float(line[12:]) <= 1 for line in printed.splitlines()[-len(classes):])
    assert names["recall"].shape == (10,)
    drawn = {"cifar10": ["classes-of-cifar10.png"], "fashion_mnist": ["fashion-confusion.png", "fashion-mistakes.png"]}
    assert [picture.name for picture in sorted(blocks.pictures(folder))] == drawn[name]


@pytest.mark.parametrize("name", sorted(SETS))
def test_the_commands(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    (shell,) = (text for text in re.findall(r"^```\n((?:autoconv .*\n)+)```", TEXT, re.MULTILINE) if name in text)
    for command in (line.split()[1:] for line in shell.splitlines()):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 0, result.output
        assert "accuracy" in result.output or command[0] == "report"
    (page,) = folder.glob("*.html")
    assert all(name in page.read_text(encoding="utf-8") for name in datasets.info(name).classes)


@pytest.mark.parametrize("name", sorted(SETS))
def test_the_names_of_the_classes(name):
    listed = ", ".join(f"{number} {of_class}" for number, of_class in enumerate(datasets.info(name).classes))
    assert f"{listed}." in " ".join(TEXT.split())
