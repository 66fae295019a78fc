"""One step of an optimizer over the flat array of all parameters, a thread an element, and the clipping of gradients.

The numbers are float64 and are rounded to the parameters' type once. The learning rate and `decay_factor` lie in the
GPU's memory, since a recorded step takes new ones each time. `decay_factor` is what weight decay leaves of a
weight, `1 - learning_rate * weight_decay`. A slot that the optimizer does not use is an array of length zero.
"""

import math

import numpy as np

from .. import updates
from . import array as arrays
from .arith import add_parts
from .kernels import inline, kernel
from .ptx import global_index

PARTS = 256  # a norm is made of so many sums, added in their order


@kernel("(int64, T[::1], const T[::1], T[::1], const float64[::1], float64, boolean, const float64[::1],"
        " boolean)")
def _sgd(count, w, g, m, learning_rate, momentum, nesterov, decay_factor, moving):
    real = w.dtype.type
    lr, mu, kept = real(learning_rate[0]), real(momentum), real(decay_factor[0])
    i = global_index()
    if i < count:
        step = -lr * g[i]
        if moving:
            m[i] = mu * m[i] + step
            step = mu * m[i] + step if nesterov else m[i]
        w[i] = w[i] * kept + step


@kernel("(int64, T[::1], const T[::1], T[::1], T[::1], T[::1], const float64[::1], float64, float64,"
        " float64, const float64[::1], boolean, boolean)")
def _rmsprop(count, w, g, v, m, a, learning_rate, rho, momentum, epsilon, decay_factor, moving, centered):
    real = w.dtype.type
    lr, mu, eps, kept = real(learning_rate[0]), real(momentum), real(epsilon), real(decay_factor[0])
    old, new = real(rho), real(1.0 - rho)
    i = global_index()
    if i < count:
        variance = old * v[i] + new * (g[i] * g[i])
        v[i] = variance
        if centered:
            mean = old * a[i] + new * g[i]
            a[i] = mean
            variance -= mean * mean
        step = lr * g[i] / math.sqrt(variance + eps)
        if moving:
            step = mu * m[i] + step
            m[i] = step
        w[i] = w[i] * kept - step


@kernel("(int64, T[::1], const T[::1], T[::1], T[::1], const float64[::1], float64, float64, float64, const"
        " float64[::1])")
def _adam(count, w, g, m, v, alpha, beta_1, beta_2, epsilon, decay_factor):
    real = w.dtype.type
    new_m, new_v = real(1.0 - beta_1), real(1.0 - beta_2)
    rate, eps, kept = real(alpha[0]), real(epsilon), real(decay_factor[0])
    i = global_index()
    if i < count:
        m[i] += (g[i] - m[i]) * new_m
        v[i] += (g[i] * g[i] - v[i]) * new_v
        w[i] = w[i] * kept - rate * m[i] / (math.sqrt(v[i]) + eps)


@kernel("(int64, T[::1], T)")
def _clip(count, g, limit):
    i = global_index()
    if i < count:
        g[i] = -limit if g[i] < -limit else limit if g[i] > limit else g[i]


