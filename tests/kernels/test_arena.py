"""The arena that a GPU's memory is handed out from, over memory of the host's. No GPU and no numba-cuda is needed."""

import gc
import threading

import numpy as np
import pytest

from autoconv.kernels.arena import ALIGNMENT, Arena

UNIT, SEGMENT = ALIGNMENT, 16 * ALIGNMENT


class Driver:
    """A driver with so many bytes of memory."""

    def __init__(self, size=None):
        self.size, self.asked = size, []

    def allocate(self, size):
        self.asked.append(size)
        if self.size is not None and size > self.size:
            raise MemoryError("no more")
        if self.size is not None:
            self.size -= size
        return np.zeros(size, np.uint8)


def place(piece):
    return piece.segment.number, piece.start, piece.stop


def test_pieces_lie_beside_each_other_in_one_segment():
    driver = Driver()
    arena = Arena(driver.allocate, SEGMENT)
    pieces = [arena.take(size) for size in (1, UNIT, UNIT + 1)]
    assert [place(p) for p in pieces] == [(1, 0, UNIT), (1, UNIT, 2 * UNIT), (1, 2 * UNIT, 4 * UNIT)]
    assert driver.asked == [SEGMENT]
    assert (arena.allocated_bytes, arena.allocations) == (SEGMENT, 1)


def test_a_freed_piece_is_handed_out_again_with_its_view_and_in_any_dtype():
    arena = Arena(Driver().allocate, SEGMENT)
    piece = arena.take(UNIT)
    view = piece.view(5, np.dtype(np.float32))
    assert (view.shape, view.dtype) == ((5,), np.float32)
    arena.give_back(piece)
    again = arena.take(UNIT)
    assert place(again) == place(piece)
    assert again.view(5, np.dtype(np.float32)) is view
    view[0] = 1
    np.testing.assert_array_equal(again.view(4, np.dtype(np.uint8)), [0, 0, 128, 63])


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (0, 2, 1), (1, 0, 2)])
def test_freed_neighbours_grow_together(order):
    arena = Arena(Driver().allocate, SEGMENT)
    pieces = [arena.take(UNIT) for _ in range(3)]
    rest = arena.take(SEGMENT - 3 * UNIT)
    for i in order:
        arena.give_back(pieces[i])
    assert place(arena.take(3 * UNIT)) == (1, 0, 3 * UNIT)
    arena.give_back(rest)
    assert arena.take(SEGMENT - 3 * UNIT).stop == SEGMENT
    assert arena.allocations == 1


def test_the_smallest_that_fits_is_taken():
    arena = Arena(Driver().allocate, SEGMENT)
    large, wall, small = (arena.take(n * UNIT) for n in (4, 1, 2))
    arena.take(SEGMENT - 7 * UNIT)
    arena.give_back(large)
    arena.give_back(small)
    assert arena.take(UNIT).start == small.start
    assert arena.take(UNIT).start == small.start + UNIT
    assert arena.take(UNIT).start == large.start
    assert place(wall) == (1, 4 * UNIT, 5 * UNIT)


def test_what_is_larger_than_a_segment_has_one_of_its_own():
    driver = Driver()
    arena = Arena(driver.allocate, SEGMENT)
    piece = arena.take(3 * SEGMENT)
    arena.take(UNIT)
    assert driver.asked == [3 * SEGMENT, SEGMENT]
    arena.give_back(piece)
    assert arena.take(2 * SEGMENT).segment is piece.segment


@pytest.mark.parametrize("shuffled", [False, True])
def test_steps_that_ask_for_the_same_take_nothing_new(shuffled):
    """Whatever the order in which a step's pieces are freed."""
    arena, rng, seen = Arena(Driver().allocate, SEGMENT), np.random.default_rng(0), []
    sizes = rng.integers(1, 6 * UNIT, 40)
    for _ in range(30):
        pieces = []
        for size in sizes:
            pieces.append(arena.take(int(size)))
            if len(pieces) > 20:
                arena.give_back(pieces.pop(int(rng.integers(20)) if shuffled else 0))
        for piece in pieces:
            arena.give_back(piece)
        seen.append(arena.allocated_bytes)
    assert seen[0] <= 2 * sum(sizes)
    assert seen[-1] <= seen[0] + (SEGMENT if shuffled else 0)


def test_pieces_never_overlap():
    """Each holder writes its number and finds it again, over a thousand random steps."""
    arena, rng, holders = Arena(Driver().allocate, SEGMENT), np.random.default_rng(0), {}
    for number in range(1000):
        if holders and rng.random() < 0.45:
            key = list(holders)[int(rng.integers(len(holders)))]
            piece, view = holders.pop(key)
            assert (view == key).all()
            arena.give_back(piece)
        else:
            size = int(rng.integers(1, 5 * UNIT))
            piece = arena.take(size)
            holders[number] = piece, piece.view(size // 8, np.dtype(np.int64))
            holders[number][1][:] = number
    for key, (_, view) in holders.items():
        assert (view == key).all()


def test_without_memory_what_is_not_used_goes_back_first():
    driver = Driver(2 * SEGMENT)
    arena = Arena(driver.allocate, SEGMENT)
    pieces = [arena.take(SEGMENT), arena.take(SEGMENT)]
    with pytest.raises(MemoryError):
        arena.take(UNIT)
    assert arena.allocated_bytes == 2 * SEGMENT
    arena.give_back(pieces[0])
    with pytest.raises(MemoryError):
        arena.take(2 * SEGMENT)
    assert arena.allocated_bytes == SEGMENT
    driver.size += 3 * UNIT  # less than a segment
    piece = arena.take(3 * UNIT)
    assert driver.asked[-1] == 3 * UNIT
    assert piece.stop - piece.start == 3 * UNIT


def test_a_segment_that_goes_back_is_freed_at_once():
    """Not when Python next looks for cycles."""
    driver, freed = Driver(SEGMENT), []

    class Memory(np.ndarray):
        def __del__(self):
            if self.base is None:
                freed.append(self.size)

    def allocate(size):
        driver.allocate(size)
        return Memory(size, np.uint8)

    arena = Arena(allocate, SEGMENT)
    piece = arena.take(UNIT)
    piece.view(3, np.dtype(np.float32))
    arena.give_back(piece)
    del piece
    gc.disable()
    try:
        with pytest.raises(MemoryError):
            arena.take(2 * SEGMENT)
    finally:
        gc.enable()
    assert freed == [SEGMENT]


def test_threads_take_and_give_back():
    arena, failed = Arena(Driver().allocate, SEGMENT), []

    def work(number):
        for i in range(300):
            piece = arena.take((i % 5 + 1) * UNIT)
            view = piece.view(UNIT // 8, np.dtype(np.int64))
            view[:] = number
            if not (view == number).all():
                failed.append(number)
            arena.give_back(piece)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert arena.allocated_bytes <= 2 * SEGMENT
