"""Which launches of a recording have to wait for which: those that touch the same memory, unless both only read it.

So the gradient of a layer's weights, say, may be computed beside that of its inputs. Several streams hold launches that
are independent of each other; what has to wait for another stream's launch is told so.
"""

from typing import NamedTuple

STREAMS = 4

Access = tuple[int, int, bool]  # the first byte, the one behind the last, whether it may be written


class Place(NamedTuple):
    """Where a launch goes: the number of its stream, and the launches of other streams that come before it."""

    stream: int
    after: tuple[int, ...]


def places(accesses: list[list[Access]]) -> list[Place]:
    """A place for each launch, in their order, from the memory that each touches."""
    found: list[Place] = []
    before: list[int] = []  # for each launch, as bits, all that come before it
    last = [-1]  # the last launch of each stream
    for i, mine in enumerate(accesses):
        needed, ancestors = [], 0
        for j in reversed(range(i)):
            if not ancestors >> j & 1 and _conflict(mine, accesses[j]):
                needed.append(j)
                ancestors |= before[j] | 1 << j
        stream = _stream(needed, ancestors, last, found)
        if last[stream] >= 0:
            ancestors |= before[last[stream]] | 1 << last[stream]
        found.append(Place(stream, tuple(j for j in needed if found[j].stream != stream)))
        before.append(ancestors)
        last[stream] = i
    return found


def _stream(needed: list[int], ancestors: int, last: list[int], found: list[Place]) -> int:
    """A stream that ends with what the launch waits for anyway; else a new one, up to STREAMS."""
    for j in needed:
        if last[found[j].stream] == j:
            return found[j].stream
    for stream, j in enumerate(last):
        if j < 0 or ancestors >> j & 1:
            return stream
    if len(last) < STREAMS:
        last.append(-1)
        return len(last) - 1
    return found[needed[0]].stream if needed else last.index(min(last))


def _conflict(a: list[Access], b: list[Access]) -> bool:
    return any((a_writes or b_writes) and a_start < b_stop and b_start < a_stop
               for a_start, a_stop, a_writes in a for b_start, b_stop, b_writes in b)
