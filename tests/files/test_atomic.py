"""Files are whole or not there, whatever comes in between."""

import os
import stat
import threading

import pytest

from autoconv.files import atomic


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_text_and_bytes_replace_what_was_there(tmp_path):
    for data, expected in (("one\n", b"one\n"), (b"two", b"two")):
        atomic.write(tmp_path / "file", data)
        assert (tmp_path / "file").read_bytes() == expected
    assert names(tmp_path) == ["file"]


def test_what_fails_leaves_what_was_there(tmp_path, monkeypatch):
    atomic.write(tmp_path / "file", "old")

    def fail(part):
        part.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), atomic.replacing(tmp_path / "file") as part:
        fail(part)
    monkeypatch.setattr(atomic, "flush", fail)
    with pytest.raises(KeyboardInterrupt):
        atomic.write(tmp_path / "file", "new")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_leavings_under_the_same_name_hold_nobody_up(tmp_path):
    first, second = atomic.temporary_path(tmp_path / "file"), atomic.temporary_path(tmp_path / "file")
    assert first != second
    assert first.parent == second.parent == tmp_path


def test_where_nothing_can_be_written_is_said_before(tmp_path):
    atomic.check_writable(tmp_path / "file")
    assert names(tmp_path) == []
    with pytest.raises(OSError, match="file"):
        atomic.check_writable(tmp_path / "none" / "file")
    with pytest.raises(FileNotFoundError, match=r"file'$"):  # by its own name
        atomic.write(tmp_path / "none" / "file", "text")


def test_links_stay_and_what_they_lead_to_is_replaced(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "second").symlink_to("real/file")  # relative, and nothing is there yet
    (tmp_path / "first").symlink_to(tmp_path / "second")
    for text in ("new", "newer"):
        atomic.check_writable(tmp_path / "first")
        atomic.write(tmp_path / "first", text)
        assert (tmp_path / "real" / "file").read_text() == text
        assert names(tmp_path / "real") == ["file"]
        assert names(tmp_path) == ["first", "real", "second"]
        assert all((tmp_path / name).is_symlink() for name in ("first", "second"))
    (tmp_path / "circle").symlink_to("circle")
    for function in (atomic.check_writable, lambda path: atomic.write(path, "text")):
        with pytest.raises(OSError, match="circle"):
            function(tmp_path / "circle")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="FIFOs of POSIX")
def test_a_fifo_gets_what_is_written(tmp_path):
    fifo, found = tmp_path / "fifo", []
    os.mkfifo(fifo)
    atomic.check_writable(fifo)  # and waits for nobody
    reader = threading.Thread(target=lambda: found.append(fifo.read_bytes()))
    reader.start()
    atomic.write(fifo, b"all of it" * 99_999)
    reader.join()
    assert found == [b"all of it" * 99_999]
    assert names(tmp_path) == ["fifo"]
    assert stat.S_ISFIFO(fifo.stat().st_mode)
    with pytest.raises(OSError, match="fifo"), atomic.replacing(fifo):
        pytest.fail("a FIFO is not replaced")


def test_a_file_that_a_process_has_open_gets_what_is_written(tmp_path):
    """As /dev/stdout, where the output goes to a file."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("open files have no names here")
    with open(tmp_path / "log", "a") as log:
        (tmp_path / "link").symlink_to(f"/proc/self/fd/{log.fileno()}")
        for text in ("first\n", "second\n"):
            log.write(text)
            log.flush()
            atomic.write(tmp_path / "link", text.upper())
    assert (tmp_path / "log").read_text() == "first\nFIRST\nsecond\nSECOND\n"
    assert names(tmp_path) == ["link", "log"]
