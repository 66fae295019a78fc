"""What ptx.py has, for the simulator: the same functions in plain Python, and as strict.

A copy is made when it is waited for and not before; until then there is NaN in its place. A tensor core's operands come
from the threads that the hardware takes them from, and lose the bits that it does not read.
"""

import sys
import threading

import numpy as np


def mine():
    return threading.current_thread().item


def in_turns(function):
    """A kernel whose threads go through the items, where `function(count, ...)` is written for a thread an item."""
    def run(count, *arguments):
        thread = threading.current_thread()
        (blocks, *_), (threads, *_) = thread._manager._grid_dim, thread._manager._block_dim
        for item in range(thread.blockIdx.x * threads + thread.threadIdx.x, count, blocks * threads):
            thread.item = item
            function(count, *arguments)

    return run


def shared_array(self, shape, dtype, alignment=0):
    """A block's shared array, known by the line that asks for it. The simulator's own may make one for each of two
    threads that ask at once.
    """
    caller = sys._getframe(1)
    place = caller.f_code.co_filename, caller.f_lineno
    return self._allocations.setdefault(place, np.empty(shape, dtype))


def times(a, b):
    product = int(a) * int(b)
    if not -(1 << 31) <= product < 1 << 31:
        raise OverflowError(f"{a} * {b} does not fit 32 bits.")
    return product


def scaled(a, factor, shift):
    if not 0 <= a < 1 << 31:
        raise OverflowError(f"What is scaled is a positive number of 31 bits. Received: {a}.")
    return int(a) * factor >> shift


def within(i, n):
    return 0 <= i < n


def load(array, index):
    return array[index]


def load2(array, index):
    return _several(array, index, 2)


def load4(array, index):
    return _several(array, index, 4)


def store(array, index, value):
    array[index] = value


def store2(array, index, values):
    _several(array, index, 2)
    for i, value in enumerate(values):
        array[index + i] = value


def store4(array, index, values):
    _several(array, index, 4)
    for i, value in enumerate(values):
        array[index + i] = value


def _several(array, index, width):
    if index % width:
        raise ValueError(f"{width} items at once lie at a multiple of {width}. Received index {index}.")
    return tuple(array[index + i] for i in range(width))


def copy_async(shared, at, array, index, valid):
    _start(shared, at, array, index, valid, 1)


def copy4_async(shared, at, array, index, valid):
    if at % 4 or (valid and index % 4):
        raise ValueError(f"Four items at once lie at a multiple of 4. Received indices {at} and {index}.")
    _start(shared, at, array, index, valid, 4)


def _groups():
    """This thread's copies: a list of groups, the last one still open."""
    return threading.current_thread().__dict__.setdefault("copies", [[]])


def _start(shared, at, array, index, valid, width):
    for i in range(width):
        shared[at + i] = np.nan
        _groups()[-1].append((shared, at + i, array, index + i if valid else None))


def commit():
    _groups().append([])


def waiting(groups):
    def wait():
        while len(_groups()) - 1 > groups:
            for shared, at, array, index in _groups().pop(0):
                shared[at] = 0 if index is None else array[index]

    return wait


def round_tf32(x):
    bits = np.float32(x).view(np.uint32)
    return np.float32(x) if not np.isfinite(x) else np.uint32((int(bits) + 0x1000) & 0xFFFFE000).view(np.float32)


def mma_tf32(*fragments):
    thread = threading.current_thread()
    warp, lane = divmod(thread.threadIdx.x, 32)
    table = thread._manager.__dict__.setdefault("fragments", {})  # of this block
    table[warp, lane] = fragments
    thread.syncthreads()
    if lane == 0:
        table[warp] = _product(np.array([table[warp, i] for i in range(32)], np.float32))
    thread.syncthreads()
    return table[warp][lane]


def _product(given):
    """What each of the 32 threads gets for what it gave (32, 10)."""
    given[:, :6] = (np.ascontiguousarray(given[:, :6]).view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
    a, b, c = np.empty((16, 8), np.float32), np.empty((8, 8), np.float32), np.empty((16, 8), np.float32)
    for lane in range(32):
        g, t = lane // 4, lane % 4
        a[g, t], a[g + 8, t], a[g, t + 4], a[g + 8, t + 4] = given[lane, :4]
        b[t, g], b[t + 4, g] = given[lane, 4:6]
        c[g, 2 * t], c[g, 2 * t + 1], c[g + 8, 2 * t], c[g + 8, 2 * t + 1] = given[lane, 6:]
    for k in range(8):
        c += a[:, k : k + 1] * b[k]
    return [(c[g, t], c[g, t + 1], c[g + 8, t], c[g + 8, t + 1]) for g in range(8) for t in range(0, 8, 2)]
