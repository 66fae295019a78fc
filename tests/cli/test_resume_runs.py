"""`autoconv train --out RUN --resume`: killed, interrupted or out of room, the run ends as if nothing had happened."""

import contextlib
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings

import pytest
import test_cli

from autoconv import utils
from autoconv.programs.cli import run_states, signals
from autoconv.train import checkpoint

pytestmark = pytest.mark.slow

# 480 training images, which are 30 steps an epoch, and 53 images for validation
TRAIN = ("digits", "--limit", "533", "--epochs", "6", "--seed", "3", "--batch-size", "16")
OFTEN = ("--checkpoint-every", "5steps")
STEPS = 180
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals and limits of POSIX")

# Kills itself at an event of the disk's: half a file is written, or it is about to be flushed, renamed or removed.
AT_EVENT = """
import os, pathlib, signal, sys
left, share = int(sys.argv.pop(1)), float(sys.argv.pop(1))
def due():
    global left
    left -= 1
    return left == 0
def killing(function):
    def maybe(*args, **kwargs):
        if due():
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return maybe
write = pathlib.Path.write_bytes
def cut(path, data):
    if due():
        write(path, data[: int(share * len(data))])
        os.kill(os.getpid(), signal.SIGKILL)
    return write(path, data)
pathlib.Path.write_bytes = cut
for name in ("fsync", "replace", "rename", "unlink"):
    setattr(os, name, killing(getattr(os, name)))
from autoconv.programs.cli import main
main()
"""

# Its first save takes a minute.
SLOW = """
import time
from autoconv.train.saved_states import Saving
save = Saving._save
Saving._save = lambda *args: (print("saving", flush=True), [time.sleep(0.1) for _ in range(600)], save(*args))
from autoconv.programs.cli import main
main()
"""


def autoconv_(*args, code=0):
    """Runs a command in this process, with layers' names from the start, as in a process of its own."""
    utils.clear_session()
    return test_cli.autoconv_(*args, code=code)


def sha256(run):
    return [hashlib.sha256((run / name).read_bytes()).hexdigest() for name in ("model.safetensors", "history.csv")]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The hashes of what a run writes that is not interrupted."""
    run = tmp_path_factory.mktemp("whole") / "run"
    autoconv_("train", *TRAIN, "--out", run)
    return sha256(run)


def started(*args, code=None, **more):
    """The command in a process of its own."""
    command = [sys.executable, "-u", *(["-m", "autoconv"] if code is None else ["-c", code])]
    return subprocess.Popen([*command, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            **more)


def said_by(*args, code=0, **more):
    """What the command prints in a process of its own."""
    with started(*args, **more) as process:
        out, err = process.communicate()
    assert process.returncode == code, err
    assert "Traceback" not in err
    return out + err


def killed_at_a_moment(run, threads, moment):
    """Lets it train for `moment` seconds. Returns whether it was killed before its end."""
    with started("train", *TRAIN, *OFTEN, "--out", run, "--resume", "--threads", threads) as process:
        for line in process.stdout:
            if line.startswith(("Epoch", "net")):
                time.sleep(moment)
                process.kill()
                break
        process.communicate()
    assert process.returncode in (0, -signal.SIGKILL)
    return process.returncode != 0


def killed_at_an_event(run, threads, event, share):
    with started(event, share, "train", *TRAIN, *OFTEN, "--out", run, "--resume", "--threads", threads,
                 code=AT_EVENT) as process:
        _, said = process.communicate()
    assert process.returncode in (0, -signal.SIGKILL), said
    return process.returncode != 0


@posix
@pytest.mark.parametrize("kills", [2, pytest.param(30, marks=pytest.mark.soak)])
def test_a_run_that_was_killed_ends_with_the_same_bytes(whole, kills, tmp_path):
    """At random moments, and at random events of the disk's, such as in the middle of a file; on 1 and 2 threads."""
    rng, done, runs = random.Random(kills), 0, 0
    while done < kills:
        run = tmp_path / f"run{runs}"
        runs += 1
        for _ in range(4):
            threads = 1 + done % 2
            if done % 3 == 1:
                hit = killed_at_a_moment(run, threads, rng.uniform(0, 0.3))
            else:
                hit = killed_at_an_event(run, threads, rng.randint(1, 60), rng.random())
            done += hit
            if not hit or done == kills:
                break
        autoconv_("train", *TRAIN, "--out", run, "--resume")
        assert sha256(run) == whole
        assert {path.name for path in run.iterdir()} == {"checkpoints", "history.csv", "model.safetensors", "run.json"}
        assert [path.name for path in (run / "checkpoints").iterdir()] == [f"0001-{STEPS:09d}.safetensors"]
        assert [path for path in tmp_path.iterdir() if path.name.startswith(f".{run.name}.")] == []


