"""`pictures.grids`: drawings of grids of numbers."""

import re
import xml.dom.minidom

import numpy as np
import pytest

from autoconv.pictures.grids import Grid, draw, draw_convolution, matrix


def texts(file):
    document = xml.dom.minidom.parse(str(file))
    return [text.firstChild.data for text in document.getElementsByTagName("text")]


def test_a_grid_shows_its_title_and_numbers(tmp_path):
    draw(tmp_path / "a.svg", Grid(matrix("1 -2.5 / 0.001 10"), "a < b & c"))
    assert texts(tmp_path / "a.svg") == ["a < b & c", "1", "−2.5", "0", "10"]


def test_each_position_of_the_window_shows_its_products(tmp_path):
    image, kernel, result = matrix("1 2 3 / 4 5 6"), matrix("1 -1 / 0 2"), matrix("9 11")
    draw_convolution(tmp_path / "a.svg", image, kernel, result)
    lines = [text for text in texts(tmp_path / "a.svg") if "=" in text]
    assert lines == ["1·1 + (−1)·2 + 0·4 + 2·5 = 9", "1·2 + (−1)·3 + 0·5 + 2·6 = 11"]


@pytest.mark.parametrize("options", [{"strides": 2}, {"dilation": 2}])
def test_a_border_that_would_be_drawn_wrongly_is_refused(tmp_path, options):
    image, kernel = np.zeros((4, 4)), np.ones((3, 3))
    with pytest.raises(ValueError, match=re.escape("same=True needs a square kernel of odd size, strides=1")):
        draw_convolution(tmp_path / "a.svg", image, kernel, image, same=True, **options)
    with pytest.raises(ValueError, match="Received: kernel of shape"):
        draw_convolution(tmp_path / "a.svg", image, np.ones((2, 2)), image, same=True)
