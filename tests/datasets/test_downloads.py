"""Downloads against mirrors on this computer: order, digests, bad answers, silence, and what is left on the disk."""

import gzip
import hashlib
import http.server
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from autoconv import datasets
from autoconv.datasets import DatasetNotFound, download, known_sets
from autoconv.datasets.idx_set import STEMS
from autoconv.datasets.known_sets import Digest, Entry

REAL = os.environ.get("AUTOCONV_DATA", "")
REFUSING = "http://127.0.0.1:9"


def idx_bytes(array):
    return bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()


def contents():
    """The raw IDX bytes of a small set in MNIST's format, by file name."""
    rng = np.random.default_rng(3)
    raw = {}
    for stem, count in zip(STEMS, (30, 30, 10, 10), strict=True):
        images = rng.integers(0, 256, (count, 28, 28), np.uint8)
        labels = np.arange(count, dtype=np.uint8) % 10
        raw[f"{stem}.gz"] = idx_bytes(images if "images" in stem else labels)
    return raw


RAW = contents()
GOOD = {name: gzip.compress(raw, mtime=0) for name, raw in RAW.items()}
FIRST = f"{STEMS[0]}.gz"


class Mirror:
    """A server on localhost: `files` maps a file's name to bytes, to a status, or to a function of the handler."""

    def __init__(self, files):
        self.files, self.asked, self.closing = dict(files), [], threading.Event()
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                mirror.asked.append(self.path)
                answer = mirror.files.get(self.path.rsplit("/", 1)[-1], 404)
                if callable(answer):
                    answer(self)
                    return
                self.send_response(200 if isinstance(answer, bytes) else answer)
                self.send_header("Content-Length", str(len(answer) if isinstance(answer, bytes) else 0))
                self.end_headers()
                if isinstance(answer, bytes):
                    self.wfile.write(answer)

            def log_message(self, *_):
                """Keeps the server silent."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def close(self):
        self.closing.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def mirror():
    """A function that starts a mirror with the given files, which ends with the test."""
    running = []

    def start(files):
        running.append(Mirror(files))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    """The (absent) cache folder of MNIST, whose digests are those of the small set; no other place is set."""
    monkeypatch.delenv("AUTOCONV_DATA", raising=False)
    monkeypatch.delenv("AUTOCONV_MIRRORS", raising=False)
    monkeypatch.setenv("AUTOCONV_CACHE_DIR", str(tmp_path))
    publish(monkeypatch, "contents", RAW)
    return tmp_path / "datasets" / "mnist"


def publish(monkeypatch, over, files):
    digests = {name: Digest(over, hashlib.md5(raw).hexdigest(), "this test") for name, raw in files.items()}
    entry = Entry("mnist", "MNIST", "", "", "idx", (28, 28), tuple("0123456789"), (f"{REFUSING}/own/",), digests)
    monkeypatch.setattr(known_sets, "entries", lambda: {"mnist": entry})


def use(monkeypatch, *urls):
    monkeypatch.setenv("AUTOCONV_MIRRORS", " ".join(urls))


def left_in(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def failure(patience=20.0):
    """The message of the DatasetNotFound that loading MNIST must raise."""
    with pytest.raises(DatasetNotFound) as caught:
        datasets.load("mnist", patience=patience)
    return str(caught.value)


def test_a_download_fills_the_cache_once_and_prints_nothing(monkeypatch, mirror, cache, capfd):
    server = mirror(GOOD)
    use(monkeypatch, server.url)
    assert datasets.locate("mnist") is None
    (x_train, y_train), (x_test, y_test) = datasets.mnist.load_data()
    assert (x_train.shape, y_train.shape, x_test.shape, y_test.shape) == ((30, 28, 28), (30,), (10, 28, 28), (10,))
    assert x_train.tobytes() == RAW[FIRST][16:]
    assert left_in(cache) == sorted(GOOD)
    assert server.asked == [f"/mnist/{name}" for name in GOOD]
    assert datasets.locate("mnist") == cache
    datasets.mnist.load_data()
    assert len(server.asked) == 4
    assert capfd.readouterr() == ("", "")


def test_mirrors_are_tried_in_order_and_what_is_whole_is_kept(monkeypatch, mirror, cache):
    absent, half, whole = mirror({}), mirror({FIRST: GOOD[FIRST]}), mirror(GOOD)
    use(monkeypatch, REFUSING, absent.url, half.url, whole.url)
    datasets.mnist.load_data()
    assert absent.asked == [f"/mnist/{FIRST}"]
    assert half.asked == [f"/mnist/{name}" for name in list(GOOD)[:2]]
    assert whole.asked == [f"/mnist/{name}" for name in list(GOOD)[1:]]
    assert left_in(cache) == sorted(GOOD)


def test_the_digest_over_the_contents_admits_another_packing_and_none_at_all(monkeypatch, mirror):
    repacked = {name: gzip.compress(raw, 1, mtime=5) for name, raw in RAW.items()} | {FIRST: RAW[FIRST]}
    use(monkeypatch, mirror(repacked).url)
    assert datasets.mnist.load_data()[0][0].tobytes() == RAW[FIRST][16:]


def test_the_digest_over_the_archive_admits_no_other_packing(monkeypatch, mirror):
    publish(monkeypatch, "archive", GOOD)
    use(monkeypatch, mirror({name: gzip.compress(raw, 1, mtime=5) for name, raw in RAW.items()}).url)
    assert "the MD5 of the archive must be" in failure()
    use(monkeypatch, mirror(GOOD).url)
    assert len(datasets.mnist.load_data()[0][0]) == 30


def cut(handler):
    """Promises the whole file, sends half of it and hangs up."""
    handler.send_response(200)
    handler.send_header("Content-Length", str(len(GOOD[FIRST])))
    handler.end_headers()
    handler.wfile.write(GOOD[FIRST][: len(GOOD[FIRST]) // 2])


WRONG = gzip.compress(RAW[FIRST][:-1] + bytes([RAW[FIRST][-1] ^ 1]), mtime=0)  # the time would be in the names of tests


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (404, "404"),
        (503, "503"),
        (b"<!DOCTYPE html><html>Log in</html>", r"a web page \(HTML\) instead"),
        (b"", "the MD5 of the contents must be"),
        (WRONG, "the MD5 of the contents must be"),
        (gzip.compress(RAW[FIRST] + b"x", mtime=0), "the MD5 of the contents must be"),
        (GOOD[FIRST][:-9], "the .gz file is truncated or damaged"),
        (cut, "IncompleteRead"),
    ],
)
def test_a_bad_answer_is_told_and_leaves_nothing(monkeypatch, mirror, cache, answer, why):
    bad, good = mirror(GOOD | {FIRST: answer}), mirror(GOOD)
    use(monkeypatch, bad.url)
    message = failure()
    assert left_in(cache) == []
    assert re.search(rf"download: {bad.url}/mnist/: {FIRST}: .*{why}", message), message
    use(monkeypatch, bad.url, good.url)
    assert datasets.mnist.load_data()[0][0].tobytes() == RAW[FIRST][16:]
    assert left_in(cache) == sorted(GOOD)


def test_the_message_names_every_place_and_what_to_do_instead(monkeypatch, tmp_path, cache):
    monkeypatch.setenv("AUTOCONV_DATA", str(tmp_path / "mine"))
    use(monkeypatch, REFUSING, "http://localhost:9/base")
    message = failure()
    for part in (f"AUTOCONV_DATA: {tmp_path / 'mine' / 'mnist'} does not exist", f"cache: {cache} does not exist",
                 f"download: {REFUSING}/mnist/: {FIRST}: ", "download: http://localhost:9/base/mnist/: ", "refused",
                 "`autoconv train digits`", "--data-dir FOLDER", "AUTOCONV_DATA=FOLDER"):
        assert part in message
    monkeypatch.delenv("AUTOCONV_DATA")
    monkeypatch.delenv("AUTOCONV_MIRRORS")
    assert "AUTOCONV_DATA: not set" in failure()
    assert f"download: {REFUSING}/own/: " in failure()  # the registry's own mirror


def test_a_bad_file_in_the_cache_is_named_removed_and_fetched_again(monkeypatch, mirror, cache):
    cache.mkdir(parents=True)
    for name, packed in GOOD.items():
        (cache / name).write_bytes(packed)
    (cache / FIRST).write_bytes(GOOD[FIRST][:-20])
    use(monkeypatch, REFUSING)
    assert f"cache: a bad file was there and has been removed: {cache / FIRST}" in failure()
    assert left_in(cache) == sorted(set(GOOD) - {FIRST})
    server = mirror(GOOD)
    use(monkeypatch, server.url)
    assert len(datasets.mnist.load_data()[0][0]) == 30
    assert server.asked == [f"/mnist/{FIRST}"]
    (cache / STEMS[1]).write_bytes(b"<html>")  # unpacked by hand, so that the registry has no digest of it
    assert len(datasets.mnist.load_data()[0][0]) == 30
    assert left_in(cache) == sorted(GOOD)


def test_of_several_bad_files_in_the_cache_none_is_left(monkeypatch, mirror, cache):
    cache.mkdir(parents=True)
    for name, packed in GOOD.items():
        (cache / name).write_bytes(packed)
    other = gzip.compress(idx_bytes(np.zeros((29, 28, 28), np.uint8)))  # sound, but not this set's: the labels are
    (cache / FIRST).write_bytes(other)
    (cache / f"{STEMS[3]}.gz").write_bytes(b"<html>")
    server = mirror(GOOD)
    use(monkeypatch, server.url)
    assert datasets.mnist.load_data()[0][0].tobytes() == RAW[FIRST][16:]
    assert {name: (cache / name).read_bytes() for name in left_in(cache)} == GOOD


def test_a_full_disk_is_told(monkeypatch, mirror, cache):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download._Sink, "write", full)
    use(monkeypatch, mirror(GOOD).url)
    assert f"{FIRST}: No space left on device" in failure()
    assert left_in(cache) == []


# --- Silence ----------------------------------------------------------------------------------------------------------


def silent(handler):
    """Takes the request and never answers."""
    handler.server.stop.wait(20)


def drip(handler):
    """Sends a byte now and then, so that no time-out of the connection strikes."""
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    while not handler.server.stop.wait(0.1):
        handler.wfile.write(b"x")
        handler.wfile.flush()


@pytest.mark.parametrize("answer", [silent, drip])
def test_silent_and_dripping_mirrors_cost_no_more_than_the_patience(monkeypatch, mirror, cache, answer):
    servers = [mirror({FIRST: answer}) for _ in range(4)]
    for server in servers:
        server.server.stop = server.closing
    monkeypatch.setattr(download, "STALL", 0.5)
    use(monkeypatch, *(server.url for server in servers))
    message = failure(patience=1.0)
    assert message.count("not tried, because the 1 s for waiting were used up") == 2
    assert [len(server.asked) for server in servers] == [1, 1, 0, 0]
    assert left_in(cache) == []


def test_a_look_up_of_names_that_hangs_costs_no_more_than_the_patience(monkeypatch):
    answered = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: answered.wait())
    use(monkeypatch, "http://no.such.host")
    try:
        assert "no data for 0.4 s" in failure(patience=0.4)
    finally:
        answered.set()


def test_a_slow_download_that_makes_progress_is_not_given_up(monkeypatch, mirror):
    def slow(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(GOOD[FIRST])))
        handler.end_headers()
        for at in range(0, len(GOOD[FIRST]), 4000):
            handler.wfile.write(GOOD[FIRST][at : at + 4000])
            time.sleep(0.2)

    monkeypatch.setattr(download, "CHUNK", 1000)
    use(monkeypatch, mirror(GOOD | {FIRST: slow}).url)
    begun = time.monotonic()
    datasets.load("mnist", patience=0.5)
    assert time.monotonic() - begun > 0.6


def test_the_default_patience_answers_within_thirty_seconds():
    assert download.PATIENCE + 5 <= 30
    assert 2 * download.STALL <= download.PATIENCE  # two mirrors are tried at least


# --- What is left behind ----------------------------------------------------------------------------------------------


def test_an_interrupted_download_leaves_nothing(monkeypatch, mirror, cache):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(download, "verify", interrupt)
    use(monkeypatch, mirror(GOOD).url)
    with pytest.raises(KeyboardInterrupt):
        datasets.mnist.load_data()
    assert left_in(cache) == []


def test_a_killed_download_leaves_no_file_of_the_set_and_is_swept_away(monkeypatch, mirror, cache):
    server = mirror({FIRST: drip})
    server.server.stop = server.closing
    script = "from autoconv.datasets import load; load('mnist')"
    environment = {**os.environ, "AUTOCONV_MIRRORS": server.url}
    child = subprocess.Popen([sys.executable, "-c", script], env=environment, cwd=Path(__file__).parents[2])
    deadline = time.monotonic() + 15
    while not left_in(cache) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    child.wait()
    (part,) = cache.iterdir()
    assert part.suffix == ".tmp"
    assert datasets.locate("mnist") is None
    use(monkeypatch, mirror(GOOD).url)
    datasets.mnist.load_data()
    assert part.exists()  # it might be another process's
    os.utime(part, (0, 0))
    (cache / FIRST).unlink()
    datasets.mnist.load_data()
    assert left_in(cache) == sorted(GOOD)


def test_a_cache_that_cannot_be_written_is_told(monkeypatch, mirror, tmp_path):
    (tmp_path / "datasets").write_text("a file in the folder's place")
    use(monkeypatch, mirror(GOOD).url)
    assert f"{tmp_path / 'datasets' / 'mnist'} cannot be written" in failure()


@pytest.mark.mnist
@pytest.mark.skipif(not Path(REAL, "mnist").is_dir(), reason="AUTOCONV_DATA holds no MNIST")
def test_the_published_digests_admit_the_real_mnist(monkeypatch, mirror, cache):
    monkeypatch.undo()
    monkeypatch.delenv("AUTOCONV_DATA", raising=False)
    monkeypatch.setenv("AUTOCONV_CACHE_DIR", str(cache))
    use(monkeypatch, mirror({name: Path(REAL, "mnist", name).read_bytes() for name in GOOD}).url)
    assert datasets.mnist.load_data()[0][0].shape == (60_000, 28, 28)
