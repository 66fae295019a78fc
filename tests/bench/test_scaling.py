"""What `bench.scaling` computes of what it measured."""

import numpy as np
import pytest

from bench import messages, scaling


@pytest.mark.parametrize("ranks", [2, 4])
def test_a_network_is_found_again_from_what_sums_took(ranks):
    network = messages.Network(3e-5, 1.2e8)
    sums = [(size, network.seconds(size, ranks)) for size in (1e3, 1e4, 1e5, 1e6, 1e7)]
    np.testing.assert_allclose(messages.fit_network(sums, ranks), network, rtol=1e-6)
    assert network.seconds(1e6, 1) == 0
    assert network.seconds(1e6, 2) == pytest.approx(3e-5 + 1e6 / 1.2e8)  # each sends all of it once
    assert network.seconds(1e6, 4) == pytest.approx(6e-5 + 1.5e6 / 1.2e8)  # a share to each, and the sum of one


def test_ranks_that_share_a_batch_compute_less_and_wait_for_the_sum():
    network = messages.Network(0.0, 1e8)
    assert messages.step(0.02, 1e6, 2, network) == pytest.approx(0.03)
    net = messages.Net(0.001, 0.0001, 1e6)
    assert net.computes(200) == pytest.approx(0.021)
    assert messages.efficiency(net, 200, 2, network) == pytest.approx(0.021 / (2 * (0.011 + 0.01)))
    assert messages.most(net, 800, network) == 4  # 8 take 8 * (11 + 17.5) ms together, one alone 81
    assert messages.most(net, 800, messages.Network(0.0, 1e12)) == 64  # each step takes 1 ms whatever is in it


def test_the_table_has_ratios_to_one_process_and_to_ddp():
    def rounds(seconds, **more):
        return [{"seconds": [seconds, seconds], "loss": 1.0, **more}]

    sums = {"waited": 1e-3, "gradient": 2e-3, "sums": [[1e3, 1e-4], [1e6, 2e-3]], "bytes": 1000}
    result = {"workload": "lecture", "gigabits": None, "batch_size": 128, "wrong": False, "compression": None,
              "rounds": {
        "autoconv 1x2": rounds(0.010), "autoconv 2x1": rounds(0.0125, **sums), "torch 2x1": rounds(0.050)}}
    slow = {**result, "gigabits": 1.0, "rounds": {"autoconv 2x1": rounds(0.02, **sums)}}
    lines = [line.split() for line in scaling.format_table([result, slow]).splitlines()[2:]]
    assert lines[1][:6] == ["lecture", "autoconv", "2x1", "10,240", "0.80", "4.00"]
    assert lines[3][:6] == ["lecture", "1", "autoconv", "2x1", "6,400", "0.50"]
    assert [float(cell) for cell in lines[1][8:11]] == [11.5, 1.0, 2.0]  # computes, waits, the sum alone
