"""`python -m bench.gpu_budget` writes docs/gpu-budget.md: estimated times of training steps on a GPU."""

from pathlib import Path

from . import gpu_peers, gpu_plan
from .gpu_plan import Plan
from .workloads import WORKLOADS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "gpu-budget.md"
# Each entry: workload, its name on the page, batch size, and the goal in microseconds on an H200 or None.
STEPS = (("lecture", "Lecture net", 64, 60), ("lecture", "Lecture net", 1024, None),
         ("lecture-large", "Large net", 128, 1600), ("photos", "Photo net", 128, 1500))

HEAD = """# A budget for a GPU

This page estimates the time of a training step on an NVIDIA H200. The estimates were written down before any step had
been measured: **every time on this page is computed, not measured.** The [measured
times](performance-log.md#the-first-run-on-a-gpu) are 1.6 to 2.5 times as long, on an H100, whose memory is slower.
`python -m bench.gpu_budget` generates the page without a GPU, from the kernel launches of a recorded step and from the
constants below. A test fails if the page is out of date. `python -m bench.gpu_plan --workload NAME --batch N` prints
the table of launches for any other net and batch size. On a machine with a GPU, `python -m bench.gpu_check` measures
the real times and writes them to a JSON file in `bench/results/`.

## How the times are estimated

A thread block of a matrix product loads its operands into shared memory in slices; a **stage** is one such slice. A
**wave** is a set of blocks that runs on the GPU at the same time. The estimated time of a launch is the largest of four
bounds:

- the bytes of its arrays, divided by the memory bandwidth;
- the bytes that a product loads into shared memory, divided by the bandwidth of the L2 cache;
- the instructions of all its warps, divided by the instruction rate;
- the number of waves, times the number of stages per block, times the time of a stage.

In the captured graph, a launch starts when all launches that it depends on have ended. A step takes at least as long as
the longest path through the graph, whose launches are marked `*`. A step also takes at least the sum of the times of
all launches, each computed as if the launch had the whole GPU for itself (the column "busy"). The estimate of a step is
the larger of the two times. The estimates are meant as lower bounds, because uneven waves, bank conflicts and cache
misses are not counted. However, some constants are guesses, so a real step can also be faster than its estimate.

The tables below list the launches of a step in the order in which they were recorded. [Kernels](kernels.md) explains
the names of the tiles. "B/FLOP" is the number of bytes that a product loads into shared memory per FLOP.

"""


def constants() -> str:
    rows = (
        ("memory bandwidth", f"{gpu_plan.MEMORY / 1e12:.1f} TB/s",
         "measured by others with large copies on an H200; the data sheet states 4.8 TB/s"),
        ("bandwidth of the L2 cache", f"{gpu_plan.L2 / 1e12:.1f} TB/s", "measured by others with reads on an H100"),
        ("warp instructions per second", f"{gpu_plan.ISSUED / 1e9:.0f} G/s",
         f"data sheet: four per cycle on each of {gpu_plan.PROCESSORS} multiprocessors at 1.755 GHz"),
        ("instructions per warp and stage, by tile", _format_numbers(gpu_plan.OF_STAGE),
         "counted by the PTX emulator; machine code has more instructions for 64-bit integers"),
        ("instructions per warp and stage of a weight gradient", _format_numbers(gpu_plan.OF_OUTER_STAGE),
         "counted by the PTX emulator"),
        ("instructions per warp outside the stages", f"{gpu_plan.OF_BLOCK}",
         "counted by the PTX emulator: instructions that compute row addresses and store results"),
        ("time of one stage", f"{gpu_plan.STAGE * 1e6:.1f} us", "assumed: memory latency, a barrier and the products; "
         f"divided by the number of stages in flight, but at least {gpu_plan.SHORTEST_STAGE * 1e6:.1f} us"),
        ("shortest kernel", f"{gpu_plan.SHORTEST * 1e6:.1f} us", "assumed for any kernel that reads and writes memory"),
        ("gap between two launches", f"{gpu_plan.NODE * 1e6:.1f} us", "assumed for dependent nodes of a graph"),
        ("products in PyTorch and JAX", f"{gpu_peers.PRODUCTS / 1e12:.0f} TFLOP/s",
         "assumed: half of the data sheet's peak"),
    )
    return _table(("constant", "value", "source"), rows)


def _table(head: tuple[str, ...], rows: tuple | list) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _format_numbers(numbers: dict[str, int]) -> str:
    return ", ".join(f"{name} {n}" for name, n in numbers.items())


def _us(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f}"


def summary(plans: list[Plan]) -> str:
    rows = []
    for (name, title, batch_size, goal), plan in zip(STEPS, plans):
        torch, jax = (peer(WORKLOADS[name], batch_size) for peer in (gpu_peers.pytorch, gpu_peers.jax))
        rows.append((f"{title}, {batch_size}", str(len(plan.lines)), str(len(plan.critical)), _us(plan.path),
                     _us(plan.busy), f"**{_us(plan.seconds)}**", f"{goal:,}" if goal else "",
                     f"{len(torch)}, {_us(gpu_peers.seconds(torch))}", f"{len(jax)}, {_us(gpu_peers.seconds(jax))}"))
    return _table(("net, batch size", "launches", "launches on the path", "longest path, us", "busy, us", "step, us",
                   "goal, us", "PyTorch: launches, us", "JAX: launches, us"), rows)


def page() -> str:
    plans = [gpu_plan.make_plan(WORKLOADS[name], batch_size) for name, _, batch_size, _ in STEPS]
    parts = [HEAD + constants(), "## The steps", summary(plans),
             "The figures for PyTorch and JAX are estimates as well (`bench/gpu_peers.py`). For\n"
             "PyTorch, a step is counted as a captured graph of eager operations on one stream; for JAX, as the\n"
             "kernels that XLA fuses. Both estimates use only bytes and FLOP, without the bounds for stages and\n"
             "instructions."]
    for (_, title, _, _), plan in zip(STEPS, plans):
        rows = [(f"`{row[0].removesuffix(' *')}`{' *' * row[0].endswith(' *')}", *row[1:]) for row in plan.rows()]
        parts += [f"## {title}, batch {plan.batch_size}", _table(gpu_plan.HEAD, rows)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
