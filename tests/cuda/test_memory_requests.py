"""Kernels that do little arithmetic read and write a GPU's memory in long runs: many sectors per request.

The machine that runs PTX counts both (ptx.Counters), so no GPU is needed.
"""

import importlib

import numpy as np
import pytest
from autoconv.tensor import apply, tensor

from autoconv import functional as F
from autoconv.kernels import device
from autoconv.kernels.cuda import driver
from autoconv.operators import activations, norm

if not driver.is_installed():
    pytest.skip("numba-cuda is not installed: pip install 'autoconv[cuda]'", allow_module_level=True)

IMAGES, FEW, ROWS = (4, 26, 26, 32), (4, 26, 26, 6), (64, 1152)


def some(*shape):
    return tensor(np.random.default_rng(0).normal(size=shape).astype("float32"), True, device="cuda")


def normalized(op, *more, **parameters):
    mean, variance = (device.get("cuda").asarray(np.zeros(32, np.float32)) for _ in range(2))
    return apply(op, some(8, *IMAGES[1:]), some(32), some(32), *more, mean=mean, variance=variance, epsilon=1e-3,
                 **parameters)


OPS = {  # each op, and the least sectors per request of all its kernels, forward and backward
    "max": (16, lambda: F.max_pool2d(some(*IMAGES))),
    "max of six channels": (8.2, lambda: F.max_pool2d(some(*FEW))),
    "max of 3x3": (11.6, lambda: F.max_pool2d(some(*IMAGES), 3, strides=2, padding="same")),
    "average": (16, lambda: F.avg_pool2d(some(*IMAGES), padding="same")),
    "norm": (12.5, lambda: normalized(norm.batch_norm, training=True, activation="relu")),
    "norm and pool": (13.2, lambda: normalized(norm.batch_norm_relu_pool)),
    "norm and add": (13.6, lambda: normalized(norm.batch_norm_add_relu, some(8, *IMAGES[1:]))),
    "depthwise": (9.7, lambda: F.depthwise_conv2d(some(*IMAGES), some(3, 3, 32, 1), some(32), padding="same")),
    "dropout": (8.4, lambda: F.dropout(some(*ROWS), 0.4, seed=3)),
    "relu": (16, lambda: F.relu(some(*ROWS))),
    "add and relu": (16, lambda: apply(activations.add_relu, some(*ROWS), some(*ROWS))),
    "sum": (16, lambda: some(*ROWS) + some(*ROWS)),
    "product with a number": (12.2, lambda: some(*ROWS) * 3),
}


@pytest.mark.parametrize("name", OPS)
def test_memory_is_read_and_written_in_many_sectors_per_request(name, monkeypatch):
    """With so few images a large GPU gives each thread one row; here it is one of eight processors."""
    columns = importlib.import_module("autoconv.kernels.cuda.columns")
    monkeypatch.setattr(columns, "BLOCKS", 8)
    monkeypatch.setattr(columns, "MOST", 32)
    least, call = OPS[name]
    with importlib.import_module("ptx.device").interpreted(counters := {}):
        y = call()
        y.backward(device.get("cuda").asarray(np.ones(y.shape, np.float32)))
    sectors, requests = (sum(getattr(count, what) for count in counters.values()) for what in ("sectors", "requests"))
    assert sectors / requests >= least


@pytest.mark.parametrize(("rows", "channels"), [(64 * 676, 32), (64 * 784, 16), (4096, 512), (64 * 5625, 32)])
def test_sums_over_a_batch_are_shared_by_all_processors(rows, channels):
    """As many blocks as an H200 has processors, or more; each row is in one of them."""
    spread = importlib.import_module("autoconv.kernels.cuda.columns").spread
    for summing in (False, True):
        (parts, pieces), each, length, across, lanes = spread(rows, channels // 4, summing)
        assert 132 <= parts * pieces <= 1200
        assert (parts - 1) * length < rows <= parts * length
        assert (pieces - 1) * lanes[0] < each <= pieces * lanes[0]
        assert length % across[0] == 0
        assert 192 < across[0] * lanes[0] <= 256
