"""Estimates how the launches of a training step fill a GPU: `python -m bench.gpu_plan [--workload
NAME ...] [--batch N]`.

No GPU is needed. A step is recorded on a device whose kernels do not run, and the table is computed
from the shapes. For each launch, it has the tile, the blocks, the stages that a block runs one after
the other, bytes, FLOP and a lower bound of the time. A `*` marks the launches of the longest path
through the graph. The exit code is 1 if a product leaves most of a GPU's 132 multiprocessors idle
while the others compute long sums.

The times are estimates based on the constants below, which this project did not measure.
"""

import argparse
import inspect
import sys
from collections.abc import Sequence
from functools import cache
from math import ceil, prod
from typing import Any, NamedTuple

from autoconv.engine.costs.tables import short, table

from . import gpu_steps
from .workloads import WORKLOADS, Workload

PROCESSORS = 132  # multiprocessors of an H100 (SXM) and of an H200, from the data sheet
# A product with fewer than LEAST_BLOCKS blocks of more than MOST_STAGES stages leaves the GPU idle.
LEAST_BLOCKS, MOST_STAGES = PROCESSORS, 32

# Assumed rates. The data sheet's peaks are 4.8 TB/s (H200) and 494 TFLOP/s of dense TF32.
MEMORY = 4.3e12  # bytes per second of large copies on an H200, as others have measured
L2 = 5.5e12  # bytes per second from the L2 cache of an H100, as others have measured
# warp instructions per second, from four schedulers per multiprocessor at the boost clock
ISSUED = 4 * PROCESSORS * 1.755e9
# Instructions per warp, as counted by the PTX emulator and checked by a test: per stage of a product
# that gathers its rows, per stage of a weight gradient, and for the rest of a block.
OF_STAGE = {"wide": 250, "tall": 270, "large": 280, "narrow": 340, "medium": 255, "small": 165, "first": 450,
            "single": 325}
OF_OUTER_STAGE = {"large": 340, "narrow": 315, "medium": 300, "small": 135, "first": 300, "single": 400}
OF_BLOCK = 550
# seconds from requesting a stage's elements until they are multiplied; stages that are loaded at the
# same time overlap
STAGE = 0.7e-6
# minimum seconds per stage, for a barrier and a warp's products, if many stages are loaded at once
SHORTEST_STAGE = 0.2e-6
SHORTEST = 1.0e-6  # minimum time of a kernel that reads and writes memory
NODE = 1.5e-6  # seconds from the end of a launch in a graph to the start of a dependent launch
SHARED, REGISTERS, THREADS = 228 << 10, 65536, 2048  # limits of a multiprocessor
# maximum registers per thread of a product's kernel, assembled for Hopper
REGISTERS_OF_GATHERED, REGISTERS_OF_OUTER = 128, 160


class Line(NamedTuple):
    """One launch. `loaded_bytes` is the number of bytes that a product loads into shared memory.
    `bytes` is the size of all arrays that the launch accesses.
    """

    kernel: str
    tile: str
    blocks: int
    stages: int
    bytes: int
    loaded_bytes: int
    flops: int
    busy: float  # seconds of the launch at the GPU's whole throughput
    seconds: float  # seconds of the launch, including the latency of its stages
    dependencies: tuple[int, ...]  # indices of the launches that this launch waits for

    @property
    def is_idle(self) -> bool:
        """Whether most multiprocessors are idle while a few blocks compute long sums."""
        return bool(self.tile) and self.blocks < LEAST_BLOCKS and self.stages > MOST_STAGES


