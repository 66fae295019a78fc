"""One step of an optimizer over the flat array of all parameters: a single pass, each element on its own. And the
clipping of gradients.

The numbers arrive as float64 and are rounded to the parameters' type once. `decay_factor` is what weight decay leaves
of a weight, `1 - learning_rate * weight_decay`. A slot that the optimizer does not use is an array of length zero.
"""

import math

import numpy as np
from numba import prange

from .. import updates
from .jit import inline, kernel, recorded

FEW = 1 << 17  # up to so many parameters one thread is done before a second one has woken up


@kernel("(T[::1], T[::1], T[::1], float64, float64, boolean, float64)", parallel=True, few=FEW)
def sgd(w, g, m, learning_rate, momentum, nesterov, decay_factor):
    """m = momentum*m - lr*g;  w += m, with Nesterov's look ahead w += momentum*m - lr*g."""
    real = w.dtype.type
    lr, mu, decay_factor = real(learning_rate), real(momentum), real(decay_factor)
    for i in prange(len(w)):
        _sgd(i, w, g, m, lr, mu, nesterov, decay_factor)


@inline
def _sgd(i, w, g, m, lr, mu, nesterov, decay_factor):
    step = -lr * g[i]
    if len(m) > 0:
        m[i] = mu * m[i] + step
        step = mu * m[i] + step if nesterov else m[i]
    w[i] = w[i] * decay_factor + step


@kernel("(T[::1], T[::1], T[::1], T[::1], T[::1], float64, float64, float64, float64, float64)", parallel=True, few=FEW)
def rmsprop(w, g, v, m, a, learning_rate, rho, momentum, epsilon, decay_factor):
    """v = rho*v + (1-rho)*g^2;  w -= lr*g / sqrt(v + epsilon), with momentum m and the mean gradient a where given."""
    real = w.dtype.type
    lr, mu, eps, decay_factor = real(learning_rate), real(momentum), real(epsilon), real(decay_factor)
    old, new = real(rho), real(1.0 - rho)
    moving, centered = len(m) > 0, len(a) > 0
    if moving or centered:
        for i in prange(len(w)):
            _rmsprop(i, w, g, v, m, a, lr, old, new, mu, eps, decay_factor, moving, centered)
    else:
        for i in prange(len(w)):  # constants at the end: so it becomes vector code
            _rmsprop(i, w, g, v, m, a, lr, old, new, mu, eps, decay_factor, False, False)


@inline
def _rmsprop(i, w, g, v, m, a, lr, old, new, mu, eps, decay_factor, moving, centered):
    variance = v[i] = old * v[i] + new * (g[i] * g[i])
    if centered:
        mean = a[i] = old * a[i] + new * g[i]
        variance -= mean * mean
    step = lr * g[i] / np.sqrt(variance + eps)
    if moving:
        step = m[i] = mu * m[i] + step
    w[i] = w[i] * decay_factor - step


@kernel("(T[::1], T[::1], T[::1], T[::1], float64, float64, float64, float64, float64)", parallel=True, few=FEW)
def adam(w, g, m, v, alpha, beta_1, beta_2, epsilon, decay_factor):
    """m += (g - m)*(1 - beta_1);  v += (g^2 - v)*(1 - beta_2);  w -= alpha*m / (sqrt(v) + epsilon)."""
    real = w.dtype.type
    new_m, new_v = real(1.0 - beta_1), real(1.0 - beta_2)
    alpha, eps, decay_factor = real(alpha), real(epsilon), real(decay_factor)
    for i in prange(len(w)):
        _adam(i, w, g, m, v, alpha, new_m, new_v, eps, decay_factor)


@inline
def _adam(i, w, g, m, v, alpha, new_m, new_v, eps, decay_factor):
    m[i] += (g[i] - m[i]) * new_m
    v[i] += (g[i] * g[i] - v[i]) * new_v
    w[i] = w[i] * decay_factor - alpha * m[i] / (np.sqrt(v[i]) + eps)


# The others. Their formulas are in kernels/updates.py.

_adam_max, _adagrad, _adadelta, _adamax, _nadam, _lion, _ftrl, _moving = map(inline, (
    updates.adam_max, updates.adagrad, updates.adadelta, updates.adamax, updates.nadam, updates.lion, updates.ftrl,
    updates.moving))


@kernel("(T[::1], T[::1], T[::1], T[::1], T[::1], float64, float64, float64, float64, float64)", parallel=True, few=FEW)
def adam_max(w, g, m, v, largest, alpha, beta_1, beta_2, epsilon, decay_factor):
    real = w.dtype.type
    kept, numbers = real(decay_factor), (real(alpha), real(1.0 - beta_1), real(1.0 - beta_2), real(epsilon))
    for i in prange(len(w)):
        w[i], m[i], v[i], largest[i] = _adam_max(w[i] * kept, g[i], m[i], v[i], largest[i], *numbers)


