"""Every matrix product of a training step fills a GPU of 132 multiprocessors, or is short. No GPU is needed."""

import pytest

from autoconv.backend.cuda import driver

if not driver.installed():
    pytest.skip("numba-cuda is not installed: pip install 'autoconv[cuda]'", allow_module_level=True)

from bench import gpu_plan, workloads
from bench.workloads import WORKLOADS

SIZES = [(name, size) for name, workload in WORKLOADS.items() for size in workload.batch_sizes]


@pytest.mark.parametrize(("name", "batch_size"), [*SIZES, ("lecture-large", 128), ("photos", 128)])
def test_no_product_leaves_the_gpu_idle_in_a_long_sum(name, batch_size):
    plan = gpu_plan.of(WORKLOADS[name], batch_size)
    assert any(line.tile for line in plan.lines)
    assert plan.idle() == []


def test_a_plan_counts_what_a_step_does():
    """Forward and both gradients, and a path that is no shorter than what it holds."""
    plan = gpu_plan.of(WORKLOADS["lecture"], 64)
    counted, direct = sum(line.flops for line in plan.lines), 64 * workloads.flops(WORKLOADS["lecture"], "train")
    # Pixels that no pooling reads are left out; an input gradient multiplies at the border what is not there.
    assert 0.9 * direct < counted < 1.25 * direct
    assert plan.path >= max(line.seconds for line in plan.lines)
    assert plan.critical == sorted(plan.critical)
    assert plan.lines[plan.critical[0]].kernel.startswith("step.")  # from the batch ...
    assert plan.lines[plan.critical[-1]].kernel.startswith("update.")  # ... to the weights


def test_the_command_says_which_product_is_too_long(monkeypatch, capsys):
    monkeypatch.setattr(gpu_plan, "MOST_STAGES", 0)
    assert gpu_plan.main(["--workload", "lecture", "--batch", "1"]) == 1
    said = capsys.readouterr().out
    assert "lecture, batch 1:" in said
    assert "lecture at 1: conv.forward_tf32 has 2 blocks with 18 stages each" in said
