"""Determines which launches of a recording must wait for which others. Two launches depend on each
other if they access the same memory, unless both only read it.

So the gradient of a layer's weights, for example, may be computed in parallel with the gradient of
its inputs. A launch uses the stream of a launch that it waits for, if possible. Dependencies on
launches of other streams are recorded explicitly. The streams exist only while a graph is captured,
so their number is unlimited.
"""

from typing import NamedTuple

Access = tuple[int, int, bool]  # address of the first byte, address after the last byte, may be written


class Place(NamedTuple):
    """A launch's stream number, and the launches of other streams that it waits for."""

    stream: int
    dependencies: tuple[int, ...]


def places(accesses: list[list[Access]]) -> list[Place]:
    """Returns the `Place` of each launch, in launch order. `accesses` lists the memory that each
    launch reads or writes.
    """
    result: list[Place] = []
    # for each launch, a bit set of all launches that it waits for, directly or indirectly
    ancestor_sets: list[int] = []
    depths: list[int] = []  # the length of each launch's longest chain of dependencies
    last: list[int] = []  # the last launch of each stream
    for i, access in enumerate(accesses):
        parents = []
        ancestors = 0
        for j in reversed(range(i)):
            if not ancestors >> j & 1 and conflict(access, accesses[j]):
                parents.append(j)
                ancestors |= ancestor_sets[j] | 1 << j
        stream = choose_stream(parents, ancestors, last, depths)
        if stream == len(last):
            last.append(i)
        else:
            parents = [*parents, last[stream]]
            ancestors = ancestors | ancestor_sets[last[stream]] | 1 << last[stream]
            last[stream] = i
        result.append(Place(stream, tuple(j for j in parents if result[j].stream != stream)))
        ancestor_sets.append(ancestors)
        depths.append(1 + max((depths[j] for j in parents), default=0))
    return result


def choose_stream(parents: list[int], ancestors: int, last: list[int], depths: list[int]) -> int:
    """Returns a stream whose last launch is one that this launch waits for, preferably directly.
    Returns a new stream if there is none.
    """
    ends = [stream for stream, j in enumerate(last) if ancestors >> j & 1]
    return max(ends, key=lambda stream: (last[stream] in parents, depths[last[stream]]), default=len(last))


def conflict(a: list[Access], b: list[Access]) -> bool:
    """Whether two launches access the same memory and at least one of them writes it."""
    return any((a_writes or b_writes) and a_start < b_stop and b_start < a_stop
               for a_start, a_stop, a_writes in a for b_start, b_stop, b_writes in b)
