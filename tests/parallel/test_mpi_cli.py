"""`train --distributed`: as one process trains; how all end where one fails; going on with any number of processes."""

import gzip
import importlib.util
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import uuid
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from test_mpi import MPIEXEC, OF_OPEN_MPI

TESTS = Path(__file__).resolve().parents[1]
DIGITS = TESTS.parent / "datasets" / "digits"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.skipif(
    MPIEXEC is None or importlib.util.find_spec("mpi4py") is None, reason="needs mpi4py and mpiexec")]
# By SGD: others divide by the size of gradients, and make of those that are nothing but rounding a whole step. In
# float32 an activation near 0 may still be cut off on one number of ranks only; test_mpi.py compares in float64.
HOW = ("--limit", "320", "--seed", "3", "--optimizer", "sgd", "--lr", "0.01", "--epochs")
TRAINS = ("train", "digits", "--checkpoint-every", "4steps", *HOW)
EPOCHS, LONG, NEAR = 12, 60, 1e-3
KILLED = 9  # code of MPICH's mpiexec if it kills the rank that ended all, before that rank exits with its own code
SOON = 60  # seconds in which all must have ended, beside other tests; it takes less than 10


class Started:
    """The command `words` in so many processes."""

    def __init__(self, ranks, *words, module=("-m", "mpi4py"), others=()):
        command = [sys.executable, *(module if ranks > 1 else ()), "-m", "autoconv"]
        line = [*command, *words, *(("--distributed",) if ranks > 1 else ())]
        if ranks > 1:
            line = [MPIEXEC, "-n", str(ranks - bool(others)), *line]
            line += [":", "-n", "1", *command, *others, "--distributed"] if others else []
        self.token = uuid.uuid4().hex
        env = {**os.environ, **OF_OPEN_MPI, "NUMBA_NUM_THREADS": "1", "AUTOCONV_TEST_TOKEN": self.token}
        self.process = subprocess.Popen(list(map(str, line)), env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                        text=True)

    def ranks(self):
        """The processes, in their order."""
        found = {}
        for folder in Path("/proc").iterdir():
            try:
                words = (folder / "cmdline").read_bytes().split(b"\0")
                given = dict(one.partition(b"=")[::2] for one in (folder / "environ").read_bytes().split(b"\0"))
            except OSError:
                continue
            number = given.get(b"PMI_RANK", given.get(b"OMPI_COMM_WORLD_RANK"))
            if given.get(b"AUTOCONV_TEST_TOKEN") == self.token.encode() and b"autoconv" in words and number and (
                    words[0] == os.fsencode(sys.executable)):
                found.setdefault(int(number), int(folder.name))
        return [found[number] for number in sorted(found)]

    def end(self):
        """Its exit code and what it printed. What does not end is killed."""
        try:
            text, _ = self.process.communicate(timeout=240)
        finally:
            self.kill()
        return self.process.returncode, text

    def kill(self):
        for pid in [self.process.pid, *self.ranks()]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def run(ranks, *words, **how):
    return Started(ranks, *words, **how).end()


def apart(one, other):
    """The largest difference of two runs' weights."""
    a, b = (load_file(out / "model.safetensors") for out in (one, other))
    return max(float(abs(a[name] - b[name]).max()) for name in a)


def until_saved(out, started):
    """Waits for the first state."""
    deadline = time.monotonic() + 120
    while not list((out / "checkpoints").glob("0*.safetensors")):
        assert time.monotonic() < deadline
        assert started.process.poll() is None, started.end()
        time.sleep(0.01)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "run"
    code, text = run(1, *TRAINS, EPOCHS, "--out", out)
    assert code == 0, text
    return out


