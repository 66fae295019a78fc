"""Every matrix product of a training step fills a GPU of 132 multiprocessors, or is short. No GPU is needed."""

import numpy as np
import pytest

from autoconv import functional as F
from autoconv import layers, models, tensor
from autoconv.kernels.cuda import driver

if not driver.is_installed():
    pytest.skip("numba-cuda is not installed: pip install 'autoconv[cuda]'", allow_module_level=True)

import ptx.device
from bench import gpu_budget, gpu_plan, workloads
from bench.workloads import WORKLOADS

SIZES = [(name, size) for name, workload in WORKLOADS.items() for size in workload.batch_sizes]


@pytest.mark.parametrize(("name", "batch_size"), [*SIZES, ("lecture-large", 128), ("photos", 128)])
def test_no_product_leaves_the_gpu_idle_in_a_long_sum(name, batch_size):
    plan = gpu_plan.make_plan(WORKLOADS[name], batch_size)
    assert any(line.tile for line in plan.lines)
    assert plan.idle() == []


def test_a_plan_counts_what_a_step_does():
    """Forward and both gradients, and a path that is no shorter than what it holds."""
    plan = gpu_plan.make_plan(WORKLOADS["lecture"], 64)
    counted, direct = sum(line.flops for line in plan.lines), 64 * workloads.flops(WORKLOADS["lecture"], "train")
    # Pixels that no pooling reads are left out; an input gradient multiplies at the border what is not there.
    assert 0.9 * direct < counted < 1.25 * direct
    assert plan.path >= max(line.seconds for line in plan.lines)
    assert plan.critical == sorted(plan.critical)
    assert plan.lines[plan.critical[0]].kernel.startswith("step.")  # from the batch ...
    assert plan.lines[plan.critical[-1]].kernel.startswith("update.")  # ... to the weights


@pytest.mark.parametrize(("batch_size", "launches"), [(64, ["joint._classifier"]),
                                                      (1024, ["joint._classifier", "joint._sums"])])
def test_the_end_of_a_classifier_s_step_is_one_launch_of_the_longest_path(batch_size, launches):
    """Softmax, loss, gradient and sums; of more samples than a block has threads the sums keep nobody waiting."""
    plan = gpu_plan.make_plan(WORKLOADS["lecture"], batch_size)
    ends = [i for i, line in enumerate(plan.lines) if line.kernel.startswith(
        ("joint.", "loss.", "pointwise.", "step._acc", "step._close"))]
    assert [plan.lines[i].kernel for i in ends] == launches
    assert [i for i in ends if i in plan.critical] == ends[:1]


@pytest.mark.parametrize(("channels", "filters"), [(1, 32), (3, 16), (32, 32), (40, 64), (10, 10)])
def test_instructions_are_those_of_the_kernels(channels, filters, monkeypatch):
    """A plan takes them from a table; here the machine that runs PTX counts them."""
    from autoconv.kernels.cuda import kernels

    launches, counters = [], {}
    launch = kernels.CudaKernel.launch
    monkeypatch.setattr(kernels.CudaKernel, "launch", lambda kernel, *given: (
        launches.append(kernels.Launch(kernel, *given)), launch(kernel, *given)))
    with ptx.device.interpreted(counters):
        x = tensor(np.ones((1, 18, 18, channels), np.float32), True, device="cuda")
        w = tensor(np.ones((3, 3, channels, filters), np.float32), True, device="cuda")
        F.conv2d(x, w).sum().backward()
    products = {given.kernel.name: given for given in launches if counters[given.kernel.name].launches
                and given.kernel.name in gpu_plan.products()}
    assert len(products) == 3  # forward, and both gradients
    for name, given in products.items():
        assert counters[name].launches == 1
        counted = sum(counters[name].instructions.values())
        assert 0.6 < gpu_plan.instructions(given) / counted < 1.5, name


@pytest.mark.parametrize("tile", ["wide", "tall", "large", "narrow", "medium", "small"])
def test_no_threads_of_a_product_wait_for_one_bank_of_shared_memory(tile, monkeypatch):
    """Each tile is filled once, with 32 of its stages."""
    from autoconv.kernels.cuda import tiles

    counters, shape = {}, next(each for each in tiles.FORWARD.tensor if each.name == tile)
    monkeypatch.setattr(tiles, "choose", lambda several, *_: [each.name for each in several].index(tile))
    monkeypatch.setattr(tiles, "cut", lambda each, count, length, least=0: (1, -(-length // each.depth)))
    with ptx.device.interpreted(counters):
        x, w = (tensor(np.ones(size, np.float32), device="cuda") for size in (
            (1, 1, shape.rows, 32 * shape.depth), (1, 1, 32 * shape.depth, shape.columns)))
        F.conv2d(x, w)
    found = counters[f"conv.forward_tf32_{tile}"]
    assert found.instructions["shared load"] > 0
    assert found.conflicts == 0


def test_a_residual_block_in_inference_ends_in_its_convolution():
    """Normalization, addition and ReLU take no launch of their own but what makes two vectors of the normalization."""
    x = layers.Input((6, 5, 8))
    normalized = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same")(x))
    model = models.Model(x, layers.ReLU()(layers.Add()([normalized, x])))
    for name in ("gamma", "beta", "moving_mean"):
        getattr(model.layers[2], name).assign(np.random.default_rng(0).normal(size=8))
    images = np.random.default_rng(1).normal(size=(2, 6, 5, 8)).astype(np.float32)
    expected, counters = model.predict_on_batch(images), {}
    with ptx.device.interpreted(counters):
        found = model.to("cuda").predict_on_batch(images)
        model.to("cpu")
    np.testing.assert_allclose(found, expected, atol=1e-2)
    assert {name: count.launches for name, count in counters.items() if count.launches} == {
        "norm._fold": 1, "conv.forward_tf32_small": 1}


def test_the_page_of_the_budget_is_up_to_date():
    """Blanks do not count."""
    assert gpu_budget.PAGE.read_text().split() == gpu_budget.page().split(), "python -m bench.gpu_budget"


def test_the_command_says_which_product_is_too_long(monkeypatch, capsys):
    monkeypatch.setattr(gpu_plan, "MOST_STAGES", 0)
    assert gpu_plan.main(["--workload", "lecture", "--batch", "1"]) == 1
    said = capsys.readouterr().out
    assert "lecture, batch 1:" in said
    assert "lecture at 1: conv.forward_tf32 has 2 blocks with 18 stages each" in said
