"""What the README and its companions show is true: the listings run, the commands exist. (Links: test_pages.py.)"""

import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import autoconv as ac
from autoconv import callbacks, datasets, layers, models
from autoconv import optimizers as optim
from autoconv.programs.cli import main

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
LISTING, GRAPH, BELOW_THE_LAYERS = (text for language, text in BLOCKS if language == "python")
SHELL = [line.partition("#")[0].strip() for language, text in BLOCKS if not language for line in text.splitlines()]
IMAGES = 96


@pytest.fixture
def digits_as_mnist(tmp_path, monkeypatch):
    """The built-in digits where MNIST would lie."""
    shutil.copytree(datasets.data_folder() / "digits", tmp_path / "data" / "mnist")
    monkeypatch.setenv("AUTOCONV_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_first_commands():
    clone, *others = SHELL[:5]
    assert re.fullmatch(r"git clone \S+ autoconv", clone)
    assert others == ["cd autoconv", "python3 -m venv .venv && source .venv/bin/activate",
                      "pip install -e . && autoconv train", "pip install -e '.[test]' && pytest -n auto"]


def test_the_listing(monkeypatch, capsys):
    (x, y), (x_test, y_test) = datasets.digits.load_data()
    few = (x[:IMAGES], y[:IMAGES]), (x_test[:IMAGES], y_test[:IMAGES])
    monkeypatch.setattr(datasets.mnist, "load_data", lambda: few)
    listing = LISTING.replace("60000", str(IMAGES)).replace("10000", str(IMAGES)).replace("epochs=5", "epochs=1")
    names = {}
    exec(listing, names)
    printed = capsys.readouterr().out
    assert "Total params: 93,322" in printed
    assert "Epoch 1/1" in printed
    assert 0 <= names["test_accuracy"] <= 1

    exec(GRAPH, names)  # it goes on with the listing's images
    assert "digit_accuracy" in capsys.readouterr().out
    assert not any(names["model"].recording_report()["train"].values())
    assert names["shapes"][1:] == [*[(5, 28, 28, 16)] * 3, (5, 14, 14, 16), (5, 3136), (5, 10), (5, 1)]


def test_the_listing_is_that_of_the_lectures_page():
    assert f"```py\n{LISTING}```" in (ROOT / "docs" / "lectures" / "nets.md").read_text(encoding="utf-8")


def test_below_the_layers(capsys):
    exec(BELOW_THE_LAYERS, {})
    promised = re.search(r"print\(.*\) +# (\[.*\])", BELOW_THE_LAYERS).group(1)
    assert re.findall(r"-?\d+", capsys.readouterr().out) == re.findall(r"-?\d+", promised)


def test_the_commands(digits_as_mnist):
    from PIL import Image

    (_, _), (images, _) = datasets.digits.load_data()
    Image.fromarray(images[0]).save("three.jpg")
    Image.fromarray(images[1]).resize((60, 40)).convert("RGB").save("photo.jpg")
    for kind in ("daisy", "tulip"):
        Path("flowers", kind).mkdir(parents=True)
        for i in range(5):
            Image.fromarray(images[i]).save(f"flowers/{kind}/{i}.png")
    commands = [line.split("autoconv ")[-1].split() for line in SHELL if "autoconv " in line]
    assert {command[0] for command in commands} == {"train", *main.commands} - {"bench", "info", "warmup"}
    for command in commands:
        if command[0] == "demo" or "--distributed" in command:
            continue  # it serves until Ctrl-C, or needs processes of mpiexec: test_demo.py, test_mpi_cli.py
        few = ["--epochs", "1", *([] if "flowers" in command else ["--limit", str(IMAGES)])] * (command[0] == "train")
        result = CliRunner().invoke(main, [*command, *few])
        assert result.exit_code == 0, f"{' '.join(command)}: {result.output}"


def test_every_name_in_the_table():
    def row(title):
        return re.findall(r"`(\w+)`", re.search(rf"^\| {title} \|(.*)$", README, re.MULTILINE).group(1))

    classes = {name for name in vars(layers) if name[:1].isupper()}
    other_names = {"AvgPool2D", "Convolution2D", "Convolution2DTranspose", "GlobalAvgPool2D", "GlobalMaxPool2D",
                   "InputLayer", "InputSpec", "MaxPool2D", "SeparableConvolution2D"}
    assert set(row("layers")) == classes - other_names
    assert all(hasattr(models, n) or hasattr(models.Sequential, n) for n in row("models"))
    assert {n for n in vars(optim) if isinstance(getattr(optim, n), type)} >= set(row("optimizers"))
    assert all(hasattr(callbacks, name) for name in row("callbacks"))
    assert set(row("datasets")) == set(datasets.NAMES)
    assert all(hasattr(ac, name) for name in row("below the layers"))
    assert set(re.findall(r"\w+", " ".join(row("commands")))) - {"help", "autoconv"} <= set(main.commands)


def test_every_variable_is_read_somewhere():
    sources = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "autoconv").rglob("*.py"))
    page = (ROOT / "docs" / "platforms.md").read_text(encoding="utf-8")
    for name in re.findall(r"^\| `(AUTOCONV_\w+)` \|", page, re.MULTILINE):
        assert f'"{name}"' in sources
