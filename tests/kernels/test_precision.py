"""The choice between speed and digits on a GPU. What it does there, test_cuda.py checks."""

import numpy as np
import pytest

import autoconv as ac
from autoconv import functional as F


def test_tf32_at_the_start_and_highest_on_demand():
    assert ac.get_precision() == "tf32"
    ac.set_precision("highest")
    try:
        assert ac.get_precision() == "highest"
    finally:
        ac.set_precision("tf32")


@pytest.mark.parametrize("word", ["high", "TF32", None, 32])
def test_other_words_are_an_error(word):
    with pytest.raises(ValueError, match=r"precision must be 'highest' or 'tf32'\. Received: "):
        ac.set_precision(word)
    assert ac.get_precision() == "tf32"


def test_the_cpu_is_exact_all_the_same():
    x = np.array([[1 + 2.0**-20]], np.float32)
    assert F.dense(x, np.ones((1, 1), np.float32)).numpy().item() == x.item()
