"""Numbers that remember how they were computed: the derivative of a plain-loop definition, by IEEE's rules alone.

An array of these, of dtype object, goes through the functions of reference.py. Each operation has one derivative, and a
number that was not used (the smaller one of a maximum, what a clip cut off) gets an exact 0, never 0 * inf.
"""

import math
from numbers import Real

import numpy as np


class Number:
    """A float64, the numbers that it was made of, and its derivatives by these."""

    def __init__(self, value, parents=(), slopes=()):
        self.value, self.parents, self.slopes, self.gradient = np.float64(value), parents, slopes, np.float64(0)

    def __add__(self, other):
        a, b = self, number(other)
        return Number(a.value + b.value, (a, b), (1, 1))

    def __sub__(self, other):
        a, b = self, number(other)
        return Number(a.value - b.value, (a, b), (1, -1))

    def __mul__(self, other):
        a, b = self, number(other)
        return Number(a.value * b.value, (a, b), (b.value, a.value))

    def __truediv__(self, other):
        a, b = self, number(other)
        y = a.value / b.value
        return Number(y, (a, b), (1 / b.value, -y / b.value))

    def __rsub__(self, other):
        return number(other) - self

    def __rtruediv__(self, other):
        return number(other) / self

    __radd__, __rmul__ = __add__, __mul__

    def __neg__(self):
        return Number(-self.value, (self,), (-1,))

    def __abs__(self):
        return Number(abs(self.value), (self,), (np.sign(self.value),))

    def __pow__(self, exponent):
        if isinstance(exponent, Number):
            y = self.value ** exponent.value
            slope = 0 if exponent.value == 0 else exponent.value * self.value ** (exponent.value - 1)
            return Number(y, (self, exponent), (slope, 0 if self.value == 0 else y * np.log(self.value)))
        y = _raised(self.value, exponent)
        return Number(y) if exponent == 0 else Number(y, (self,), (exponent * _raised(self.value, exponent - 1),))

    def __mod__(self, other):
        a, b = self, number(other)
        return Number(a.value % b.value, (a, b), (1, -(a.value // b.value)))

    def arctan2(self, other):
        a, b = self, number(other)
        square = a.value * a.value + b.value * b.value
        return Number(np.arctan2(a.value, b.value), (a, b), (b.value / square, -a.value / square))

    def sin(self):
        return Number(np.sin(self.value), (self,), (np.cos(self.value),))

    def cos(self):
        return Number(np.cos(self.value), (self,), (-np.sin(self.value),))

    def sinh(self):
        return Number(np.sinh(self.value), (self,), (np.cosh(self.value),))

    def cosh(self):
        return Number(np.cosh(self.value), (self,), (np.sinh(self.value),))

    def arcsin(self):
        return Number(np.arcsin(self.value), (self,), (1 / np.sqrt((1 - self.value) * (1 + self.value)),))

    def arccos(self):
        return Number(np.arccos(self.value), (self,), (-1 / np.sqrt((1 - self.value) * (1 + self.value)),))

    def arctan(self):
        return Number(np.arctan(self.value), (self,), (1 / (1 + self.value * self.value),))

    def exp(self):
        y = np.exp(self.value)
        return Number(y, (self,), (y,))

    def log(self):
        return Number(np.log(self.value), (self,), (1 / self.value,))

    def sqrt(self):
        y = np.sqrt(self.value)
        return Number(y, (self,), (0.5 / y,))

    def expm1(self):
        y = np.expm1(self.value)
        return Number(y, (self,), (y + 1,))

    def log1p(self):
        return Number(np.log1p(self.value), (self,), (1 / (1 + self.value),))

    def erf(self):
        return Number(math.erf(self.value), (self,), (2 / math.sqrt(math.pi) * np.exp(-self.value * self.value),))

    def tanh(self):
        y = np.tanh(self.value)
        return Number(y, (self,), (1 - y * y,))

    def sigmoid(self):
        y = 1 / (1 + np.exp(-self.value))
        return Number(y, (self,), (y * (1 - y),))

    def __lt__(self, other):
        return self.value < value(other)

    def __le__(self, other):
        return self.value <= value(other)

    def __gt__(self, other):
        return self.value > value(other)

    def __ge__(self, other):
        return self.value >= value(other)

    def __eq__(self, other):
        return bool(self.value == value(other))

    def __ne__(self, other):
        return bool(self.value != value(other))

    __hash__ = object.__hash__

    def __bool__(self):
        return bool(self.value)


def number(x):
    return x if isinstance(x, Number) else Number(x)


def value(x):
    return x.value if isinstance(x, Number) else np.float64(x) if isinstance(x, Real) else x


def numbers(array):
    """An array of them."""
    found = np.empty(np.shape(array), object)
    for index, item in np.ndenumerate(array):
        found[index] = Number(item)
    return found


def values(array):
    """Their values; of what is a plain number itself."""
    return np.array([value(item) for item in np.asarray(array, object).flat], np.float64).reshape(np.shape(array))


def walk_back(results, gradients):
    """Adds to each number's gradient what flows back from the results."""
    order, seen = [], set()
    for root in results.flat:
        waiting = [(root, False)]
        while waiting:
            node, done = waiting.pop()
            if done:
                order.append(node)
            elif isinstance(node, Number) and id(node) not in seen:
                seen.add(id(node))
                waiting += [(node, True), *((parent, False) for parent in node.parents)]
    for root, gradient in zip(results.flat, np.asarray(gradients).flat):
        if isinstance(root, Number):
            root.gradient = root.gradient + gradient
    for node in reversed(order):
        for parent, slope in zip(node.parents, node.slopes):
            parent.gradient = parent.gradient + node.gradient * slope


def _raised(value, exponent):
    """Of an array, which NumPy computes in other ways; versions of it differ in the root of minus infinity."""
    return np.sqrt(value) if exponent == 0.5 else (np.atleast_1d(value) ** exponent)[0]
