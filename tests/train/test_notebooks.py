"""What is shown in a notebook, one updated output with a line an epoch, and on a narrow terminal."""

import io
import os
import re

import numpy as np
import pytest

from autoconv import layers, models
from autoconv.programs.cli import lines
from autoconv.train.display import Cell
from autoconv.train.progress import Progress

CELL = """
import numpy as np
import autoconv.train.progress
from autoconv import layers, models

autoconv.train.progress.INTERVAL = 0.0  # a line at every step
model = models.Sequential([layers.Input((4,)), layers.Dense(2)])
model.compile("sgd", "mse")
x = np.ones((40, 4), "float32")
model.fit(x, x[:, :2], batch_size=4, epochs=3, validation_split=0.2)
model.evaluate(x, x[:, :2]);
"""
EPOCH = r"Epoch {}/3 - \d+/\d+ ━+ \d+s \d+(us|ms)/step - loss: \S+ - val_loss: \S+"


@pytest.mark.filterwarnings("default")
def test_a_notebook_that_nbconvert_runs_has_one_line_an_epoch():
    nbformat, nbconvert, client = (pytest.importorskip(name) for name in ("nbformat", "nbconvert", "nbclient"))
    pytest.importorskip("ipykernel")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    client.NotebookClient(book, timeout=120).execute()
    trained, tested = book.cells[0].outputs
    lines = trained["data"]["text/plain"].splitlines()
    assert len(lines) == 3
    assert all(re.fullmatch(EPOCH.format(i), line) for i, line in enumerate(lines, 1))
    assert re.fullmatch(r"2/2 ━+ \d+s \d+(us|ms)/step - loss: \S+", tested["data"]["text/plain"])
    page, _ = nbconvert.HTMLExporter().from_notebook_node(book)
    assert page.count("ms/step") + page.count("us/step") == 4
    assert "━\n" not in page


@pytest.mark.filterwarnings("default")
def test_a_notebook_shows_the_figure_in_the_last_line_of_a_cell():
    for name in ("matplotlib", "ipykernel"):
        pytest.importorskip(name)
    nbformat, client = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(
        "from autoconv import pictures\npictures.curves({'loss': [2.0, 1.0]})")])
    client.NotebookClient(book, timeout=120).execute()
    (shown,) = book.cells[0].outputs
    assert "image/png" in shown["data"]


class Terminal(io.StringIO):
    def isatty(self):
        return True


class Handle:
    """What IPython.display.display returns: it keeps the contents that were shown."""

    def __init__(self):
        self.shown = []

    def display(self, content, raw, display_id):
        assert (raw, display_id, self.shown) == (True, True, [])  # one output
        self.shown.append(content["text/plain"])
        return self

    def update(self, content, raw):
        self.shown.append(content["text/plain"])


def test_one_output_is_updated(monkeypatch):
    """The same without a notebook."""
    handle = Handle()
    monkeypatch.setattr("autoconv.train.progress.INTERVAL", 0.0)
    monkeypatch.setattr("autoconv.train.progress.open_display", lambda stream, live: Cell(stream, handle.display))
    model = models.Sequential([layers.Input((4,)), layers.Dense(2)])
    model.compile("sgd", "mse")
    x = np.ones((40, 4), "float32")
    model.fit(x, x[:, :2], batch_size=4, epochs=3, validation_split=0.2)
    assert len(handle.shown) > 12  # each step of each epoch
    lines = handle.shown[-1].splitlines()
    assert all(re.fullmatch(EPOCH.format(i), line) for i, line in enumerate(lines, 1))


def test_the_command_line_s_own_lines_are_broken_between_words_on_a_narrow_terminal(monkeypatch):
    """A file gets them whole."""
    text = "data   Digits, 14,000 training and 2,000 test images of 28 x 28 x 1, from /home/somebody/datasets/digits"
    assert lines.wrap(text) == text
    monkeypatch.setattr("sys.stdout", Terminal())
    monkeypatch.setattr("shutil.get_terminal_size", lambda: os.terminal_size((60, 24)))
    assert lines.wrap(text).splitlines() == [
        "data   Digits, 14,000 training and 2,000 test images of 28",
        "       x 28 x 1, from /home/somebody/datasets/digits"]


def test_a_command_that_a_cell_starts_writes_a_line_an_epoch(monkeypatch):
    """`!autoconv train` has a terminal for its output, of which the page keeps everything."""
    stream = Terminal()
    monkeypatch.setattr("sys.stdout", stream)
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    monkeypatch.setattr("autoconv.train.progress.INTERVAL", 0.0)
    line = Progress(2, title="Epoch 1/1")
    line.update(1, dict)
    line.update(2, dict)
    line.finish({"loss": 0.5})
    assert re.fullmatch(r"Epoch 1/1 - 2/2 - 0s \S+/step - loss: 0.5000\n", stream.getvalue())
