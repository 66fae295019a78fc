"""The nets that are timed: every framework computes the same, and `autoconv bench` has them too."""

import numpy as np
import pytest

from autoconv import optimizers as optim
from autoconv.kernels import device
from autoconv.programs.bench.cases import cases
from autoconv.programs.bench.suite import SUITE
from autoconv.programs.bench.throughput import NetUnderTest
from bench import peers, reference, rounds, specs, startup, workloads
from bench.peers import autoconv as autoconv_peer

pytestmark = pytest.mark.slow

CPU = device.get("cpu")


def run(name, mode, workload):
    """One round of a peer in a process of its own, behind the checks that its net is the right one."""
    plan = rounds.Plan(1, 1, threads=1, steps=2)
    return rounds.compare([name], workload, 2, mode, plan, lambda text: None)["peers"][name]


@pytest.mark.parametrize("name", [name for name in workloads.WORKLOADS if name not in workloads.PHOTO_NETS])
def test_every_workload_runs_once_in_training_and_inference(name):
    for mode in ("train", "infer"):
        found = run("autoconv", mode, name)
        assert found["status"] == "timed", found
        assert found["images_per_s"]["median"] > 0
        assert found["peak_memory"] is None or found["peak_memory"] > 20e6


FRAMEWORKS = ("torch", "keras", "jax", "onnxruntime", "openvino", "mnn", "mygrad")  # tinygrad compiles for a minute


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_every_framework_computes_the_same_net(name):
    if lacks := peers.missing(name):
        pytest.skip(f"not installed: {', '.join(lacks)}")
    mode = next(mode for mode in ("train", "infer") if mode in peers.PEERS[name].modes)
    workload = next(w for w in ("resnet20", "lenet5") if peers.able(name, mode, w))
    found = run(name, mode, workload)
    assert found["status"] == "timed", found["reason"]


@pytest.mark.parametrize("name", SUITE)
def test_the_workloads_are_the_nets_of_the_command_line(name):
    workload, timed = workloads.WORKLOADS[name], SUITE[name]
    assert timed.input_shape == workload.input_shape
    assert timed.batch_size == workload.batch_sizes[0]
    tested = NetUnderTest(timed, 1, CPU)
    for mode in ("train", "infer"):
        assert tested.flops(mode) == workloads.flops(workload, mode)
    peer = peers.create(peers.PEERS["autoconv"].factory, workload, 1, "infer", workloads.SEED)
    peer.load(workloads.weights(workload))
    tested.net.set_weights(peer.net.get_weights())
    images, labels = workloads.data(workload, 2)
    out = tested.net.predict(images, verbose=0).astype(float)
    shares = np.exp(out) / np.exp(out).sum(1, keepdims=True) if timed.from_logits else out
    expected = reference.loss(workload, workloads.weights(workload), images, labels)
    assert -np.log(shares[[0, 1], labels]).mean() == pytest.approx(expected, abs=1e-5)


def test_data_are_the_same_whatever_the_count():
    few, many = (workloads.data(workloads.WORKLOADS["lecture"], n) for n in (3, 7))
    assert np.array_equal(few[0], many[0][:3])
    assert np.array_equal(few[1], many[1][:3])


def test_every_kind_of_kernel_is_timed_and_no_work_twice():
    found = list(cases(SUITE["lecture"].build(), 2, CPU))
    names = [case.name for case in found]
    assert len(set(names)) == len(names)
    kinds = {case.kind for case in found}
    assert {"conv forward", "conv input gradient", "conv weight gradient", "conv+pool forward", "conv+pool gradients",
            "dense forward", "dense input gradient", "dense weight gradient", "relu forward", "relu gradient",
            "update"} <= kinds
    for case in found:
        case.call()
        assert case.bytes > 0


