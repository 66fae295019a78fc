"""Measures every kernel of every net, and compares it with this machine's ceilings:

    pytest bench/test_kernels.py --benchmark-enable [--benchmark-json=kernels.json] [-k lecture-large]

pytest-benchmark times the kernel. The fraction of the ceiling is in the JSON's `extra_info`. It is
measured in rounds that alternate between the kernel and both ceilings, so that a busy machine hardly
affects it.
"""

import pytest

from autoconv.engine.costs import ceilings
from autoconv.kernels import device
from autoconv.programs.bench.cases import cases
from autoconv.programs.bench.suite import SUITE

from .conftest import FOUND

ROUNDS = 5
CPU = device.get("cpu")


def _names():
    """Yields each net's name with the numbers of its kernels. A test creates only its own case,
    because the arrays of all cases together have several gigabytes.
    """
    for name, timed in SUITE.items():
        for index, case in enumerate(cases(timed.build(), 1, CPU)):
            yield pytest.param(name, index, id=f"{name}: {case.kind} {index}", marks=pytest.mark.benchmark(group=name))


@pytest.fixture(scope="module")
def ceiling():
    return ceilings.Ceilings(CPU)


@pytest.mark.parametrize(("name", "index"), list(_names()))
def test_kernel(benchmark, ceiling, name, index):
    timed = SUITE[name]
    case = next(c for i, c in enumerate(cases(timed.build(), timed.batch_size, CPU)) if i == index)
    benchmark(case.call)
    if benchmark.disabled:
        return
    share = ceilings.share(ceiling, case.call, case.flops, case.bytes, ROUNDS)
    found = {"workload": name, "kind": case.kind, "layer": case.layer,
             **ceilings.summarize(share, case.flops, case.bytes)}
    benchmark.extra_info.update(found)
    FOUND.append(found)