class Plan(NamedTuple):
    workload: str
    batch_size: int
    lines: list[Line]

    @property
    def critical(self) -> list[int]:
        """Returns the indices of the launches on the longest path, in order."""
        ends, before = [0.0] * len(self.lines), [-1] * len(self.lines)
        for i, line in enumerate(self.lines):
            before[i] = max(line.dependencies, key=ends.__getitem__, default=-1)
            ends[i] = line.seconds + NODE + (ends[before[i]] if before[i] >= 0 else 0.0)
        path = [max(range(len(ends)), key=ends.__getitem__)]
        while before[path[-1]] >= 0:
            path.append(before[path[-1]])
        return path[::-1]

    @property
    def path(self) -> float:
        """Returns the seconds of the longest path."""
        return sum(self.lines[i].seconds + NODE for i in self.critical)

    @property
    def busy(self) -> float:
        """Returns the total seconds of all launches if each had the whole GPU and no launch had to
        wait.
        """
        return sum(line.busy for line in self.lines)

    @property
    def seconds(self) -> float:
        """Returns the seconds of the step: the longer of its longest path and its total work."""
        return max(self.path, self.busy)

    def idle(self) -> list[str]:
        """Returns a line of text for each launch that leaves most of the GPU idle."""
        return [f"{self.workload} at {self.batch_size}: {line.kernel} has {line.blocks} blocks with {line.stages} "
                f"stages each" for line in self.lines if line.is_idle]

    def rows(self) -> list[list[str]]:
        critical = set(self.critical)
        return [[f"{line.kernel}{' *' if i in critical else ''}", line.tile, f"{line.blocks:,}",
                 f"{line.stages or ''}", short(line.bytes, "B"), short(line.flops) if line.flops else "",
                 f"{(line.loaded_bytes or line.bytes) / line.flops:.3f}" if line.flops else "",
                 f"{line.seconds * 1e6:.1f}"]
                for i, line in enumerate(self.lines)]

    def __str__(self) -> str:
        head = (f"{self.workload}, batch {self.batch_size}: {len(self.lines)} launches, {len(self.critical)} on the "
                f"longest path of {self.path * 1e6:.0f} us; all work {self.busy * 1e6:.0f} us; "
                f"a step about {self.seconds * 1e6:.0f} us")
        return f"{head}\n{table(HEAD, self.rows())}"


HEAD = ("launch", "tile", "blocks", "stages", "bytes", "FLOP", "B/FLOP", "us")


def make_plan(workload: Workload, batch_size: int) -> Plan:
    """Returns the plan of a training step at this batch size."""
    from autoconv.kernels.cuda import order

    launches = gpu_steps.launches(workload, batch_size)
    accesses = [launch.accesses() for launch in launches]
    places, last = order.places(accesses), {}
    lines = []
    for i, (launch, access, place) in enumerate(zip(launches, accesses, places)):
        dependencies = (*place.dependencies, last[place.stream]) if place.stream in last else place.dependencies
        last[place.stream] = i
        lines.append(_line(launch, access, dependencies))
    return Plan(workload.name, batch_size, lines)


def _line(launch: Any, access: list, dependencies: tuple[int, ...]) -> Line:
    blocks = prod(launch.blocks) if isinstance(launch.blocks, tuple) else launch.blocks
    size = sum(stop - start for start, stop in _merge_ranges(access))
    if launch.kernel.name in products():
        return _product(launch, blocks, size, dependencies)
    busy = size / MEMORY
    return Line(launch.kernel.name, "", blocks, 0, size, 0, 0, busy, max(busy, SHORTEST, _adding(launch)), dependencies)


def _product(launch: Any, blocks: int, size: int, dependencies: tuple[int, ...]) -> Line:
    tile = products()[launch.kernel.name]
    product = _sums(launch, tile)
    busy = max(size / MEMORY, product.loaded_bytes / L2, instructions(launch) / ISSUED)
    ahead = 1 if _waits(launch, tile) else tile.stages - 1
    turns = ceil(blocks / (PROCESSORS * _resident(launch.kernel.name)))
    waiting = turns * product.stages * max(STAGE / ahead, SHORTEST_STAGE)
    name = launch.kernel.name.removesuffix(f"_{tile.name}")
    return Line(name, tile.name, blocks, product.stages, size, product.loaded_bytes, product.flops, busy,
                max(busy, waiting, SHORTEST), dependencies)


def instructions(launch: Any) -> int:
    """Returns the number of instructions that all warps of a product run."""
    tile = products()[launch.kernel.name]
    of_stage = OF_OUTER_STAGE if "weight_gradient" in launch.kernel.name else OF_STAGE
    warps = prod(launch.blocks) * tile.threads // 32
    return warps * (_sums(launch, tile).stages * of_stage[tile.name] + OF_BLOCK)


class Product(NamedTuple):
    """A matrix product: the number of stages per block, the bytes that all blocks load into shared
    memory, and the number of multiplications and additions.
    """

    stages: int
    loaded_bytes: int
    flops: int


