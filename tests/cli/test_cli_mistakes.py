"""No mistake of a user's shows a traceback: each command with wrong files, wrong arguments and closed streams."""

import os
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner
from hostile_data import SMALL, idx, npy_sample
from hostile_models import HISTORY, chain, file_of, run_model, run_text
from hostile_pictures import sample

from autoconv import layers, models, pictures
from autoconv.programs.cli import main
from autoconv.utils.pixels import UnreadableImage

pytest.importorskip("PIL")

COMMANDS = {  # @ is the wrong file, RUN a sound run, NET a model, PNG a picture, OUT a folder to write into
    "train": [["digits", "--data-dir", "@"], ["cifar10", "--data-dir", "@"], ["@"],
              ["digits", "--limit", "10", "--json", "@/x/y"]],
    "evaluate": [["@"], ["RUN", "@"], ["RUN", "--data-dir", "@"], ["RUN", "--json", "@/x/y"]],
    "predict": [["@", "PNG"], ["NET", "@"], ["RUN", "@"], ["RUN", "PNG", "--json", "@/x/y"],
                ["NET", "PNG", "--labels", "@"]],
    "inspect": [["@", "--out", "OUT/a.html"], ["RUN", "@", "--out", "OUT/a.html"],
                ["RUN", "PNG", "--out", "@/x/y.html"]],
    "report": [["@", "--out", "OUT/a.html"], ["RUN", "--out", "@/x/y.html"], ["RUN", "--out", "@"]],
    "filter": [["@", "--out", "OUT/a.png"], ["PNG", "--out", "@/x/y.png"],
               ["PNG", "--kernel", "@", "--out", "OUT/a.png"]],
    "summary": [["@", "--no-time"], ["NET", "--json", "@/x/y", "--no-time"]],
    "demo": [["digits", "--data-dir", "@"]],
    "info": [["@"]],
    "bench": [["@"], ["--json", "@/x/y"]],
    "warmup": [["@"]],
}
WRONG = ("missing", "missing.png", "missing.npy", "missing.safetensors", "folder", "folder.png", "folder.safetensors",
         "empty", "empty.png", "empty.npy", "empty.safetensors", "bytes", "bytes.png", "bytes.npy", "bytes.safetensors",
         "text.safetensors", "loop.png", "dangling.npy", "n" * 300, "n" * 300 + ".png", "\udcff.png", "a\nb.png",
         "unreadable.png", "unreadable.safetensors", "half a run", "damaged run", "labels", "x.gz", "other.tar.gz",
         "fifo", "fifo.png", "fifo.npy", "fifo.safetensors", "fifo.keras", "zero.png", "zero.npy", "fifo run",
         "missing.onnx", "folder.onnx", "empty.onnx", "bytes.onnx", "fifo.onnx")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """One of each wrong file, and the sound ones."""
    made = tmp_path_factory.mktemp("mistakes")
    for name in WRONG:
        path = made / name
        if name.startswith("folder"):
            path.mkdir()
        elif name.startswith(("empty", "bytes", "text", "x.gz", "other")):
            path.write_bytes({"empty": b"", "text": b"no model"}.get(path.stem, bytes(range(256)) * 9))
        elif name.startswith("zero"):
            path.symlink_to("/dev/zero")
        elif name.startswith("fifo") and name != "fifo run":
            os.mkfifo(path)
        elif name.startswith("unreadable"):
            path.symlink_to("/proc/self/mem") if os.geteuid() == 0 else (path.write_bytes(b"x"), path.chmod(0))
    (made / "loop.png").symlink_to(made / "loop.png")
    (made / "dangling.npy").symlink_to(made / "nowhere")
    for name, files in {"RUN": (run_model(), HISTORY, run_text()),
                        "half a run": (run_model(), HISTORY), "damaged run": (run_model()[:-9], b"x", b"{")}.items():
        (made / name).mkdir()
        for file, data in zip(("model.safetensors", "history.csv", "run.json"), files):
            (made / name / file).write_bytes(data)
    for file in ("model.safetensors", "history.csv", "run.json"):
        (made / "fifo run").mkdir(exist_ok=True)
        os.mkfifo(made / "fifo run" / file)
    (made / "labels").mkdir()
    (made / "labels" / "train-images-idx3-ubyte").write_bytes(idx(SMALL)[:-1])
    (made / "NET.safetensors").write_bytes(file_of(chain))
    (made / "PNG.png").write_bytes(sample("PNG"))
    (made / "ARRAY.npy").write_bytes(npy_sample())
    (made / "OUT").mkdir()
    return made