def test_two_processes_train_as_one_and_the_first_speaks(alone, tmp_path):
    code, text = run(2, *TRAINS, EPOCHS, "--out", tmp_path / "run", module=())
    assert code == 0, text
    assert apart(tmp_path / "run", alone) < NEAR
    rows = [(out / "history.csv").read_text().splitlines() for out in (tmp_path / "run", alone)]
    assert rows[0][0] == rows[1][0] == "epoch,accuracy,loss,val_accuracy,val_loss"
    assert [float(value) for value in rows[0][-1].split(",")] == pytest.approx(
        [float(value) for value in rows[1][-1].split(",")], abs=0.05)
    assert text.count(f"Epoch {EPOCHS}/{EPOCHS}") == text.count("test accuracy") == 1
    assert "2 processes, each with threads: 1" in text
    code, text = run(4, *TRAINS, EPOCHS, "--out", tmp_path / "run", "--resume")
    assert (code, text.count("is finished")) == (0, 1)


@pytest.mark.parametrize("data", ["digits", "photos"])
def test_two_processes_fine_tune_as_one(data, alone, tmp_path):
    """Each computes the frozen layers' outputs for its part of the images."""
    words = ("digits", "--limit", "320") if data == "digits" else (
        pytest.importorskip("photo_files").make_turned(tmp_path / data, train=20, test=8),)
    for ranks in (1, 2):
        code, text = run(ranks, "train", *words, "--from", alone, "--seed", 3, "--optimizer", "sgd", "--lr", 0.01,
                         "--epochs", 4, "--out", tmp_path / str(ranks))
        assert code == 0, text
        assert text.count("which the frozen body computes once") == text.count("epochs 3 to 4 train all layers") == 1
    assert apart(tmp_path / "1", tmp_path / "2") < NEAR


def killed_somewhere(alone, folder, seed):
    """A rank is killed at a random moment, while all start or train; others go on. Returns how long all took to end."""
    draw, out = random.Random(seed), folder / "run"
    first, then = draw.sample([2, 3, 4], 2)
    trains, moment = draw.random() < 0.7, draw.uniform(0.05, 1.0)  # seconds of the training; a fourth of the start
    while True:
        started = Started(first, *TRAINS, EPOCHS, "--out", out)
        if trains:
            until_saved(out, started)
        time.sleep(moment if trains else 4 * moment)
        ranks, begun = started.ranks(), time.monotonic()
        if len(ranks) == first and started.process.poll() is None:
            os.kill(draw.choice(ranks), signal.SIGKILL)
            break
        started.end()  # it came too late, or too early
        shutil.rmtree(out, ignore_errors=True)
        moment *= 0.7
    code, text = started.end()
    seconds = time.monotonic() - begun
    assert code != 0, text
    assert seconds < SOON
    for number in (then, 1):  # the last one finds it finished
        code, text = run(number, *TRAINS, EPOCHS, "--out", out, "--resume")
        assert code == 0, text
    assert apart(out, alone) < NEAR
    return seconds


@pytest.mark.parametrize("seed", [0, 1])
def test_a_rank_is_killed_and_others_go_on(alone, tmp_path, seed):
    killed_somewhere(alone, tmp_path, seed)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(2, 22))
def test_a_rank_is_killed_at_any_moment_and_others_go_on(alone, tmp_path, seed):
    seconds = killed_somewhere(alone, tmp_path, seed)
    assert seconds < 10


def test_as_many_go_on_bit_for_bit(tmp_path):
    whole, out = tmp_path / "whole", tmp_path / "run"
    assert run(2, *TRAINS, EPOCHS, "--out", whole)[0] == 0
    started = Started(2, *TRAINS, EPOCHS, "--out", out)
    until_saved(out, started)
    os.kill(started.ranks()[1], signal.SIGKILL)
    assert started.end()[0] != 0
    code, text = run(2, *TRAINS, EPOCHS, "--out", out, "--resume")
    assert code == 0, text
    assert (out / "model.safetensors").read_bytes() == (whole / "model.safetensors").read_bytes()