def _waits(launch: Any, tile: Any) -> bool:
    """Returns whether each stage must be complete before the next stage is requested. This applies to
    the first layer's weight gradient after pooling, whose elements are loaded one by one.
    """
    return "first_weight_gradient" in launch.kernel.name and tile.name != "first"


def _sums(launch: Any, tile: Any) -> Product:
    arguments = dict(zip(inspect.signature(launch.kernel.function).parameters, launch.arguments))
    items, filters, of_group = arguments["sizes"][4], *arguments["lengths"][:2]
    count, pooled, outer = arguments["count"], "winner" in arguments, "length" in arguments
    if outer:  # a weight gradient, whose sum over pixels is divided into parts of `length` pixels
        rows, summed = items, count
        stages = ceil(min(arguments["length"], count) / tile.depth)
    else:
        rows, summed = count * (4 if pooled else 1), items
        stages = min(ceil(items / tile.depth), arguments["cut"][1])
    down, along = (-(-n // size) for n, size in ((rows, tile.rows), (of_group, tile.columns)))
    # y, dy and one byte are loaded for four pixels: 9 of 16 bytes
    of_window = 9 / 16 if outer and tile.name == "first" and pooled else 1
    loaded_bytes = 4 * summed * (filters // of_group) * (along * rows + of_window * down * of_group)
    return Product(stages, int(loaded_bytes), 2 * rows * summed * filters)


def _resident(name: str) -> int:
    """Returns the number of a product's blocks that a multiprocessor runs at the same time."""
    from autoconv.kernels.cuda.fragments import make_layout

    tile = products()[name]
    of_rows = 0 if "weight_gradient" in name else 16 * tile.rows
    shared = 4 * tile.stages * make_layout(tile, False, False).size + of_rows
    return max(1, min(SHARED // shared, REGISTERS // (registers(name) * tile.threads), THREADS // tile.threads))


def registers(name: str) -> int:
    """Returns the maximum number of registers per thread of a product. A test compares this number
    with the assembler's report.
    """
    return REGISTERS_OF_OUTER if "weight_gradient" in name else REGISTERS_OF_GATHERED


def _adding(launch: Any) -> float:
    """Returns the seconds of the loads that a thread of `add_parts` makes, four at the same time and
    then the next four. Returns 0 for other kernels.
    """
    arguments = dict(zip(inspect.signature(launch.kernel.function).parameters, launch.arguments))
    if "parts" not in arguments or "partial" not in arguments:
        return 0.0
    shares = int(launch.kernel.name.rpartition("_")[2])
    return SHORTEST + ceil(arguments["parts"] / shares / 4) * STAGE


def _merge_ranges(access: list) -> list[tuple[int, int]]:
    """Returns the accessed ranges of memory (start, stop), merged so that no byte counts twice."""
    ranges: list[tuple[int, int]] = []
    for start, stop in sorted((start, stop) for start, stop, _ in access):
        if ranges and start < ranges[-1][1]:
            ranges[-1] = ranges[-1][0], max(stop, ranges[-1][1])
        else:
            ranges.append((start, stop))
    return ranges


@cache
def products() -> dict[str, Any]:
    """Returns the tile of each product kernel that uses tensor cores, keyed by the kernel's name."""
    from autoconv.kernels.cuda import conv, fused

    families = [value for module in (conv, fused) for value in vars(module).values() if isinstance(value, conv.Family)]
    return {kernel.name: tile for family in families for kernel, tile in zip(family.tensor, family.tiles.tensor)}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gpu_plan", description=__doc__.partition("\n")[0])
    parser.add_argument("--workload", nargs="+", choices=WORKLOADS, default=list(WORKLOADS), help="default: all nets")
    parser.add_argument("--batch", type=int, nargs="+", help="batch sizes; default: those of the net")
    options = parser.parse_args(argv)
    idle = []
    for name in options.workload:
        for batch_size in options.batch or WORKLOADS[name].batch_sizes:
            plan = make_plan(WORKLOADS[name], batch_size)
            print(plan, end="\n\n", flush=True)
            idle += plan.idle()
    if idle:
        print(f"Fewer than {LEAST_BLOCKS} blocks with more than {MOST_STAGES} stages:", *idle, sep="\n  ")
    return 1 if idle else 0


if __name__ == "__main__":
    sys.exit(main())
