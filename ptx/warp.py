"""Instructions that the 32 threads of a warp execute together: shuffles, votes and small matrix products."""

import numpy as np

from .errors import DivergenceError

WARP = 32
_GROUP, _MEMBER = np.divmod(np.arange(WARP), 4)  # eight groups of four lanes in a fragment


def whole(lanes, lane_of, blame) -> None:
    """Raises DivergenceError unless all 32 threads of each warp are among `lanes`, which are sorted."""
    inside = lane_of[lanes]
    if lanes.size % WARP or not (inside.reshape(-1, WARP) == np.arange(WARP)).all():
        gaps = np.flatnonzero(inside != np.arange(lanes.size) % WARP)
        raise DivergenceError(blame(int(gaps[0]) if gaps.size else 0,
                               "All 32 threads of a warp must execute this together, but some do not."))


def members(lanes, lane_of, warp_of, mask, blame) -> None:
    """Raises DivergenceError unless each warp's mask names exactly those of its threads that are among `lanes`."""
    bits = np.uint32(1) << lane_of[lanes].astype(np.uint32)
    mask = np.broadcast_to(mask, lanes.shape)
    here = np.bitwise_or.reduceat(bits, starts := np.flatnonzero(np.diff(warp_of[lanes], prepend=-1)))
    here = np.repeat(here, np.diff(starts, append=lanes.size))
    wrong = ((mask & ~here) != 0) | ((mask & bits) == 0)
    if wrong.any():
        at = int(wrong.argmax())
        raise DivergenceError(blame(at, f"Its mask is {int(mask[at]):#010x}; the threads here are "
                                        f"{int(here[at]):#010x}."))


def shuffled(mode: str, lane, values, operand, clamp):
    """shfl: returns the lane from which each lane reads its value, and whether that lane is in the same segment."""
    lane = lane.astype(np.int64)
    operand, segment, bound = (np.asarray(x).astype(np.int64) for x in (operand & 31, (clamp >> 8) & 31, clamp & 31))
    low = lane & segment
    if mode == "up":
        source, valid = lane - operand, lane - operand >= (low | (bound & ~segment & 31))
    else:
        high = low | (bound & ~segment & 31)
        source = {"down": lane + operand, "bfly": lane ^ operand, "idx": low | (operand & ~segment & 31)}[mode]
        valid = source <= high
    return np.where(valid, source, lane), valid


def multiplied(a, b, c):
    """mma.m16n8k8: returns the fragments of a (16, 8) @ b (8, 8) + c (16, 8), one row of 32 lanes per warp.

    Tensor cores read 19 bits of a float32. The products are exact, and their sum is rounded once here.
    """
    left, right = (np.empty((len(a[0]), *shape)) for shape in ((16, 8), (8, 8)))
    for i, part in enumerate(a):
        left[:, _GROUP + 8 * (i & 1), _MEMBER + 4 * (i >> 1)] = truncated(part)
    for i, part in enumerate(b):
        right[:, _MEMBER + 4 * i, _GROUP] = truncated(part)
    product = left @ right
    return tuple((product[:, _GROUP + 8 * (i >> 1), 2 * _MEMBER + (i & 1)] + part).astype(np.float32)
                 for i, part in enumerate(c))


def truncated(values):
    """Clears the low 13 bits of float32 values, which tensor cores ignore."""
    return (values.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