def test_four_go_on_as_two_and_as_one(alone, tmp_path):
    out = tmp_path / "run"
    for ranks, epochs in ((4, 4), (2, 8), (1, EPOCHS)):
        code, text = run(ranks, *TRAINS, epochs, "--schedule", "constant", "--out", out, "--resume")
        assert code == 0, text
    whole = tmp_path / "whole"
    assert run(1, *TRAINS, EPOCHS, "--schedule", "constant", "--out", whole)[0] == 0
    assert apart(out, whole) < NEAR


@pytest.mark.parametrize(("number", "of", "code"), [(signal.SIGTERM, "all", 143), (signal.SIGINT, "the last", 130)])
def test_a_signal_saves_what_all_have(alone, tmp_path, number, of, code):
    out = tmp_path / "run"
    started = Started(2, *TRAINS, LONG, "--out", out)
    until_saved(out, started)
    for pid in started.ranks()[-1 if of == "the last" else 0 :]:
        os.kill(pid, number)
    found, text = started.end()
    assert found != 0
    assert "contains the training up to step" in text
    assert "Traceback" not in text
    if "mpich" in os.environ.get("MPIEXEC", "") or not os.environ.get("MPIEXEC"):
        assert found == code, text  # Open MPI has a code of its own
    assert run(1, *TRAINS, LONG, "--out", out, "--resume")[0] == 0


def test_a_rank_that_hangs_is_named(tmp_path):
    started = Started(2, *TRAINS, LONG, "--timeout", "2s", "--out", tmp_path / "run")
    until_saved(tmp_path / "run", started)
    os.kill(started.ranks()[1], signal.SIGSTOP)
    code, text = started.end()
    assert code != 0
    assert "has received no message from rank 1 for 2 seconds" in text


def test_what_cannot_be_shared_is_refused_and_says_why(tmp_path):
    code, text = run(1, "train", "digits", "--distributed")
    assert code == 2
    assert "mpiexec -n 4 python -m mpi4py -m autoconv" in text
    code, text = run(2, "train", "digits", "--batch-size", "1")
    assert code in (2, KILLED)
    assert text.count("--batch-size 1 with 2 processes") == 1
    code, text = run(2, "train", "digits", *HOW, 1, others=("train", "digits", "--limit", "300", *HOW[2:], 1))
    assert code in (2, KILLED)
    assert "Rank 0 has limit=320, but rank 1 has 300." in text
    code, text = run(2, "train", "digits", "--epochs", "some")
    assert code in (2, KILLED)
    assert text.count("Invalid value for '--epochs'") == 1
    code, text = run(2, "train", "digits", *HOW, 1, others=("train", "digits", "--epochs", "some"))
    assert code in (2, KILLED)
    assert "Invalid value for '--epochs'" in text
    other = tmp_path / "other"
    other.mkdir()
    for path in DIGITS.iterdir():
        (other / path.name).write_bytes(path.read_bytes())
        if "train-images" in path.name:
            data = bytearray(gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes())
            data[16:] = bytes(255 - value for value in data[16:])
            (other / path.name).write_bytes(gzip.compress(data) if path.suffix == ".gz" else bytes(data))
    code, text = run(2, "train", "mnist", *HOW, 1, "--data-dir", DIGITS,
                     others=("train", "mnist", *HOW, 1, "--data-dir", other))
    assert code in (1, KILLED)
    assert "Rank 0 has data.checksum" in text
    code, text = run(2, "train", "mnist", *HOW, 1, "--data-dir", DIGITS,
                     others=("train", "mnist", *HOW, 1, "--data-dir", tmp_path / "nowhere"))
    assert code in (1, KILLED)
    assert "Rank 1 failed: " in text
    assert "does not exist" in text


def test_a_scaled_rate_climbs_from_the_usual_one():
    from autoconv.optimizers import schedules

    rates = [schedules.WarmUp(0.1, 0.8, 7)(step) for step in range(10)]
    np.testing.assert_allclose(rates, [*np.linspace(0.1, 0.8, 8), 0.8, 0.8])
    after = schedules.CosineDecay(0.8, 10)
    assert schedules.WarmUp(0.1, after, 7)(9) == after(2)