@kernel("(int64, const T[::1], float64[:,::1])")
def _square_sums(count, g, partial):
    """partial[part] = the sum of the squares of its share of g."""
    part = global_index()
    if part < count:
        total = 0.0
        for i in range(g.size * part // count, g.size * (part + 1) // count):
            total += float(g[i]) * float(g[i])
        partial[part, 0] = total


@kernel("(int64, T[::1], const float64[::1], float64)")
def _shrink(count, g, squares, limit):
    """g scaled down to the norm `limit` where it is longer."""
    norm = math.sqrt(squares[0])
    if norm > limit:
        factor = g.dtype.type(limit / norm)
        i = global_index()
        if i < count:
            g[i] *= factor


def sgd(w, g, m, learning_rate, momentum, nesterov, decay_factor):
    """m = momentum*m - lr*g;  w += m, with Nesterov's look ahead w += momentum*m - lr*g."""
    _sgd(w.size, w, g, m, _number(w, learning_rate), momentum, nesterov, _number(w, decay_factor), m.size > 0)


def rmsprop(w, g, v, m, a, learning_rate, rho, momentum, epsilon, decay_factor):
    """v = rho*v + (1-rho)*g^2;  w -= lr*g / sqrt(v + epsilon), with momentum m and the mean gradient a where given."""
    _rmsprop(w.size, w, g, v, m, a, _number(w, learning_rate), rho, momentum, epsilon, _number(w, decay_factor),
             m.size > 0, a.size > 0)


def adam(w, g, m, v, alpha, beta_1, beta_2, epsilon, decay_factor):
    """m += (g - m)*(1 - beta_1);  v += (g^2 - v)*(1 - beta_2);  w -= alpha*m / (sqrt(v) + epsilon)."""
    _adam(w.size, w, g, m, v, _number(w, alpha), beta_1, beta_2, epsilon, _number(w, decay_factor))


# The others. Their formulas are in kernels/updates.py. Each takes the numbers that change from step to step as arrays.

_of_adam_max, _of_adagrad, _of_adadelta, _of_adamax, _of_nadam, _of_lion, _of_ftrl, _of_moving = map(inline, (
    updates.adam_max, updates.adagrad, updates.adadelta, updates.adamax, updates.nadam, updates.lion, updates.ftrl,
    updates.moving))


@kernel("(int64, T[::1], const T[::1], T[::1], T[::1], T[::1], const float64[::1], float64, float64, float64, "
        "const float64[::1])")
def _adam_max(count, w, g, m, v, largest, alpha, beta_1, beta_2, epsilon, decay_factor):
    real = w.dtype.type
    i = global_index()
    if i < count:
        w[i], m[i], v[i], largest[i] = _of_adam_max(
            w[i] * real(decay_factor[0]), g[i], m[i], v[i], largest[i],
            real(alpha[0]), real(1.0 - beta_1), real(1.0 - beta_2), real(epsilon))


@kernel("(int64, T[::1], const T[::1], T[::1], const float64[::1], float64, const float64[::1])")
def _adagrad(count, w, g, a, learning_rate, epsilon, decay_factor):
    real = w.dtype.type
    i = global_index()
    if i < count:
        w[i], a[i] = _of_adagrad(
            w[i] * real(decay_factor[0]), g[i], a[i],
            real(learning_rate[0]), real(epsilon))


@kernel("(int64, T[::1], const T[::1], T[::1], T[::1], const float64[::1], float64, float64, const "
        "float64[::1])")
def _adadelta(count, w, g, a, d, learning_rate, rho, epsilon, decay_factor):
    real = w.dtype.type
    i = global_index()
    if i < count:
        w[i], a[i], d[i] = _of_adadelta(
            w[i] * real(decay_factor[0]), g[i], a[i], d[i],
            real(learning_rate[0]), real(rho), real(1.0 - rho), real(epsilon))


@kernel("(int64, T[::1], const T[::1], T[::1], T[::1], const float64[::1], float64, float64, float64, const "
        "float64[::1])")
def _adamax(count, w, g, m, u, alpha, beta_1, beta_2, epsilon, decay_factor):
    real = w.dtype.type
    i = global_index()
    if i < count:
        w[i], m[i], u[i] = _of_adamax(
            w[i] * real(decay_factor[0]), g[i], m[i], u[i],
            real(alpha[0]), real(1.0 - beta_1), real(beta_2), real(epsilon))


@kernel("(int64, T[::1], const T[::1], T[::1], T[::1], const float64[::1], const float64[::1], const "
        "float64[::1], float64, float64, float64, const float64[::1])")
def _nadam(count, w, g, m, v, of_m, of_g, of_root, beta_1, beta_2, epsilon, decay_factor):
    real = w.dtype.type
    i = global_index()
    if i < count:
        w[i], m[i], v[i] = _of_nadam(
            w[i] * real(decay_factor[0]), g[i], m[i], v[i],
            real(of_m[0]), real(of_g[0]), real(of_root[0]), real(1.0 - beta_1), real(1.0 - beta_2), real(epsilon))


@kernel("(int64, T[::1], const T[::1], T[::1], const float64[::1], float64, float64, const float64[::1])")
def _lion(count, w, g, m, learning_rate, beta_1, beta_2, decay_factor):
    real = w.dtype.type
    i = global_index()
    if i < count:
        w[i], m[i] = _of_lion(
            w[i] * real(decay_factor[0]), g[i], m[i],
            real(learning_rate[0]), real(beta_1), real(1.0 - beta_1), real(beta_2), real(1.0 - beta_2))


@kernel("(int64, T[::1], const T[::1], T[::1], T[::1], const float64[::1], float64, float64, float64, "
        "float64, float64, const float64[::1])")
def _ftrl(count, w, g, a, z, learning_rate, power, l1, l2, shrinkage, beta, decay_factor):
    real = w.dtype.type
    i = global_index()
    if i < count:
        w[i], a[i], z[i] = _of_ftrl(
            w[i] * real(decay_factor[0]), g[i], a[i], z[i],
            real(learning_rate[0]), real(power), real(l1), real(l2), real(shrinkage), real(beta))


@kernel("(int64, T[::1], const T[::1], const float64[::1])")
def _moving_average(count, average, w, momentum):
    real = w.dtype.type
    i = global_index()
    if i < count:
        average[i] = _of_moving(average[i], w[i], real(momentum[0]), real(1.0 - momentum[0]))


@kernel("(int64, T[::1], const T[::1], const float64[::1])")
def _adopt(count, w, average, whether):
    i = global_index()
    if i < count and whether[0] == 1.0:
        w[i] = average[i]


@kernel("(int64, T[::1], const float64[::1])")
def _decay(count, w, decay_factor):
    i = global_index()
    if i < count:
        w[i] *= w.dtype.type(decay_factor[0])


def adam_max(w, g, m, v, largest, alpha, beta_1, beta_2, epsilon, decay_factor):
    _adam_max(w.size, w, g, m, v, largest, _number(w, alpha), beta_1, beta_2, epsilon, _number(w, decay_factor))


def adagrad(w, g, a, learning_rate, epsilon, decay_factor):
    _adagrad(w.size, w, g, a, _number(w, learning_rate), epsilon, _number(w, decay_factor))


def adadelta(w, g, a, d, learning_rate, rho, epsilon, decay_factor):
    _adadelta(w.size, w, g, a, d, _number(w, learning_rate), rho, epsilon, _number(w, decay_factor))


def adamax(w, g, m, u, alpha, beta_1, beta_2, epsilon, decay_factor):
    _adamax(w.size, w, g, m, u, _number(w, alpha), beta_1, beta_2, epsilon, _number(w, decay_factor))


def nadam(w, g, m, v, of_m, of_g, of_root, beta_1, beta_2, epsilon, decay_factor):
    _nadam(w.size, w, g, m, v, _number(w, of_m), _number(w, of_g), _number(w, of_root), beta_1, beta_2, epsilon,
           _number(w, decay_factor))


def lion(w, g, m, learning_rate, beta_1, beta_2, decay_factor):
    _lion(w.size, w, g, m, _number(w, learning_rate), beta_1, beta_2, _number(w, decay_factor))


def ftrl(w, g, a, z, learning_rate, power, l1, l2, shrinkage, beta, decay_factor):
    _ftrl(w.size, w, g, a, z, _number(w, learning_rate), power, l1, l2, shrinkage, beta, _number(w, decay_factor))


def moving_average(average, w, momentum):
    _moving_average(w.size, average, w, _number(w, momentum))


def adopt(w, average, whether):
    """w = average where `whether` is 1."""
    _adopt(w.size, w, average, _number(w, whether))


def decay(w, decay_factor):
    """w times the factor, for optimizers that do not decay all weights."""
    flat = w.reshape(-1)
    _decay(flat.size, flat, _number(w, decay_factor))


def _number(w, value):
    return arrays.number(w.gpu, value, np.float64)


def clip(gradient, limit):
    """Cuts each element off at -limit and limit."""
    flat = gradient.reshape(-1)
    _clip(flat.size, flat, flat.dtype.type(limit))


def shrink(gradient, limit):
    """Scales an array down to the L2 norm `limit` where it is longer."""
    flat = gradient.reshape(-1)
    partial, squares = arrays.empty(flat.gpu, (PARTS, 1), np.float64), arrays.empty(flat.gpu, (1,), np.float64)
    _square_sums(PARTS, flat, partial)
    add_parts(1, partial, squares)
    _shrink(flat.size, flat, squares, float(limit))
