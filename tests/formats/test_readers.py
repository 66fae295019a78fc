"""Whatever is in a file, it is read right or refused: in two seconds and 256 MB, without a traceback."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from mutations import ALLOWED
from readers import CARELESS, READERS, tried

import autoconv
from autoconv import utils
from autoconv.datasets import cifar_set
from autoconv.files import regular
from autoconv.utils.pixels import read_whole as read_picture

pytest.importorskip("PIL")
PROGRAM = Path(__file__).parents[1] / "support" / "readers.py"


def outcomes(names, count, timeout):
    """What became of the files, by reader."""
    done = subprocess.run([sys.executable, PROGRAM, ",".join(names), str(count)], capture_output=True, text=True,
                          timeout=timeout, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, f"{lines[-1:]} {done.stderr[-2000:]}"
    return [line for line in lines if "name" in line]


def check(found):
    for of in found:
        assert of["wrong"] == 0, (of["name"], of["first"])
        assert of["read"] < of["files"], of


@pytest.mark.slow
@pytest.mark.timeout(1000)
@pytest.mark.parametrize("part", range(4))  # side by side where there are processors
def test_damaged_and_hostile_files_are_read_right_or_refused(part):
    readers = [reader.name for reader in READERS[part::4]]
    found = outcomes(readers, "quick", 900)
    assert [of["name"] for of in found] == readers
    check(found)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", [reader.name for reader in READERS])
def test_thousands_of_damaged_files(name):
    found = outcomes([name], "long", 3500)
    print(json.dumps(found))  # noqa: T201 - pytest -s shows the figures
    check(found)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="FIFOs of POSIX")
@pytest.mark.parametrize("reader", [each for each in READERS if each.name != "kernel"], ids=lambda each: each.name)
def test_a_fifo_is_refused_and_not_waited_for(reader, tmp_path, monkeypatch):
    os.mkfifo(tmp_path / reader.file)
    reader.around(tmp_path)
    with pytest.raises(ALLOWED):
        reader.read(tmp_path)


def test_links_to_files_are_read_and_devices_are_not(tmp_path):
    (tmp_path / "file").write_bytes(b"whole")
    (tmp_path / "link").symlink_to("file")
    assert regular.read_file(tmp_path / "link") == b"whole"
    (tmp_path / "zero").symlink_to("/dev/zero")
    with pytest.raises(OSError, match=r"only regular files can be read, and this is a device \(copy .*zero'"):
        regular.read_file(tmp_path / "zero")
    with pytest.raises(IsADirectoryError, match=tmp_path.name):
        regular.read_file(tmp_path)


def test_files_of_others_are_opened_in_one_place():
    own = {"files/regular.py", "files/atomic.py",  # and readers of what the package or the system itself wrote
           "kernels/caching.py", "programs/bench/machine.py", "programs/cli/clock.py", "datasets/known_sets.py",
           "programs/demo/serving.py",
           "programs/fingerprints.py", "programs/jupyter.py", "programs/pages/document.py"}
    package = Path(autoconv.__file__).parent
    reads = re.compile(r"\bread_(bytes|text)\(|\bopen\([^)]*\"rb?\+?\"|"
                       r"(?<![.\w])open\([^,)]*(\)|, (newline|encoding)=)|"
                       r"\bnp\.(load|loadtxt|genfromtxt|fromfile)\(")
    found = {path.relative_to(package).as_posix() for path in package.rglob("*.py")
             if reads.search(path.read_text(encoding="utf-8"))}
    assert found == own


def test_no_program_is_run_for_a_file_whose_name_lies(tmp_path, monkeypatch):
    from PIL import EpsImagePlugin

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("Ghostscript was asked for"))
    path = tmp_path / "photo.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    for read in (utils.load_img, read_picture):
        with pytest.raises(utils.UnreadableImage, match="its format is unknown to Pillow, or runs other programs"):
            read(path)


@pytest.mark.filterwarnings("ignore:Image size .* decompression bomb")  # Pillow's own
@pytest.mark.parametrize(("name", "trap", "said"), [
    ("model", "units", "more numbers than the file contains"),
    ("model", "20000 layers", "the model has more than 8,000 layers"),
    ("picture .png", "13,000 x 13,000", "must have at least one byte per 100 pixels. Received: 169 million pixels in"),
    ("idx gzipped", "2 GB", r"may decompress to at most [\d,]+ bytes\. Received: 2,147,483,648 bytes"),
    ("cifar python", "a memo of 2^30", "must be a pickled dict of 4 images and labels"),
    ("npy", "(2147483648, 28, 28)", "the file is damaged or truncated"),
    ("Keras's .h5", "text as variable length of kind 2", "must contain only strings"),
    ("Keras's .h5", "4000 references to 65000 letters", "the strings claim more bytes than the file has"),
    ("Keras's .h5", "4 to the 40 groups", "groups and arrays, or more than 60 nested groups"),
    ("Keras's .h5", "an array without bytes", "the arrays claim more bytes than the file has"),
    ("Keras's .keras", "7000000 values []", "config.json claims 21,000,041 bytes"),
    ("Keras's .keras", "400000 values []", "at most 500,000 are allowed"),
    ("model", "names of 40 MB", "but at most 16,777,216 are allowed"),
    ("model", "a million names of 0 letters", r"the JSON has up to 1,000,\d+ values, but at most 500,000 are allowed"),
])
def test_what_is_refused_says_the_rule_and_what_came(name, trap, said, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar_set, "RECORDS", 4)
    reader = next(reader for reader in READERS if reader.name == name)
    (tmp_path / reader.file).write_bytes(next(data for found, data in reader.traps() if found == trap))
    reader.around(tmp_path)
    with pytest.raises(ALLOWED, match=said):
        reader.read(tmp_path)


@pytest.mark.slow
def test_the_table_finds_what_is_wrong():
    """A reader that forgets its checks is told from one that does not, and one that crashes does not end the run."""
    wrong = [outcome.wrong for outcome in tried(CARELESS, 20)]
    assert len(wrong) == 20
    assert any("IndexError" in said for said in wrong)
    if sys.platform == "linux":
        assert any("MB" in said for said in wrong)
        assert any("SIGSEGV" in said for said in wrong)
