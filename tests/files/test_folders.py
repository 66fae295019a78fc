"""A folder of files is replaced at one stroke: whatever comes in between leaves the old files or the new ones."""

import os
import subprocess
import sys
import threading

import pytest

from autoconv.files import folders

NAMES = ("model", "results", "history")
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="steps are interrupted in processes of POSIX")

# Replaces a folder, and comes to an end at line number `at` of folders.py: by Ctrl-C, or as by SIGKILL.
REPLACE = """
import os, sys
from pathlib import Path
from autoconv.files import folders
NAMES = ("model", "results", "history")
folder, way, end, most = Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
if way != "exchange":
    folders._exchange = lambda a, b: False

def replace(text):
    with folders.replacing(folder, NAMES) as new:
        for name in NAMES:
            (new / name).write_text(text)

def interrupted(at):
    left = at
    def trace(frame, event, _):
        nonlocal left
        if not frame.f_code.co_filename.endswith("folders.py"):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os._exit(9) if end == "kill" else (_ for _ in ()).throw(KeyboardInterrupt)
        return trace
    sys.settrace(trace)
    try:
        replace("new")
    except KeyboardInterrupt:
        os._exit(2)
    os._exit(0)

for at in range(1, most):
    replace("old")
    pid = os.fork()
    if not pid:
        interrupted(at)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    found = {folders.place(folder, name).read_text() for name in NAMES}
    folders.finish(folder, NAMES)
    again = {(folder / name).read_text() for name in NAMES}
    print(code, *found)
    assert len(found) == 1 and found == again, (at, found, again)
    if code == 0:
        break
replace("last")
print(*sorted(os.listdir(folder.parent)), *sorted(os.listdir(folder)))
"""


@pytest.mark.slow
@pytest.mark.parametrize("end", ["interrupt", "kill"])
@pytest.mark.parametrize("way", ["exchange", "within", "with others"])
def test_an_end_at_any_step_leaves_the_old_files_or_the_new_ones(way, end, tmp_path):
    folder = tmp_path / "run"
    if way == "with others":
        folder.mkdir()
        (folder / "notes").write_text("mine")
    done = subprocess.run([sys.executable, "-c", REPLACE, str(folder), way, end, "400"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    *steps, last = done.stdout.splitlines()
    seen = {(step.split()[0] == "0", step.split()[1]) for step in steps}
    assert seen == {(False, "old"), (False, "new"), (True, "new")}
    assert last.split() == sorted(["run"]) + sorted([*NAMES, *(["notes"] if way == "with others" else [])])


def write(folder, text):
    with folders.replacing(folder, NAMES) as new:
        for name in NAMES:
            (new / name).write_text(text)


def texts(folder):
    return {(folder / name).read_text() for name in NAMES}


def test_leavings_of_ended_processes_are_removed_and_those_of_living_ones_stay(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for name in (f".run.{ended.pid}.tmp", f".run.{os.getpid()}-00ff.tmp", f".run.{ended.pid}-00ff.tmp"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").write_text("half")
    (tmp_path / ".run.tmp").mkdir()  # none of ours
    with folders.replacing(tmp_path / "run", NAMES) as first:
        write(tmp_path / "run", "other")
        assert first.is_dir()
        assert sorted(p.name for p in tmp_path.iterdir()) == sorted([first.name, ".run.tmp", "run"])
        for name in NAMES:
            (first / name).write_text("first")
    assert texts(tmp_path / "run") == {"first"}
    assert sorted(p.name for p in tmp_path.iterdir()) == [".run.tmp", "run"]


def test_a_process_of_a_number_that_was_used_before_is_not_held_up(tmp_path):
    (tmp_path / f".run.{os.getpid()}.tmp").mkdir()
    write(tmp_path / "run", "new")
    assert texts(tmp_path / "run") == {"new"}


def test_what_fails_leaves_the_old_files(tmp_path):
    write(tmp_path / "run", "old")
    with pytest.raises(FileNotFoundError), folders.replacing(tmp_path / "run", NAMES) as new:
        (new / "model").rename(new / "results")
    assert texts(tmp_path / "run") == {"old"}
    assert [p.name for p in tmp_path.iterdir()] == ["run"]


def test_a_link_to_a_folder_stays_one(tmp_path):
    write(tmp_path / "real", "old")
    (tmp_path / "run").symlink_to("real")
    write(tmp_path / "run", "new")
    assert (tmp_path / "run").is_symlink()
    assert texts(tmp_path / "real") == {"new"}


@pytest.mark.parametrize("way", ["exchange", "within"])
def test_readers_and_writers_at_once(way, tmp_path, monkeypatch):
    if way == "within":
        monkeypatch.setattr(folders, "_exchange", lambda a, b: False)
    folder, stop, seen = tmp_path / "run", threading.Event(), set()
    write(folder, "0")

    def read():
        while not stop.is_set():
            before = folders.stamp(folder, NAMES)
            try:
                found = tuple(folders.place(folder, name).read_text() for name in NAMES)
            except OSError:
                continue
            if folders.stamp(folder, NAMES) == before:
                seen.add(found)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    writers = [threading.Thread(target=lambda i=i: [write(folder, f"{i} {n}") for n in range(40)]) for i in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    stop.set()
    for reader in readers:
        reader.join()
    assert len(seen) > 1
    assert all(len(set(found)) == 1 for found in seen)
    assert [p.name for p in tmp_path.iterdir()] == ["run"]
    assert sorted(p.name for p in folder.iterdir()) == sorted(NAMES)