def named(folder, argument, wrong):
    sound = {"RUN": "RUN", "NET": "NET.safetensors", "PNG": "PNG.png"}
    if argument in sound:
        return str(folder / sound[argument])
    return argument.replace("OUT/", f"{folder}/OUT/").replace("@", str(folder / wrong))


def refused(arguments):
    result = CliRunner().invoke(main, arguments)
    assert isinstance(result.exception, SystemExit), f"{arguments}: {result.exception!r}"
    assert result.exit_code in (1, 2), f"{arguments}: {result.exit_code} {result.output}"
    assert "Traceback" not in result.output
    assert len(result.output.strip()) > 20, f"{arguments} says nothing"


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_wrong_files_are_named_without_a_traceback(command, folder):
    before = set(folder.rglob("*"))
    for arguments in COMMANDS[command]:
        for wrong in WRONG:
            refused([command, *(named(folder, argument, wrong) for argument in arguments)])
    assert set(folder.rglob("*")) == before, "something was left behind"


@pytest.mark.parametrize("command", [*sorted(COMMANDS), "fly", "--fly"])
def test_wrong_arguments_are_named_without_a_traceback(command, folder):
    for arguments in (["--unknown"], ["--threads", "many"], ["--threads", "0"], ["--device", "tpu"], ["--out"],
                      ["--limit", "-1"], ["--epochs", "1e400"], ["a", "b", "c", "d"], ["--image-size", "0x9" * 99]):
        refused([command, *arguments])


def test_a_closed_pipe_and_closed_streams_end_a_command_without_a_traceback(folder):
    predict = ("predict", folder / "RUN", *[folder / "PNG.png"] * 3)
    line = " ".join(f"'{word}'" for word in (sys.executable, "-m", "autoconv", *map(str, predict)))
    for end in ("| true", ">&- <&-", ">/dev/full"):
        command = f"{line} {end}"
        done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=120, check=False)
        assert "Traceback" not in done.stderr, (command, done.stderr)
        assert "Exception ignored" not in done.stderr, (command, done.stderr)


def test_a_net_for_pixels_refuses_an_npy_file_of_fractions(tmp_path):
    net = models.Sequential([layers.Input((6, 6, 1)), layers.Flatten(), layers.Dense(2, activation="softmax")])
    net.save(tmp_path / "net.safetensors")
    image = np.random.default_rng(0).random((6, 6), dtype=np.float32)
    np.save(tmp_path / "fractions.npy", image)
    np.save(tmp_path / "pixels.npy", image * 255)

    def answer(*arguments, code=0):
        result = CliRunner().invoke(main, ["predict", str(tmp_path / "net.safetensors"), *map(str, arguments)])
        assert result.exit_code == code
        return result.output

    assert "the pixels must be 0..255. Received: values from 0.00" in answer(tmp_path / "fractions.npy", code=1)
    assert "Multiply the array by 255." in answer(tmp_path / "fractions.npy", code=1)
    chosen = answer(tmp_path / "fractions.npy", "--preprocessing", "none").split()[1:]
    assert answer(tmp_path / "pixels.npy", "--preprocessing", "unit").split()[1:] == chosen
    with pytest.raises(UnreadableImage, match="Multiply the array by 255"):
        pictures.activations(net, tmp_path / "fractions.npy")


def test_a_run_that_does_not_exist(tmp_path):
    result = CliRunner().invoke(main, ["evaluate", str(tmp_path / "rnu")])
    assert result.exit_code == 1
    assert f"There is no file or folder {tmp_path / 'rnu'}. Pass a folder" in result.output
