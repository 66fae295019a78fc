"""The gradient before a ReLU, made by the kernel that computes the gradient behind it: it is what separate ops give."""

import numpy as np
import pytest
from autoconv.tensor import apply

from autoconv import functional as F
from autoconv import tensor
from autoconv.arguments import shapes
from autoconv.kernels import device
from autoconv.operators import conv as conv_ops
from autoconv.operators import dense as dense_ops
from autoconv.operators import fused as fused_ops

pytestmark = [pytest.mark.gpu, pytest.mark.usefixtures("gpu_somewhere")]
WHERE = ["cpu", "cuda"]


def conv(x, w, relu=True, op=conv_ops.conv2d):
    """`relu`: with a ReLU or without; None: with one that is an op of its own."""
    window = shapes.window(x.shape[1:3], (3, 3), padding="same")
    if op is fused_ops.conv2d_relu_pool:
        return apply(op, x, w, None, window=window)
    if relu is None:
        return F.relu(apply(op, x, w, None, window=window))
    return apply(op, x, w, None, window=window, activation="relu" if relu else "linear")


def dense(x, w, relu=True):
    return apply(dense_ops.dense, x, w, None, activation="relu" if relu else "linear")


def chain(x, a, b, c, d, together):
    """Two convolutions, a fused pooling, a dense layer behind a view."""
    relu = True if together else None
    y = conv(conv(x, a, relu), b, relu)
    return dense(conv(y, c, op=fused_ops.conv2d_relu_pool).reshape(2, -1), d, False)


def behind_a_view(x, a, b, c, d, together):
    """A dense layer behind a view of a convolution, and one behind that."""
    relu = True if together else None
    y = conv(x, a, relu).reshape(2, -1)
    y = dense(y, d) if together else F.relu(dense(y, d, False))
    return dense(y, tensor(np.ones((3, 2)), device=y.device.name), False)


def twice(x, a, b, c, d, together):
    """Two convolutions read one result."""
    relu = True if together else None
    y = conv(x, a, relu)
    return conv(y, b, False) + conv(y, c, False)


def beside_another(x, a, b, c, d, together):
    """What else reads the result knows of no ReLU: its gradient is not 0 where the result is."""
    relu = True if together else None
    y = conv(x, a, relu)
    return conv(y, b, False) + y * 3


def behind_another(x, a, b, c, d, together):
    """The same the other way round: the one that is newer is asked first for its gradient."""
    relu = True if together else None
    y = conv(x, a, relu)
    other = y * 3
    return conv(y, b, False) + other


@pytest.mark.parametrize("net", [chain, behind_a_view, twice, beside_another, behind_another])
@pytest.mark.parametrize("where", WHERE)
def test_gradients_are_those_of_separate_ops(net, where):
    rng = np.random.default_rng(0)
    given = [rng.normal(size=size) for size in ((2, 4, 4, 4), (3, 3, 4, 4), (3, 3, 4, 4), (3, 3, 4, 4))]
    given.append(rng.normal(size=(64 if net is behind_a_view else 16, 3)))
    results = []
    for together in (True, False):
        inputs = [tensor(array, True, device=where) for array in given]
        y = net(*inputs, together)
        y.backward(np.random.default_rng(1).normal(size=y.shape))
        results.append([t.device.numpy(t.grad) for t in inputs if t.grad is not None])
    for one, other in zip(*results, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-12)


def test_no_launch_is_spent_on_a_relu_s_gradient(monkeypatch):
    kernels, launched = device.get("cuda").module("kernels"), []
    launch = kernels.CudaKernel.launch
    monkeypatch.setattr(kernels.CudaKernel, "launch",
                        lambda kernel, *given: (launched.append(kernel.name), launch(kernel, *given)))
    rng = np.random.default_rng(0)
    sizes = (2, 4, 4, 4), (3, 3, 4, 4), (3, 3, 4, 4)
    x, a, b = (tensor(rng.normal(size=size), True, device="cuda") for size in sizes)
    conv(conv(x, a), b, False).sum().backward()
    assert any("input_gradient" in name for name in launched)
    assert not [name for name in launched if "relu_grad" in name], launched
    conv(conv(x, a), b, True).sum().backward()  # what a sum gives is not 0 where the ReLU was
    assert any("relu_grad" in name for name in launched)


@pytest.mark.parametrize("retained", [["relu"], ["view"], ["relu", "view"]], ids=" and ".join)
def test_a_gradient_that_is_retained_is_not_masked(retained):
    rng = np.random.default_rng(0)
    x, a, b = (tensor(rng.standard_normal(shape).astype("float32"), requires_grad=True)
               for shape in ((2, 4, 4, 3), (3, 3, 3, 4), (64, 2)))
    results = {"relu": conv(x, a)}
    results["view"] = results["relu"].reshape(2, -1)
    for name in retained:
        results[name].retain_grad()
    dense(results["view"], b, False).sum().backward()
    expected = np.broadcast_to(b.numpy().sum(1), (2, 64))
    assert (results["relu"].numpy() == 0).any()
    for name in retained:
        np.testing.assert_allclose(results[name].grad.reshape(2, 64), expected, rtol=1e-5)
    gradients = x.grad, a.grad
    x.grad = a.grad = None
    dense(conv(x, a).reshape(2, -1), b, False).sum().backward()
    for gradient, t in zip(gradients, (x, a)):
        np.testing.assert_allclose(gradient, t.grad, rtol=1e-4, atol=1e-5)
