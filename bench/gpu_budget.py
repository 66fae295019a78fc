"""`python -m bench.gpu_budget` writes docs/gpu-budget.md: what a step of training should cost a GPU."""

from pathlib import Path

from . import gpu_peers, gpu_plan
from .gpu_plan import Plan
from .workloads import WORKLOADS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "gpu-budget.md"
# The net, its name on the page, the batch size, and the goal in microseconds on an H200, if there is one.
STEPS = (("lecture", "Lecture net", 64, 60), ("lecture", "Lecture net", 1024, None),
         ("lecture-large", "Large net", 128, 1600), ("photos", "Photo net", 128, 1500))

HEAD = """# A budget for a GPU

What a training step should cost an H200, written down before one was measured. **Every time on this page is an
estimate.** The page is made by `python -m bench.gpu_budget`, from the launches that a step records without a GPU and
from the constants below; a test fails where it is out of date. `python -m bench.gpu_plan --workload NAME --batch N`
shows any other step. What a card measures will be in the JSON that `python -m bench.gpu_check` writes, under
`bench/results/`.

## How it is counted

A launch takes as long as the slowest of four: its bytes from memory; what its products load from the second-level
cache; the instructions of its warps; and the stages that a block goes through one after the other, times the turns in
which all blocks find room. In the graph a launch starts when those that it waits for have ended. A step takes as long
as its longest path (marked `*`), or as all launches if each had the whole GPU for itself (busy), whichever is more.
These are lower bounds: nothing is lost to uneven turns, conflicts or caches. Some constants are guesses, so an
estimate may be wrong both ways.

"""


def constants() -> str:
    rows = (
        ("memory", f"{gpu_plan.MEMORY / 1e12:.1f} TB/s", "large copies on an H200, by others; data sheet: 4.8"),
        ("second-level cache", f"{gpu_plan.L2 / 1e12:.1f} TB/s", "reads on an H100, by others"),
        ("instructions of warps", f"{gpu_plan.ISSUED / 1e9:.0f} G/s",
         f"four a cycle on {gpu_plan.PROCESSORS} multiprocessors at 1.755 GHz: data sheet"),
        ("instructions of a stage", _each(gpu_plan.OF_STAGE),
         "counted by the PTX machine, a warp; machine code has more where integers have 64 bits"),
        ("of a weight gradient's", _each(gpu_plan.OF_OUTER_STAGE), "the same"),
        ("instructions of a block", f"{gpu_plan.OF_BLOCK}", "the same, a warp: where its rows lie, and the end"),
        ("a stage, alone", f"{gpu_plan.STAGE * 1e6:.1f} us", "assumed: latency of memory, a barrier, the products; "
         f"divided by the stages under way, but {gpu_plan.SHORTEST_STAGE * 1e6:.1f} us at least"),
        ("a kernel", f"{gpu_plan.SHORTEST * 1e6:.1f} us", "assumed: the shortest that reads and writes memory"),
        ("from launch to launch", f"{gpu_plan.NODE * 1e6:.1f} us", "assumed: between dependent nodes of a graph"),
        ("products of the peers", f"{gpu_peers.PRODUCTS / 1e12:.0f} TFLOP/s", "assumed: half of the data sheet's peak"),
    )
    return _table(("what", "value", "from"), rows)


def _table(head: tuple[str, ...], rows: tuple | list) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in (head, *rows)]
    return "\n".join([lines[0], "|---" * len(head) + "|", *lines[1:]])


def _each(numbers: dict[str, int]) -> str:
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
    return _table(("step", "launches", "on the path", "path, us", "busy, us", "step, us", "goal, us",
                   "PyTorch: launches, us", "JAX: launches, us"), rows)


def page() -> str:
    plans = [gpu_plan.of(WORKLOADS[name], batch_size) for name, _, batch_size, _ in STEPS]
    parts = [HEAD + constants(), "## The steps", summary(plans),
             "PyTorch is a captured graph of its eager operations in one stream, JAX what XLA fuses\n"
             "(`bench/gpu_peers.py`). Both are counts, with fewer bounds than ours: no stages, no instructions."]
    for (_, title, _, _), plan in zip(STEPS, plans):
        rows = [(f"`{row[0].removesuffix(' *')}`{' *' * row[0].endswith(' *')}", *row[1:]) for row in plan.rows()]
        parts += [f"## {title}, batch {plan.batch_size}", _table(gpu_plan.HEAD, rows)]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
