"""Which launches of a recording have to wait for which: those that touch the same memory, unless
both only read it.

So the gradient of a layer's weights, say, may be computed beside that of its inputs. A stream holds
launches that wait for each other anyway; what has to wait for another stream's launch is told so.
Streams are only there while a graph is captured, so there may be as many as it takes.
"""

from typing import NamedTuple

Access = tuple[int, int, bool]  # the first byte, the one behind the last, whether it may be written


class Place(NamedTuple):
    """Where a launch goes: the number of its stream, and the launches of other streams that come before it."""

    stream: int
    after: tuple[int, ...]


def places(accesses: list[list[Access]]) -> list[Place]:
    """A place for each launch, in their order, from the memory that each touches."""
    found: list[Place] = []
    before: list[int] = []  # for each launch, as bits, all that come before it
    depths: list[int] = []  # how many launches come one after the other up to it
    last: list[int] = []  # the last launch of each stream
    for i, mine in enumerate(accesses):
        needed = []
        ancestors = 0
        for j in reversed(range(i)):
            if not ancestors >> j & 1 and conflict(mine, accesses[j]):
                needed.append(j)
                ancestors |= before[j] | 1 << j
        stream = _stream(needed, ancestors, last, depths)
        if stream == len(last):
            last.append(i)
        else:
            needed, ancestors = [*needed, last[stream]], ancestors | before[last[stream]] | 1 << last[stream]
            last[stream] = i
        found.append(Place(stream, tuple(j for j in needed if found[j].stream != stream)))
        before.append(ancestors)
        depths.append(1 + max((depths[j] for j in needed), default=0))
    return found


def _stream(needed: list[int], ancestors: int, last: list[int], depths: list[int]) -> int:
    """A stream that ends with the last of what the launch waits for, or with any of it; else a new one."""
    ends = [stream for stream, j in enumerate(last) if ancestors >> j & 1]
    return max(ends, key=lambda stream: (last[stream] in needed, depths[last[stream]]), default=len(last))


def conflict(a: list[Access], b: list[Access]) -> bool:
    """Whether two launches touch the same memory, and one of them writes there."""
    return any((a_writes or b_writes) and a_start < b_stop and b_start < a_stop
               for a_start, a_stop, a_writes in a for b_start, b_stop, b_writes in b)
