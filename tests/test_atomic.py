"""Files are whole or not there, whatever comes in between."""

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
    first, second = atomic.unfinished(tmp_path / "file"), atomic.unfinished(tmp_path / "file")
    assert first != second
    assert first.parent == second.parent == tmp_path


def test_where_nothing_can_be_written_is_said_before(tmp_path):
    atomic.check_writable(tmp_path / "file")
    assert names(tmp_path) == []
    with pytest.raises(OSError, match="file"):
        atomic.check_writable(tmp_path / "none" / "file")