@kernel("(T[::1], T[::1], T[::1], float64, float64, float64)", parallel=True, few=FEW)
def adagrad(w, g, a, learning_rate, epsilon, decay_factor):
    real = w.dtype.type
    kept, numbers = real(decay_factor), (real(learning_rate), real(epsilon))
    for i in prange(len(w)):
        w[i], a[i] = _adagrad(w[i] * kept, g[i], a[i], *numbers)


@kernel("(T[::1], T[::1], T[::1], T[::1], float64, float64, float64, float64)", parallel=True, few=FEW)
def adadelta(w, g, a, d, learning_rate, rho, epsilon, decay_factor):
    real = w.dtype.type
    kept, numbers = real(decay_factor), (real(learning_rate), real(rho), real(1.0 - rho), real(epsilon))
    for i in prange(len(w)):
        w[i], a[i], d[i] = _adadelta(w[i] * kept, g[i], a[i], d[i], *numbers)


@kernel("(T[::1], T[::1], T[::1], T[::1], float64, float64, float64, float64, float64)", parallel=True, few=FEW)
def adamax(w, g, m, u, alpha, beta_1, beta_2, epsilon, decay_factor):
    real = w.dtype.type
    kept, numbers = real(decay_factor), (real(alpha), real(1.0 - beta_1), real(beta_2), real(epsilon))
    for i in prange(len(w)):
        w[i], m[i], u[i] = _adamax(w[i] * kept, g[i], m[i], u[i], *numbers)


@kernel("(T[::1], T[::1], T[::1], T[::1], " + ", ".join(7 * ["float64"]) + ")", parallel=True, few=FEW)
def nadam(w, g, m, v, of_m, of_g, of_root, beta_1, beta_2, epsilon, decay_factor):
    real = w.dtype.type
    kept, numbers = real(decay_factor), (real(of_m), real(of_g), real(of_root), real(1.0 - beta_1), real(1.0 - beta_2),
                                         real(epsilon))
    for i in prange(len(w)):
        w[i], m[i], v[i] = _nadam(w[i] * kept, g[i], m[i], v[i], *numbers)


@kernel("(T[::1], T[::1], T[::1], float64, float64, float64, float64)", parallel=True, few=FEW)
def lion(w, g, m, learning_rate, beta_1, beta_2, decay_factor):
    real = w.dtype.type
    kept, numbers = real(decay_factor), (real(learning_rate), real(beta_1), real(1.0 - beta_1), real(beta_2),
                                         real(1.0 - beta_2))
    for i in prange(len(w)):
        w[i], m[i] = _lion(w[i] * kept, g[i], m[i], *numbers)


@kernel("(T[::1], T[::1], T[::1], T[::1], " + ", ".join(7 * ["float64"]) + ")", parallel=True, few=FEW)
def ftrl(w, g, a, z, learning_rate, power, l1, l2, shrinkage, beta, decay_factor):
    real = w.dtype.type
    kept, numbers = real(decay_factor), (real(learning_rate), real(power), real(l1), real(l2), real(shrinkage),
                                         real(beta))
    for i in prange(len(w)):
        w[i], a[i], z[i] = _ftrl(w[i] * kept, g[i], a[i], z[i], *numbers)


@kernel("(T[::1], T[::1], float64)", parallel=True, few=FEW)
def moving_average(average, w, momentum):
    real = w.dtype.type
    old, new = real(momentum), real(1.0 - momentum)
    for i in prange(len(w)):
        average[i] = _moving(average[i], w[i], old, new)


@kernel("(T[::1], T[::1], float64)", parallel=True, few=FEW)
def adopt(w, average, whether):
    """w = average where `whether` is 1."""
    if whether == 1.0:
        for i in prange(len(w)):
            w[i] = average[i]


@kernel("(T[::1], float64)", parallel=True, few=FEW)
def decay(w, decay_factor):
    """w times the factor, for optimizers that do not decay all weights."""
    kept = w.dtype.type(decay_factor)
    for i in prange(len(w)):
        w[i] *= kept


@recorded
def clip(gradient, limit):
    """Cuts each element off at -limit and limit."""
    np.clip(gradient, -limit, limit, out=gradient)


@recorded
def shrink(gradient, limit):
    """Scales an array down to the L2 norm `limit` where it is longer. NumPy's sum: the same bits for any threads."""
    norm = math.sqrt(float((gradient * gradient).sum()))
    if norm > limit:
        gradient *= limit / norm
