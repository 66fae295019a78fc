"""The update rules of optimizers: scalar functions that both devices compile into their kernels.

Each function takes the weight w, its gradient g and the optimizer's slots, followed by numbers of
the same dtype. Each returns the new weight and slots.
"""

import math


def adam_max(w, g, m, v, largest, alpha, new_m, new_v, epsilon):
    """Adam with the largest v up to now instead of v (Reddi et al., "On the convergence of Adam",
    2018).
    """
    m += (g - m) * new_m
    v += (g * g - v) * new_v
    largest = max(largest, v)
    return w - alpha * m / (math.sqrt(largest) + epsilon), m, v, largest


def adagrad(w, g, a, rate, epsilon):
    """a += g^2;  w -= rate g / sqrt(a + epsilon) (Duchi et al., 2011)."""
    a += g * g
    return w - rate * g / math.sqrt(a + epsilon), a


def adadelta(w, g, a, d, rate, old, new, epsilon):
    """a follows g^2;  step = g sqrt(d + epsilon) / sqrt(a + epsilon);  d follows step^2 (Zeiler, 2012)."""
    a = old * a + new * (g * g)
    step = math.sqrt(d + epsilon) * g / math.sqrt(a + epsilon)
    d = old * d + new * (step * step)
    return w - rate * step, a, d


def adamax(w, g, m, u, alpha, new_m, beta_2, epsilon):
    """m follows g;  u = max(beta_2 u, |g|);  w -= alpha m / (u + epsilon) (Kingma and Ba, 2014)."""
    m += (g - m) * new_m
    u = max(beta_2 * u, abs(g))
    return w - alpha * m / (u + epsilon), m, u


def nadam(w, g, m, v, of_m, of_g, of_root, new_m, new_v, epsilon):
    """m follows g, v g^2;  w -= (of_m m + of_g g) / (of_root sqrt(v) + epsilon) (Dozat, 2015)."""
    m += (g - m) * new_m
    v += (g * g - v) * new_v
    return w - (of_m * m + of_g * g) / (of_root * math.sqrt(v) + epsilon), m, v


def lion(w, g, m, rate, old_step, new_step, old_m, new_m):
    """w -= rate sign(old_step m + new_step g), then m follows g (Chen et al., 2023)."""
    direction = old_step * m + new_step * g
    step = rate if direction > 0 else -rate if direction < 0 else direction
    return w - step, old_m * m + new_m * g


def ftrl(w, g, a, z, rate, power, l1, l2, shrinkage, beta):
    """Follow the regularized leader: a += g^2, z accumulates gradients, and both determine w
    (McMahan et al., 2013).
    """
    grown = a + g * g
    before = a**power / rate
    after = grown**power / rate
    z += g + shrinkage * w + shrinkage * w - (after - before) * w
    quadratic = after + l2 + l2 + beta / rate
    return (max(-l1, min(z, l1)) - z) / quadratic, grown, z


def moving(average, w, old, new):
    """average = old average + new w."""
    return old * average + new * w