@pytest.mark.parametrize("net", ["lecture", "lecture-bn"])
def test_every_way_to_the_first_step_is_a_step_of_that_net(net):
    workload, ways = workloads.WORKLOADS[net], {}
    images, labels = workloads.data(workload, 4)
    for name, optimizer in (("fit", "rmsprop"), ("train_on_batch", "rmsprop"), ("fit, SGD", optim.SGD(0.001)),
                            ("functional", None)):
        peer = peers.create(startup.WAYS[name.split(",")[0]], workload, 1, "start", workloads.SEED)
        peer.load(workloads.weights(workload))
        if optimizer:
            peer.net.compile(optimizer, "categorical_crossentropy")
        peer.shuffle = False
        peer.hold(images, labels, 2)
        peer.train(2)
        ways[name] = peer.weights()
    for one, other in (("fit", "train_on_batch"), ("fit, SGD", "functional")):
        for a, b, start in zip(ways[one], ways[other], workloads.weights(workload)):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
            assert a.ndim == 1 or not np.array_equal(a, start)  # a bias before a normalization has no gradient


@pytest.mark.parametrize("name", ["lenet5", "mlp", "resnet20", "vgg-bn", "mobile", "wide", "mobilenet_v2",
                                  "mobilenet_v3_small", "efficientnet_b0", "densenet121", "unet"])
def test_a_step_of_gradient_descent_is_the_same_in_pytorch(name):
    """Forward, all gradients and the normalizations' averages: of the layers' net, the bare functions and PyTorch."""
    torch = pytest.importorskip("torch")
    workload, batch, found = workloads.WORKLOADS[name], 16, []
    workload = workload._replace(body=tuple(s for s in workload.body if not isinstance(s, specs.Dropout)))
    for factory in (peers.PEERS["autoconv"].factory, startup.WAYS["functional"], peers.PEERS["torch"].factory):
        peer = peers.create(factory, workload, 1, "train", workloads.SEED)
        if isinstance(peer, autoconv_peer.Autoconv):
            peer.rate = 0.1
            peer.net.compile(optim.SGD(0.1), "categorical_crossentropy")
        else:
            peer.optimizer = torch.optim.SGD(peer.net.parameters())
            peer.schedule(np.array([0.1]))
        peer.load(workloads.weights(workload))
        peer.shuffle = False
        peer.hold(*workloads.data(workload, batch), batch)
        peer.train(1)
        found.append([a - b for a, b in zip(peer.weights(), workloads.weights(workload), strict=True)])
    for layers, functions, others in zip(*found, strict=True):
        size = max(np.linalg.norm(layers), 1e-4)  # some gradients are 0 except for rounding
        assert np.linalg.norm(layers - functions) < 1e-3 * size
        assert np.linalg.norm(layers - others) < 3e-2 * size  # PyTorch's average is of unbiased variances


def test_the_nets_with_dropout_and_normalization_are_the_lecture_net_otherwise():
    plain, dropped, normal = (workloads.WORKLOADS[n] for n in ("lecture", "lecture-dropout", "lecture-bn"))
    assert [s for s in dropped.layers if not isinstance(s, specs.Dropout)] == list(plain.layers)
    kept = [s._replace(activation="relu") if isinstance(s, specs.Conv) else s for s in normal.layers
            if not isinstance(s, specs.Norm)]
    assert kept == list(plain.layers)
    assert peers_network(normal) == [
        *(name for pool in ("MaxPooling2D", "MaxPooling2D", "Flatten")
          for name in ("Conv2D", "BatchNormalization", "ReLU", pool)), "Dense", "Dense"]


def peers_network(workload):
    """The kinds of layers of autoconv's net for a workload."""
    kinds = [type(layer).__name__ for layer in autoconv_peer.network(workload)[0].layers]
    return [kind for kind in kinds if kind != "InputLayer"]


def test_a_peer_is_asked_only_for_what_it_has():
    assert not peers.able("mygrad", "train", "mobile")
    assert peers.able("mygrad", "train", "lecture-bn")
    assert peers.able("torch", "train", "mobile")
    assert not peers.able("onnxruntime", "train", "lecture")
