"""What kernels that do little arithmetic would cost a GPU: PTX instructions an item, and sectors a request to memory.

By the counts of the machine that runs PTX (ptx.Counters), so no GPU is needed. A bound is a tenth above what was
counted: who changes a kernel and goes past it has made it slower, or knows why not.
"""

import importlib
import math

import numpy as np
import pytest

from autoconv import functional as F
from autoconv.backend import device
from autoconv.backend.cuda import driver
from autoconv.operators import activations, norm
from autoconv.tensor import apply, tensor

if not driver.installed():
    pytest.skip("numba-cuda is not installed: pip install 'autoconv[cuda]'", allow_module_level=True)

IMAGES, FEW, ROWS = (4, 26, 26, 32), (4, 26, 26, 6), (64, 1152)


def some(*shape):
    return tensor(np.random.default_rng(0).normal(size=shape).astype("float32"), True, device="cuda")


def normalized(op, *more, **parameters):
    mean, variance = (device.get("cuda").asarray(np.zeros(32, np.float32)) for _ in range(2))
    return apply(op, some(8, *IMAGES[1:]), some(32), some(32), *more, mean=mean, variance=variance, epsilon=1e-3,
                 **parameters)


OPS = {
    "max": (IMAGES, lambda: F.max_pool2d(some(*IMAGES))),
    "max of six channels": (FEW, lambda: F.max_pool2d(some(*FEW))),
    "max of 3x3": (IMAGES, lambda: F.max_pool2d(some(*IMAGES), 3, strides=2, padding="same")),
    "average": (IMAGES, lambda: F.avg_pool2d(some(*IMAGES), padding="same")),
    "norm": ((8, *IMAGES[1:]), lambda: normalized(norm.batch_norm, training=True, relu=True)),
    "norm and pool": ((8, *IMAGES[1:]), lambda: normalized(norm.batch_norm_relu_pool)),
    "norm and add": ((8, *IMAGES[1:]), lambda: normalized(norm.batch_norm_add_relu, some(8, *IMAGES[1:]))),
    "depthwise": (IMAGES, lambda: F.depthwise_conv2d(some(*IMAGES), some(3, 3, 32, 1), some(32), padding="same")),
    "dropout": (ROWS, lambda: F.dropout(some(*ROWS), 0.4, seed=3)),
    "relu": (ROWS, lambda: F.relu(some(*ROWS))),
    "add and relu": (ROWS, lambda: apply(activations.add_relu, some(*ROWS), some(*ROWS))),
    "sum": (ROWS, lambda: some(*ROWS) + some(*ROWS)),
    "product with a number": (ROWS, lambda: some(*ROWS) * 3),
}


LIMITS = {  # for each op: of each kernel the most instructions an item of the op's input, the least sectors a request
    "max": {"pool._max_of_four_4": (11.4, 16), "pool._max_of_four_grad_4": (11.1, 16)},
    "max of six channels": {"pool._max_of_four_1": (31, 6.5), "pool._max_of_four_grad_1": (35, 6.5)},
    "max of 3x3": {"pool._max_4": (36, 15), "pool._max_grad_4": (80, 8)},
    "average": {"pool._average_of_four_4": (7.8, 16), "pool._average_of_four_grad_4": (8.4, 16)},
    "norm": {"norm._sums_4": (20, 13), "norm._products_4": (25, 13), "norm._normalize_4": (12.5, 13),
             "norm._input_grad_4": (17.5, 10)},
    "norm and pool": {"norm_pool._normalize_pool_4": (13.5, 13), "norm_pool._input_grad_pool_4": (17.5, 11.5)},
    "norm and add": {"norm_add._passed_products_4": (25, 15), "norm._normalize_4": (14.5, 14)},
    "depthwise": {"depthwise._forward_4": (97, 9), "depthwise._input_gradient_4": (109, 10),
                  "depthwise._weight_gradient_4": (54, 10)},
    "dropout": {"random._dropout_4": (48, 6.5)},
    "relu": {"pointwise._relu": (8, 16), "pointwise._relu_grad": (9.1, 16)},
    "add and relu": {"pointwise._add_relu": (10.2, 16)},
    "sum": {"arith.add": (14, 16)},
    "product with a number": {"arith.multiply": (14, 10)},
}


def counted(name):
    """The counts of an op's kernels, forward and backward, by their names."""
    shape, call = OPS[name]
    with importlib.import_module("ptx.device").interpreted(counters := {}):
        y = call()
        y.backward(device.get("cuda").asarray(np.ones(y.shape, np.float32)))
    size = math.prod(shape)
    return {kernel: (32 * sum(c.instructions.values()) / c.launches / size, c.sectors / c.requests)
            for kernel, c in counters.items() if c.launches}


@pytest.mark.parametrize("name", LIMITS)
def test_instructions_an_item_and_sectors_a_request(name, monkeypatch):
    """With so few images a large GPU gives each thread one row; here it is one of eight processors."""
    columns = importlib.import_module("autoconv.backend.cuda.columns")
    monkeypatch.setattr(columns, "BLOCKS", 8)
    monkeypatch.setattr(columns, "MOST", 32)
    found = counted(name)
    for kernel, (most, least) in LIMITS[name].items():
        instructions, sectors = found[kernel]
        assert (instructions <= most, sectors >= least) == (True, True), (kernel, instructions, sectors)


@pytest.mark.parametrize(("rows", "channels"), [(64 * 676, 32), (64 * 784, 16), (4096, 512), (64 * 5625, 32)])
def test_sums_over_a_batch_are_shared_by_all_processors(rows, channels):
    """As many blocks as an H200 has processors, or more; each row is in one of them."""
    spread = importlib.import_module("autoconv.backend.cuda.columns").spread
    for summing in (False, True):
        (parts, pieces), each, length, across, lanes = spread(rows, channels // 4, summing)
        assert 132 <= parts * pieces <= 1200
        assert (parts - 1) * length < rows <= parts * length
        assert (pieces - 1) * lanes[0] < each <= pieces * lanes[0]
        assert length % across[0] == 0
        assert 192 < across[0] * lanes[0] <= 256
