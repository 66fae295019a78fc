"""The random numbers: the published generator, the same for the same seed, and spread as they should be."""

import numba
import numpy as np
import pytest
import reference

from autoconv import functional as F
from autoconv import random
from autoconv.kernels.cpu import random as kernels

ONES, PI = [0xFFFFFFFF] * 4, [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344]
KNOWN_ANSWERS = [  # counter, key, words: from the Random123 distribution (kat_vectors, philox4x32 10)
    ([0, 0, 0, 0], [0, 0], [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
    (ONES, ONES[:2], [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
    (PI, [0xA4093822, 0x299F31D0], [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]),
]


@pytest.fixture(autouse=True)
def same_state_afterwards():
    before = random.state()
    yield
    random.set_state(before)


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN_ANSWERS)
def test_known_answers(counter, key, words):
    out = np.empty(4, np.float32)
    seed, block, stream = (np.uint64(low + (high << 32)) for low, high in (key, counter[:2], counter[2:]))
    kernels.bits(out, seed, stream, block)
    assert out.view(np.uint32).tolist() == words
    assert list(reference.philox(counter, key)) == words


def test_words_are_those_of_the_definition():
    expected = [w for block in range(3) for w in reference.philox((block, 0, 9, 0), (3, 1))]
    assert random.bits(11, key=(3 + 2**32, 9)).tolist() == expected[:11]


def draws():
    return [random.uniform((3, 2)), random.normal((5,)), random.permutation(7), random.bits(3),
            F.dropout(np.ones(50), 0.5).numpy()]


def test_same_seed_same_numbers():
    random.set_seed(42)
    first = draws()
    random.set_seed(42)
    for a, b in zip(first, draws()):
        np.testing.assert_array_equal(a, b)
    assert all((a != b).any() for a, b in zip(first, draws()))  # each draw is a new one
    random.set_seed(43)
    assert all((a != b).any() for a, b in zip(first, draws()))


def test_state_continues():
    random.set_seed(1)
    random.uniform((2,))
    state = random.state()
    expected = draws()
    random.set_state(state)
    for a, b in zip(expected, draws()):
        np.testing.assert_array_equal(a, b)


def test_a_key_leaves_the_streams_alone():
    before = random.state()
    a, b = random.uniform((4,), key=(1, 2)), random.uniform((4,), key=(1, 2))
    np.testing.assert_array_equal(a, b)
    assert random.state() == before


def test_same_numbers_in_both_dtypes():
    a, b = (random.uniform((100,), -1, 1, dtype, key=(0, 1)) for dtype in ("float32", "float64"))
    assert (a.dtype, b.dtype) == (np.float32, np.float64)
    np.testing.assert_allclose(a, b, rtol=1e-6)


def test_same_numbers_for_any_number_of_threads():
    many = random.bits(10_001, key=(0, 1))
    numba.set_num_threads(1)
    try:
        np.testing.assert_array_equal(random.bits(10_001, key=(0, 1)), many)
    finally:
        numba.set_num_threads(numba.config.NUMBA_NUM_THREADS)


def test_uniform():
    x = random.uniform((100, 1000), key=(0, 1))
    assert x.shape == (100, 1000)
    assert x.min() >= 0
    assert x.max() < 1
    counts = np.histogram(x, 16, (0, 1))[0]
    assert ((counts - 6250) ** 2 / 6250).sum() < 40  # chi-squared with 15 degrees of freedom: 1 in 2000 is above
    assert abs(np.corrcoef(x.flat[:-1], x.flat[1:])[0, 1]) < 0.02
    assert random.uniform((), 2, 3, key=(0, 1)).shape == ()


def test_normal():
    x = random.normal((100_000,), mean=3, stddev=2, dtype="float64", key=(0, 1))
    z = (x - 3) / 2
    assert abs(z.mean()) < 0.02
    assert abs(z.std() - 1) < 0.02
    assert abs((z**4).mean() - 3) < 0.15
    assert abs((np.abs(z) < 1).mean() - 0.6827) < 0.01


def test_permutation():
    order = random.permutation(10_000, key=(0, 1))
    np.testing.assert_array_equal(np.sort(order), np.arange(10_000))
    assert abs(np.corrcoef(order, np.arange(10_000))[0, 1]) < 0.05
    firsts = [random.permutation(4, key=(0, stream))[0] for stream in range(120)]
    assert (np.bincount(firsts) > 15).all()
    assert random.permutation(0, key=(0, 1)).shape == (0,)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.5, "7", True, None])
def test_a_seed_is_a_whole_number(seed):
    with pytest.raises(ValueError, match="between 0 and"):
        random.set_seed(seed)