@posix
@pytest.mark.soak
def test_a_run_on_a_folder_of_photos_ends_with_the_same_bytes(tmp_path):
    """Pictures that are turned and zoomed anew, some of which cannot be read, in the order of a folder."""
    from photo_files import add_broken, make

    folder, rng, done = make(tmp_path / "photos", each=40), random.Random(1), 0
    add_broken(folder / "red")
    line = (folder, "--epochs", "4", "--seed", "3", "--augment", "--batch-size", "8")
    said_by("train", *line, "--out", tmp_path / "whole")
    for i in range(5):
        run = tmp_path / f"run{i}"
        for _ in range(3):
            with started(rng.randint(1, 60), rng.random(), "train", *line, *OFTEN, "--out", run, "--resume",
                         code=AT_EVENT) as process:
                _, said = process.communicate()
            assert process.returncode in (0, -signal.SIGKILL), said
            done += process.returncode != 0
        said = said_by("train", *line, "--out", run, "--resume")
        assert sha256(run) == sha256(tmp_path / "whole")
        skipped = [json.loads((one / "run.json").read_text())["skipped"] for one in (run, tmp_path / "whole")]
        assert skipped[0] == skipped[1] != []
    assert done > 5


@posix
@pytest.mark.parametrize("times", [2, pytest.param(50, marks=[pytest.mark.soak, pytest.mark.timeout(3600)])])
def test_of_two_processes_at_once_one_trains_and_has_its_states(times, tmp_path):
    for number in range(times):
        run = tmp_path / str(number)
        both = {seed: started("train", "digits", "--limit", "480", "--epochs", "200", "--seed", seed, *OFTEN, "--quiet",
                              "--out", run) for seed in (5, 6)}
        while all(process.poll() is None for process in both.values()):
            time.sleep(0.01)
        (seed, first), (_, second) = sorted(both.items(), key=lambda item: item[1].poll() is not None)
        assert second.returncode == 1
        assert "Another process is training in" in second.communicate()[1]
        while first.poll() is None and not checkpoint.files(run / "checkpoints"):
            time.sleep(0.01)
        first.terminate()
        said = first.communicate()[1]
        assert first.returncode == 143, said
        assert "contains the training up to step" in said
        found = checkpoint.newest(run / "checkpoints", pytest.fail)
        assert found.state.metadata["belongs_to"]["arguments"]["seed"] == seed
        assert [path.name for path in tmp_path.iterdir() if path.name.startswith(f".{number}.")] == []


