"""Finds races in shared memory: records the threads that accessed each word since the last barrier, and pending copies.

Accesses of different threads have no order until a barrier of the block or of the warp, even within one warp.
"""

import numpy as np

NONE, MANY = -1, -2  # codes for no thread, and for threads of several warps; -3 - w means several threads of warp w


LATER = 1 << 22  # maximum number of reads that are buffered before they are recorded


class Shadow:
    """The last writer and the readers of each unit of `unit` bytes, in all blocks' windows of `stride` bytes.

    Most reads meet no write between two barriers. So reads are recorded only when a write accesses the same addresses,
    and compared only with writes to the same addresses.
    """

    def __init__(self, stride: int, blocks: int, unit: int, home, warp) -> None:
        self.unit, self.each, self.home, self.warp = unit, stride // unit, home, warp
        self.blocks, count = blocks, self.each * blocks
        self.writer, self.reader = np.full(count, NONE, np.int64), np.full(count, NONE, np.int64)
        self.written, self.read = np.zeros(count, np.int64), np.zeros(count, np.int64)  # the warp's step at that access
        self.arriving = np.full(count, NONE, np.int64)  # the thread whose copy to this unit is pending
        self.step = np.zeros(int(warp[-1]) + 1, np.int64)  # number of barriers that each warp has passed
        self.flights: list = []  # pending copies: (lanes, units of each lane, group of each lane, span)
        self.groups = np.zeros(home.size, np.int64)  # number of copy groups that each thread has committed
        self.spans: set[tuple[int, int]] = set()  # spans written since all blocks passed a barrier
        self.noted: set[tuple[int, int]] = set()  # spans of the recorded reads
        self.later: list = []  # unrecorded reads: (lanes, address, size, the warps' steps, span)
        self.left = 0  # number of lanes in `later`

    def units(self, lanes, address, size):
        """Returns the units that each access touches, one row per lane."""
        first = (self.home[lanes] * self.each + address // self.unit)[:, None]
        return first + np.arange(size // self.unit) if size > self.unit else first

    def note_read(self, lanes, address, size, here):
        """Returns (position, other thread, its action) of the first racing read, or None. `here` is the span."""
        if _meets(here, self.spans):
            units = self.units(lanes, address, size)
            wrong = self._arriving(units) or self._against(self.writer[units], self.written[units], lanes, "writes it")
            if wrong:
                return wrong
        self.later.append((lanes, address, size, self.step, here))
        self.left += lanes.size
        if self.left > LATER:
            self._note_reads()
        return None

    def _note_reads(self) -> None:
        for lanes, address, size, step, here in self.later:
            self._note_read(lanes, self.units(lanes, address, size), step)
            self.noted.add(here)
        self._let_go()

    def _let_go(self) -> None:
        self.later.clear()
        self.left = 0

    def _note_read(self, lanes, units, step) -> None:
        before = self.reader[units]
        if (before == MANY).all():
            return
        mine = np.broadcast_to(lanes[:, None], units.shape)
        self.reader[units] = mine
        several = (before != mine) & (before != NONE) | (self.reader[units] != mine)
        if several.any():
            self._several(units, mine, before, several)
        self.read[units] = step[self.warp[mine]]

    def _several(self, units, mine, before, several) -> None:
        """Marks the units that several threads of one warp read, and those that several warps read."""
        touched, warps = units[several], self.warp[mine[several]]
        code = -3 - warps
        previous = before[several]
        known = np.where(previous >= 0, -3 - self.warp[np.maximum(previous, 0)], previous)
        self.reader[touched] = code
        mixed = (known != NONE) & (known != code) | (self.reader[touched] != code)
        self.reader[touched[mixed]] = MANY

    def note_write(self, lanes, address, size, here):
        """Returns (position, other thread, its action) of the first racing write, or None."""
        units, mine = self.units(lanes, address, size), lanes[:, None]
        if _meets(here, [there for *_, there in self.later]):
            self._note_reads()
        wrong = None
        if _meets(here, self.spans):
            wrong = self._arriving(units) or self._against(self.writer[units], self.written[units], lanes, "writes it")
        if wrong is None and _meets(here, self.noted):
            wrong = self._against(self.reader[units], self.read[units], lanes, "reads it")
        if wrong:
            return wrong
        self.spans.add(here)
        self.writer[units] = mine
        self.written[units] = self.step[self.warp[mine]]
        if (raced := self.writer[units] != mine).any():
            at = int(raced.any(1).argmax())
            other = self.writer[units[at]]
            return at, int(other[other != lanes[at]][0]), "writes it"
        return None

    def _arriving(self, units):
        who = self.arriving[units]
        if (found := who != NONE).any():
            at = int(found.any(1).argmax())
            return at, int(who[at].max()), "copies to it with cp.async, and has not waited for that"
        return None

    def _against(self, other, when, lanes, does: str):
        mine = lanes[:, None]
        suspect = (other != NONE) & (other != mine)
        if not suspect.any():
            return None
        warps = np.where(other >= 0, self.warp[np.maximum(other, 0)], -3 - other)  # MANY becomes -1
        own = self.warp[mine]
        suspect &= ~((warps == own) & (when < self.step[own]))
        if not suspect.any():
            return None
        at = int(suspect.any(1).argmax())
        return at, int(other[at][suspect[at]][0]), does

    # Barriers.

    def passed_blocks(self, blocks) -> None:
        """Forgets the earlier accesses of these blocks: a barrier separates them from later ones."""
        if len(blocks) == self.blocks:
            self._let_go()
            for shadow, spans in ((self.writer, self.spans), (self.reader, self.noted)):
                if spans:
                    shadow.fill(NONE)
                    spans.clear()
            self.spans.update(there for *_, there in self.flights)
            return
        self._note_reads()
        for shadow in (self.writer, self.reader):
            shadow.reshape(-1, self.each)[blocks] = NONE

    def passed_warps(self, warps) -> None:
        self.step = self.step.copy()  # buffered reads keep the step at which they were made
        self.step[warps] += 1

    # Copies.

    def copy(self, lanes, address, size, here):
        """Starts an asynchronous copy to these addresses. It counts as a write until its thread has waited for it."""
        wrong = self.note_write(lanes, address, size, here)
        if wrong is None:
            units = self.units(lanes, address, size)
            self.arriving[units] = lanes[:, None]
            self.flights.append((lanes, units, self.groups[lanes], here))
        return wrong

    def commit(self, lanes) -> None:
        self.groups[lanes] += 1

    def wait(self, lanes, left: int | None) -> None:
        """Completes copies of these threads until at most `left` committed groups are pending; None: all copies."""
        limit = np.full(self.groups.size, -1, np.int64)
        limit[lanes] = self.groups[lanes] + 1 if left is None else self.groups[lanes] - left
        flying = []
        for owners, units, group, there in self.flights:
            done = group < limit[owners]
            if done.any():
                landed, who = units[done], owners[done]
                self.arriving[landed] = NONE
                self.writer[landed] = who[:, None]  # visible to this thread now, to others after a barrier
                self.written[landed] = self.step[self.warp[who]][:, None]
            if not done.all():
                flying.append((owners[~done], units[~done], group[~done], there))
        self.flights = flying


def _meets(here: tuple[int, int], others) -> bool:
    """Whether a span of addresses overlaps any of the others."""
    return any(here[0] < end and start < here[1] for start, end in others)
