"""Runs a translated kernel: schedules the lanes, loads and stores their data, and handles barriers.

Lanes can be at different basic blocks. The block that comes first in the text runs next, for all lanes that are at it:
compilers order code so that lanes reconverge soon. Lanes at a barrier wait until no other lane can run.
"""

import heapq

import numpy as np

from . import warp
from .counters import Counters
from .errors import AddressError, DivergenceError, PtxError, RaceError, UnsupportedError
from .memory import LOCAL, SHARED, aligned, raced, span
from .shared import Shadow
from .warp import WARP


class Machine:
    """The threads of `count` thread blocks of a launch. `first` is the number of the first of them in the grid."""

    def __init__(self, program, place, grid, block, first: int, count: int, dynamic: int,
                 counters: Counters | None) -> None:
        self.program, self.place, self.grid, self.block, self.dynamic = program, place, grid, block, dynamic
        self.counters = counters
        self.threads = block[0] * block[1] * block[2]
        self.lanes = np.arange(count * self.threads)
        self.home = self.lanes // self.threads  # each lane's thread block, counted from `first`
        self.thread = self.lanes + first * self.threads  # each lane's thread number in the launch
        self.first = first
        warps = -(-self.threads // WARP)
        self.warp = self.home * warps + self.lanes % self.threads // WARP
        self.lane = self.lanes % self.threads % WARP
        self.shared = program.windows("shared", count, dynamic)
        self.local = program.windows("local", self.lanes.size)
        self.shadow = Shadow(self.shared.stride, count, program.unit, self.home, self.warp)
        self._special: dict = {}
        self.waiting: list = []  # (basic block that ends at a barrier, positions of the waiting lanes)

    # Scheduling.

    def run(self, arguments: bytes) -> None:
        """Runs until every thread has ended."""
        self.arguments = arguments
        self.values: list = [None] * len(self.program.names)
        self.ids = self.lanes
        pending, heap = {0: [np.arange(self.lanes.size)]}, [0]
        blocks, functions, layout = self.program.blocks, self.program.functions, self.program.layout
        with np.errstate(all="ignore"):
            while heap or self.waiting:
                if not heap:
                    self._release(pending, heap)
                    continue
                number = heapq.heappop(heap)
                groups = pending.pop(number)
                at = groups[0] if len(groups) == 1 else np.sort(np.concatenate(groups), kind="stable")  # merges them
                block, (needs, leaves) = blocks[number], layout[number]
                if not heap and not self.waiting and at.size < self.ids.size:
                    at = self._forget(at, self.program.alive[number])
                whole = at.size == self.ids.size
                lanes = self.ids if whole else self.ids[at]
                if self.counters is not None:
                    self.counters.ran(self.program.kinds[number], np.unique(self.warp[lanes]).size)
                left, condition = functions[number](self, lanes, *self._gather(needs, at, whole))
                self._scatter(leaves, left, at, whole)
                self._go(block, condition, at, pending, heap)

    def _gather(self, needs, at, whole):
        for n in needs:
            value = self.values[n]
            if value is None:
                yield self.program.poisons[n]
            else:
                yield value if whole or value.ndim == 0 else value[at]

    def _scatter(self, leaves, left, at, whole) -> None:
        values = self.values
        for n, new in zip(leaves, left):
            if whole:
                values[n] = new
                continue
            old = values[n]
            if old is None or old.ndim == 0:
                kept = np.full(self.ids.size, self.program.poisons[n] if old is None else old)
            else:
                kept = old.copy()  # another register may share this array
            kept[at] = new
            values[n] = kept

    def _forget(self, at, alive):
        """Drops the lanes that have ended. All other lanes must be at the same block."""
        kept = {n: self.values[n] for n in alive}
        self.values = [None] * len(self.values)
        for n, value in kept.items():
            if value is not None:
                self.values[n] = value if value.ndim == 0 else value[at]
        self.ids = self.ids[at]
        return np.arange(self.ids.size)

    def _go(self, block, condition, at, pending, heap) -> None:
        if block.waits is not None:
            self.waiting.append((block, at))
        elif condition is None:
            target = block.following if block.target is None else block.target
            if target is not None:
                _push(pending, heap, target, at)
        elif condition.ndim == 0:
            _push(pending, heap, block.target if bool(condition) != block.negated else block.following, at)
        else:
            taken = ~condition if block.negated else condition
            count = np.count_nonzero(taken)
            if count:
                _push(pending, heap, block.target, at if count == at.size else at[taken])
            if count < at.size:
                _push(pending, heap, block.following, at[~taken] if count else at)

    def _release(self, pending, heap) -> None:
        """Resumes the lanes that wait at a barrier, if all lanes of their block or warp have reached it."""
        waiting, self.waiting, gone = self.waiting, [], 0
        for block in {id(b): b for b, _ in waiting}.values():
            at = np.sort(np.concatenate([a for b, a in waiting if b is block]))
            lanes, parts = self.ids[at], block.waits.op.split(".")
            warps = parts[1] == "warp"
            owners, wanted = (self.warp, self._warp_sizes()) if warps else (self.home, None)
            found = np.bincount(owners[lanes], minlength=owners[-1] + 1)
            complete = found == (wanted if warps else self.threads)
            free = complete[owners[lanes]]
            if free.any():
                gone += 1
                self._passed(warps, np.flatnonzero(complete))
                _push(pending, heap, block.following, at[free])
            if not free.all():
                self.waiting.append((block, at[~free]))
        if not gone:
            block, at = self.waiting[0]
            lane = int(self.ids[at[0]])
            raise DivergenceError(f"{block.waits.text}: {self.name(lane)} waits here, but not all threads of its "
                                  f"{'warp' if block.waits.op.split('.')[1] == 'warp' else 'block'} reach this "
                                  "barrier: the others have ended or wait elsewhere.")

    def _warp_sizes(self):
        return np.bincount(self.warp)

    def _passed(self, warps: bool, which) -> None:
        """Records that these thread blocks, or warps, have passed a barrier."""
        if warps:
            self.shadow.passed_warps(which)
        else:
            self.shadow.passed_blocks(which)

    # Helpers for instructions.

    def name(self, lane: int) -> str:
        """Returns the thread's position in words, for error messages."""
        x, y, _ = self.block
        bx, by, _ = self.grid
        t, b = lane % self.threads, lane // self.threads + self.first
        return (f"thread ({t % x}, {t // x % y}, {t // (x * y)}) of block "
                f"({b % bx}, {b // bx % by}, {b // (bx * by)})")

    def blame(self, lanes, site: int):
        """Returns a function that makes an error message from a lane's position and a description."""
        return lambda at, what: f"{self.program.sites[site].text}: {self.name(int(lanes[at or 0]))}: {what}"

    def special(self, name: str, lanes):
        """Returns the values of a special register such as tid.x, as uint32."""
        value = self._special.get(name)
        if value is None:
            value = self._special[name] = self._filled(name)
        return value if value.ndim == 0 or lanes is self.lanes else value[lanes]

    def _filled(self, name: str):
        base, _, axis = name.partition(".")
        if base in ("ntid", "nctaid"):
            return np.uint32((self.block if base == "ntid" else self.grid)["xyz".index(axis)])
        if base in ("tid", "ctaid"):
            number, extents = (self.lanes % self.threads, self.block) if base == "tid" else \
                (self.home + self.first, self.grid)
            before = {"x": 1, "y": extents[0], "z": extents[0] * extents[1]}[axis]
            return (number // before % extents["xyz".index(axis)]).astype(np.uint32)
        if base == "laneid":
            return (self.lanes % self.threads % WARP).astype(np.uint32)
        if base == "warpid":
            return (self.lanes % self.threads // WARP).astype(np.uint32)
        if base == "dynamic_smem_size":
            return np.uint32(self.dynamic)
        raise UnsupportedError(f"The register %{name} is not supported.")

    def parameter(self, offset: int, dtype):
        return np.frombuffer(self.arguments, dtype, 1, offset)[0]

    def generic(self, space: str, to: int, address, lanes, site: int):
        """Converts an address of a memory space to a generic address (`to` = 1), or back (-1)."""
        return address + to * {"global": 0, "shared": SHARED, "local": LOCAL}[space]

    def _space(self, space: str, address, lanes, site: int):
        """Returns the memory space of generic addresses, and the addresses in that space."""
        if space == "const":
            return "global", address
        if space != "generic":
            return space, address
        low, high = (int(address), int(address)) if address.ndim == 0 else (int(address.min()), int(address.max()))
        for name, start in (("local", LOCAL), ("shared", SHARED), ("global", 0)):
            if low >= start:
                if high - start >= SHARED:
                    break
                return name, address - start
        raise AddressError(self.blame(lanes, site)(None, "Its lanes access several memory spaces at once."))

    # Loads and stores.

    def load(self, space, lanes, address, dtype, count, site):
        """Returns the values at the addresses: one array, or a tuple of `count` arrays."""
        space, address = self._space(space, address, lanes, site)
        blame, size = self.blame(lanes, site), np.dtype(dtype).itemsize * count
        aligned(address, size, blame)
        if space == "global":
            if self.counters is not None:
                self.counters.accessed(self.warp[lanes], address, size)
            return self._load_global(lanes, address, dtype, count, size, blame)
        windows, owner = self._windows(space, lanes)
        here = span(address, size)
        index = windows.places(address, owner, dtype, size, here, blame)
        if space == "shared":
            self._read_shared(lanes, address, size, here, blame)
        view = windows.view(dtype)
        return view[index] if count == 1 else tuple(view[index + i] for i in range(count))

    def _windows(self, space, lanes):
        return (self.shared, self.home[lanes]) if space == "shared" else (self.local, lanes)

    def _load_global(self, lanes, address, dtype, count, size, blame):
        parts = self.place.parts(address, size, blame)
        if len(parts) == 1 and parts[0][1] is None:
            return self._items(parts[0][0], lanes, address, dtype, count, size, blame)
        whole = [np.empty(address.size, dtype) for _ in range(count)]
        for piece, at in parts:
            got = self._items(piece, lanes[at], address[at], dtype, count, size, self._shifted(blame, at))
            for out, values in zip(whole, got if count > 1 else (got,)):
                out[at] = values
        return whole[0] if count == 1 else tuple(whole)

    @staticmethod
    def _shifted(blame, at):
        return lambda position, what: blame(int(at[position or 0]), what)

    def _items(self, piece, lanes, address, dtype, count, size, blame):
        view, base, bits = piece.view(dtype)
        index = (address - base) >> bits
        if piece.owners is not None:
            for items, threads, say in self._owned(piece, lanes, address, size, blame):
                raced(say, piece.owners.read(items, threads), f"reads {piece.name}", "wrote")
        return view[index] if count == 1 else tuple(view[index + i] for i in range(count))

    def _owned(self, piece, lanes, address, size, blame):
        """Yields the elements of a piece that are accessed, with the accessing threads, as arrays of equal length."""
        first = (address - piece.base) // piece.unit
        if first.ndim == 0:
            first = np.full(lanes.size, first)
        for i in range(max(size // piece.unit, 1)):
            yield first + i, self.thread[lanes], blame

    def store(self, space, lanes, address, values, dtype, site) -> None:
        space, address = self._space(space, address, lanes, site)
        blame, size = self.blame(lanes, site), np.dtype(dtype).itemsize * len(values)
        aligned(address, size, blame)
        if address.ndim == 0:
            address = np.full(lanes.size, address)
        if space == "global":
            if self.counters is not None:
                self.counters.accessed(self.warp[lanes], address, size)
            for piece, at in self.place.parts(address, size, blame):
                if at is None:
                    self._put(piece, lanes, address, values, dtype, size, blame)
                else:
                    some = tuple(v if v.ndim == 0 else v[at] for v in values)
                    self._put(piece, lanes[at], address[at], some, dtype, size, self._shifted(blame, at))
            return
        windows, owner = self._windows(space, lanes)
        here = span(address, size)
        index = windows.places(address, owner, dtype, size, here, blame)
        if space == "shared":
            self._write_shared(lanes, address, size, here, blame)
        view = windows.view(dtype)
        for i, value in enumerate(values):
            view[index + i] = value

    def _put(self, piece, lanes, address, values, dtype, size, blame) -> None:
        if piece.constant:
            raise AddressError(blame(None, f"{piece.name} is constant."))
        if piece.owners is None:
            raise PtxError(blame(None, f"It writes {piece.name}, but no store through this parameter was found."))
        for items, threads, say in self._owned(piece, lanes, address, size, blame):
            raced(say, piece.owners.write(items, threads), f"writes {piece.name}", "read or wrote")
        view, base, bits = piece.view(dtype)
        index = (address - base) >> bits
        for i, value in enumerate(values):
            view[index + i] = value

    def _read_shared(self, lanes, address, size, here, blame) -> None:
        self._count_shared(lanes, address, size)
        self._race(self.shadow.note_read(lanes, address, size, here), "reads", blame)

    def _count_shared(self, lanes, address, size) -> None:
        if self.counters is not None:
            self.counters.accessed_shared(self.warp[lanes], self.lane[lanes], address, size)

    def _write_shared(self, lanes, address, size, here, blame) -> None:
        self._count_shared(lanes, address, size)
        self._race(self.shadow.note_write(lanes, address, size, here), "writes", blame)

    def _race(self, found, doing: str, blame) -> None:
        if found is not None:
            at, other, does = found
            who = self.name(other) if other >= 0 else "another thread"
            raise RaceError(blame(at, f"It {doing} shared memory, and {who} {does}: no barrier separates them."))

    def trap(self, lanes, site) -> None:
        raise PtxError(self.blame(lanes, site)(None, "The kernel executed a trap instruction."))

    # Asynchronous copies.

    def copy_async(self, lanes, to, source, size: int, read, site: int) -> None:
        """Starts a copy of `read` bytes of global memory to shared memory, padded with zeros to `size` bytes."""
        blame = self.blame(lanes, site)
        to, source, read = (np.broadcast_to(x, lanes.shape) for x in (to, source, read))
        aligned(to, size, blame)
        here = span(to, size)
        index = self.shared.places(to, self.home[lanes], np.uint32, size, here, blame)
        self._race(self.shadow.copy(lanes, to, size, here), "copies to", blame)
        self._count_shared(lanes, to, size)
        view = self.shared.view(np.uint32)
        for length in np.unique(read).tolist():
            if length % 4 or length > size:
                raise AddressError(blame(None, f"It reads {length} bytes. The number must be a multiple of 4, and at "
                                               f"most {size}."))
            at = np.flatnonzero(read == length)
            for i in range(length // 4, size // 4):
                view[index[at] + i] = 0
            if length:
                say = self._shifted(blame, at)
                aligned(source[at], size, say)
                if self.counters is not None:
                    self.counters.accessed(self.warp[lanes[at]], source[at], length)
                words = self._load_global(lanes[at], source[at], np.uint32, length // 4, length, say)
                for i, word in enumerate(words if length > 4 else (words,)):
                    view[index[at] + i] = word

    def copy_commit(self, lanes) -> None:
        self.shadow.commit(lanes)

    def copy_wait(self, lanes, left: int) -> None:
        self.shadow.wait(lanes, left)

    def copy_wait_all(self, lanes) -> None:
        self.shadow.wait(lanes, None)

    # Instructions of a whole warp.

    def shuffle(self, mode: str, lanes, values, operand, clamp, mask, site: int):
        """Returns the values of other lanes, and whether these lanes are in the same segment."""
        blame = self.blame(lanes, site)
        warp.members(lanes, self.lane, self.warp, mask, blame)
        lane = self.lane[lanes]
        source, valid = warp.shuffled(mode, lane, values, operand, clamp)
        wanted = lanes - lane + source
        at = np.minimum(np.searchsorted(lanes, wanted), lanes.size - 1)
        if (missing := lanes[at] != wanted).any():
            which = int(missing.argmax())
            raise DivergenceError(blame(which, f"It reads the value of lane {int(source[which])}, which does not "
                                               "execute this instruction."))
        return np.broadcast_to(values, lanes.shape)[at], valid

    def vote(self, mode: str, lanes, values, mask, site: int):
        """Returns whether all or any lanes of a warp have a true value, or a bit mask of those lanes."""
        warp.members(lanes, self.lane, self.warp, mask, self.blame(lanes, site))
        starts = np.flatnonzero(np.diff(self.warp[lanes], prepend=-1))
        values = np.broadcast_to(values, lanes.shape)
        bits = np.where(values, np.uint32(1) << self.lane[lanes].astype(np.uint32), np.uint32(0))
        votes = {"all": np.logical_and, "any": np.logical_or, "ballot": np.bitwise_or}[mode]
        found = votes.reduceat(bits if mode == "ballot" else values, starts)
        return np.repeat(found, np.diff(starts, append=lanes.size))

    def multiply(self, lanes, a, b, c, site: int):
        """Computes mma.m16n8k8."""
        warp.whole(lanes, self.lane, self.blame(lanes, site))
        parts = [[(x if x.ndim else np.full(lanes.shape, x)).reshape(-1, WARP) for x in given] for given in (a, b, c)]
        return tuple(d.reshape(-1) for d in warp.multiplied(*parts))

    def load_matrices(self, lanes, address, count: int, site: int):
        """ldmatrix: thread t receives word t % 4 of a row of matrix i, whose address thread 8i + t // 4 supplies."""
        blame = self.blame(lanes, site)
        warp.whole(lanes, self.lane, blame)
        rows = address.reshape(-1, WARP)[:, : 8 * count]
        lanes = lanes.reshape(-1, WARP)[:, : 8 * count].reshape(-1)
        rows = rows.reshape(-1)
        aligned(rows, 16, blame)
        here = span(rows, 16)
        index = self.shared.places(rows, self.home[lanes], np.uint32, 16, here, blame)
        self._read_shared(lanes, rows, 16, here, self.blame(lanes, site))
        words = self.shared.view(np.uint32)[index[:, None] + np.arange(4)].reshape(-1, count, WARP)
        return tuple(words[:, i].reshape(-1).view(np.int32) for i in range(count))


def _push(pending, heap, number, at) -> None:
    if number in pending:
        pending[number].append(at)
    else:
        pending[number] = [at]
        heapq.heappush(heap, number)