def test_a_finished_run_is_rid_of_what_killed_processes_left(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    before = {path.relative_to(tmp_path) for path in tmp_path.rglob("*")}
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    (tmp_path / f".run.{ended.pid}-00ff.tmp").mkdir()
    (tmp_path / f".run.{ended.pid}-00ff.tmp" / "model.safetensors").write_bytes(b"half")
    (run / "checkpoints" / f".0001-000000009.safetensors.{ended.pid}-00ff.tmp").write_bytes(b"half")
    assert "is finished" in autoconv_("train", "--out", run, "--resume")
    assert {path.relative_to(tmp_path) for path in tmp_path.rglob("*")} == before


def test_what_is_said(whole, tmp_path):
    run = tmp_path / "run"
    said = autoconv_("train", *TRAIN, "--out", run, "--resume")
    assert f"resume {run} contains no training yet, so a new one starts" in said
    assert sha256(run) == whole
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    out = autoconv_("train", *TRAIN, "--out", run, "--resume")
    assert re.fullmatch(rf"{run} is finished: 6 epochs, test accuracy 0\.\d{{4}}\n", out)
    assert autoconv_("train", "--out", run, "--resume") == out  # options that are left out are the run's
    shown = autoconv_("train", "--out", run, "--resume", "--json", "-")
    assert json.loads(shown) == json.loads((run / "run.json").read_text())
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


@pytest.mark.parametrize(("change", "said"), [
    (("--seed", "4"), "was trained with --seed 3. Received: --seed 4. Leave out --seed, or train a new net"),
    (("--lr", "0.1"), "was trained without --lr. Received: --lr 0.1"),
    (("--augment",), "was trained without --augment. Received: --augment True"),
    (("--batch-size", "64"), "was trained with --batch-size 16. Received: --batch-size 64"),
    (("--recipe", "fast"), "was trained with --recipe careful. Received: --recipe fast"),
    (("--epochs", "5"),
     "{run} was trained with --epochs 6. Received: --epochs 5. --resume can only add epochs. Leave out --epochs"),
    (("mnist",), "was trained with DATASET digits. Received: DATASET mnist"),
])
def test_other_options_than_the_runs_are_refused_by_name(finished, change, said):
    assert said.format(run=finished) in autoconv_("train", "--out", finished, "--resume", *change, code=2)


@pytest.mark.parametrize(("change", "said"), [
    (("mnist",), "was trained with DATASET digits. Received: DATASET mnist"),
    (("--lr", "0.5"), "was trained with --lr 0.001. Received: --lr 0.5"),
    (("--image-size", "20x20"), "was trained without --image-size"),
    (("--validation-split", "0.3"), "was trained without --validation-split"),
    (("--data-dir", "elsewhere"), "was trained without --data-dir"),
    (("--epochs", "7"), "The run has no saved state to continue from. Leave out --resume to train again"),
])
@pytest.mark.parametrize("state", ["none", "damaged"])
def test_so_they_are_where_no_state_can_be_read(finished, change, said, state, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    if state == "none":
        shutil.rmtree(run / "checkpoints")
    else:
        file, = (run / "checkpoints").iterdir()
        file.write_bytes(file.read_bytes()[:-1] + b"?")
    assert said in autoconv_("train", "--out", run, "--resume", *change, code=2)
    assert "is finished" in autoconv_("train", *TRAIN, "--lr", "0.001", "--out", run, "--resume")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    run = tmp_path_factory.mktemp("finished") / "run"
    autoconv_("train", *TRAIN, "--out", run)
    return run


def test_options_that_need_a_run(tmp_path):
    for option in (("--resume",), ("--checkpoint-every", "5m")):
        assert f"{option[0]} needs a run folder" in autoconv_("train", "digits", *option, code=2)
    for wrong in ("5", "0m", "m", "-3steps", "5 weeks"):
        assert "is not a time or a number of steps" in autoconv_("train", "digits", "--out", tmp_path / "run",
                                                            "--checkpoint-every", wrong, code=2)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("")
    for more in ((), ("--resume",)):
        assert "saves its checkpoints in a folder checkpoints/. Received:" in autoconv_(
            "train", "digits", "--out", tmp_path / "run", *more, code=1)


def test_more_epochs_go_on_from_a_finished_run(tmp_path):
    constant = ("digits", "--limit", "640", "--seed", "1", "--recipe", "lecture")
    autoconv_("train", *constant, "--epochs", "4", "--out", tmp_path / "whole")
    autoconv_("train", *constant, "--epochs", "2", "--out", tmp_path / "run")
    assert "resume epoch 3 of 4: continuing from there" in autoconv_(
        "train", *constant, "--epochs", "4", "--out", tmp_path / "run", "--resume")
    assert sha256(tmp_path / "run") == sha256(tmp_path / "whole")
    assert len(json.loads((tmp_path / "run" / "run.json").read_text())["epoch_seconds"]) == 4


def test_an_old_run_stays_until_the_new_one_is_complete(finished, tmp_path):
    run, before = shutil.copytree(finished, tmp_path / "run"), sha256(finished)
    state = (run / "checkpoints" / f"0001-{STEPS:09d}.safetensors").read_bytes()
    new = ("train", "digits", "--limit", "320", "--epochs", "3", "--seed", "5", "--out", run)
    with started("20", "0.5", *new, "--checkpoint-every", "1steps", code=AT_EVENT) as process:
        process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert sha256(run) == before
    assert (run / "checkpoints" / f"0001-{STEPS:09d}.safetensors").read_bytes() == state
    assert "resume epoch" in autoconv_(*new, "--resume")  # the new one goes on
    autoconv_("train", "digits", "--limit", "320", "--epochs", "3", "--seed", "5", "--out", tmp_path / "alone")
    assert sha256(run) == sha256(tmp_path / "alone")
    assert [path.name[:4] for path in (run / "checkpoints").iterdir()] == ["0002"]


def test_a_run_that_is_not_finished_says_so_to_others(finished, tmp_path):
    shutil.copytree(finished / "checkpoints", tmp_path / "run" / "checkpoints")
    for command in ("evaluate", "report", "predict"):
        more = {"report": ["--out", tmp_path / "x.html"], "predict": [tmp_path / "x.png"]}.get(command, [])
        assert "is not finished" in autoconv_(command, tmp_path / "run", *more, code=1), command
    out = autoconv_("train", "--out", tmp_path / "run", "--resume")
    assert "all epochs are done; only the test remains" in out
    assert sha256(tmp_path / "run") == sha256(finished)
    (tmp_path / "run" / "run.json").unlink()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    shutil.copytree(finished / "checkpoints", tmp_path / "run" / "checkpoints")
    for name in ("history.csv", "model.safetensors"):
        (tmp_path / "run" / name).unlink()
    out = autoconv_("train", "digits", "--limit", "64", "--epochs", "1", "--out", tmp_path / "run")
    assert "contains an unfinished training, which --resume would continue" in out


def test_other_data_are_refused(tmp_path):
    import numpy as np

    def write(seed):
        rng = np.random.default_rng(seed)
        arrays = {"x_train": rng.integers(0, 255, (64, 20, 20)), "y_train": np.arange(64) % 3,
                  "x_test": rng.integers(0, 255, (9, 20, 20)), "y_test": np.arange(9) % 3}
        np.savez(tmp_path / "mnist.npz", **{name: a.astype(np.uint8) for name, a in arrays.items()})

    write(1)
    line = ("train", "mnist", "--data-dir", tmp_path, "--out", tmp_path / "run", "--resume", "--epochs")
    autoconv_(*line, "1")
    write(2)
    assert "The data and batch settings must be the same" in autoconv_(*line, "2", code=1)


def test_a_damaged_state_is_said_and_the_one_before_is_used(whole, tmp_path):
    run = tmp_path / "run"
    assert killed_at_an_event(run, 2, 70, 0.5)
    older, newest = sorted((run / "checkpoints").glob("0*.safetensors"))[-2:]
    newest.write_bytes(newest.read_bytes()[:-1000] + bytes(1000))
    with warnings.catch_warnings():
        warnings.simplefilter("always")  # as they are on the command line
        said = autoconv_("train", "--out", run, "--resume")
    assert said.count(f"{newest} is damaged") == 1
    assert f"The one before is used: {older.name}" in said
    assert sha256(run) == whole


@posix
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_and_keeps_all(whole, number, code, tmp_path):
    run = tmp_path / "run"
    with started("train", *TRAIN, "--checkpoint-every", "1h", "--out", run) as process:
        for line in process.stdout:
            if line.startswith("Epoch 2"):
                process.send_signal(number)
                break
        _, said = process.communicate()
    assert process.returncode == code
    assert "once more stops at once" in said
    assert re.search(r"run contains the training up to step \d+\. Run the same command with --resume to continue", said)
    assert said.endswith("Interrupted.\n")
    assert "Traceback" not in said
    assert "resume epoch" in autoconv_("train", "--out", run, "--resume")
    assert sha256(run) == whole


@posix
@pytest.mark.parametrize("how", ["nobody reads it", "it is closed"])
def test_a_signal_keeps_all_whatever_became_of_the_output(how, tmp_path):
    """As of `2>&1 | tee log`, where Ctrl-C ends tee first, and of `2>&-`."""
    run, closed = tmp_path / "run", how == "it is closed"
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "autoconv", "train", *TRAIN, "--checkpoint-every", "1h", "--out", str(run)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        preexec_fn=(lambda: os.close(2)) if closed else None)
    for line in process.stdout:
        if line.startswith("Epoch 2"):
            process.send_signal(signal.SIGTERM)
            break
    if closed:
        assert "Error" not in process.stdout.read()
    process.stdout.close()
    assert process.wait() == 143
    *_, newest = sorted((run / "checkpoints").iterdir())
    assert int(newest.stem[5:]) >= 60


@posix
def test_a_second_ctrl_c_stops_at_once(tmp_path):
    with started("train", *TRAIN, "--out", tmp_path / "run", "--checkpoint-every", "3steps", code=SLOW) as process:
        for line in process.stdout:
            if line == "saving\n":
                process.send_signal(signal.SIGINT)
                process.stderr.readline()  # it is said
                process.stderr.readline()
                process.send_signal(signal.SIGINT)
                break
        _, said = process.communicate()
    assert process.returncode == 130, said
    assert said == "Interrupted.\n"
    assert list(tmp_path.iterdir()) == []  # it did not wait until all was saved


def test_signals_in_turn():
    asked = []
    stop = signals.Stop()
    with pytest.raises(KeyboardInterrupt):
        stop.handle(signal.SIGINT, None)
    with pytest.raises(signals.Termination):
        stop.handle(signal.SIGTERM, None)
    with stop.orderly():
        stop.request_stop = lambda: asked.append(1)
        stop.handle(signal.SIGTERM, None)
        with pytest.raises(KeyboardInterrupt):
            stop.handle(signal.SIGINT, None)
    assert asked == [1]


def test_only_from_the_first_step_to_the_last_a_signal_waits(tmp_path):
    stop = signals.Stop()
    states = run_states.RunStates(tmp_path, ("seconds", 60), True, {}, stop)
    with stop.orderly():
        with pytest.raises(KeyboardInterrupt):  # while kernels are compiled
            stop.handle(signal.SIGINT, None)
        states.on_train_begin()
        stop.handle(signal.SIGINT, None)
        assert states.stop_requested
        with pytest.raises(KeyboardInterrupt):  # where it came after the last step
            states.on_train_end()


def test_saving_takes_less_than_a_hundredth_of_the_time(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    states = run_states.RunStates(tmp_path, ("seconds", 60), True, {}, signals.Stop())
    states.on_train_begin()

    def due(asked, *times):
        found = []
        for clock[0] in times:
            found.append(asked())
        return found

    assert due(lambda: states.is_due(1, 0.02), 159.9, 160.1, 161, 220, 220.2) == [False, True, False, False, True]
    # The ends of epochs, after a state that took 20 ms.
    assert due(lambda: states.is_due_at_epoch_end(0.02), 221, 222.1, 222.3, 224.4) == [False, False, True, True]


# A disk that takes nothing more.


@contextlib.contextmanager
def disk(path, size):
    """A disk of that size at `path`, in memory."""
    path.mkdir()
    if sys.platform != "linux" or os.geteuid() or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True).returncode:
        pytest.skip("only root can mount a disk")
    try:
        yield path
    finally:
        subprocess.run(["umount", path], check=True)


def test_a_full_disk_costs_no_training_that_was_saved(whole, tmp_path):
    with disk(tmp_path / "disk", "1m") as place:
        run = place / "run"
        said = said_by("train", *TRAIN, "--out", run, code=1)
        assert "state could not be saved" in said
        assert "States that were saved before stay, and training goes on" in said
        assert said.endswith(f"Error: --out {run} cannot be written: No space left on device.\n")
        assert [path.name for path in place.rglob("*") if path.is_file()] == ["0001-000000030.safetensors"]
        subprocess.run(["mount", "-o", "remount,size=9m", place], check=True)
        assert "resume epoch 2 of 6: continuing from there" in autoconv_("train", *TRAIN, "--out", run, "--resume")
        assert sha256(run) == whole


def test_a_folder_that_can_only_be_read_is_refused_before_the_training(tmp_path):
    with disk(tmp_path / "disk", "1m") as place:
        subprocess.run(["mount", "-o", "remount,ro", place], check=True)
        said = autoconv_("train", *TRAIN, "--out", place / "run", code=1)
        assert "cannot be written: Read-only file system" in said
        assert "Epoch" not in said


@posix
@pytest.mark.soak
def test_a_quota_ends_no_training(whole, tmp_path):
    """A limit of the files' size, which the net fits in, and the training's state does not."""
    import resource

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))

    said = said_by("train", *TRAIN, "--out", tmp_path / "run", preexec_fn=limit)
    assert "note: The training's state could not be saved" in said
    assert "File too large" in said
    assert sha256(tmp_path / "run") == whole
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert "is finished" in autoconv_("train", *TRAIN, "--out", tmp_path / "run", "--resume")
