"""Normal numbers from random words: a scalar function that the kernels of both devices compile, each for itself."""

import math


def normal(word):
    """The number below which a standard normal one lies with probability (word + 1/2) / 2^32, in float64.

    Wichura: "Algorithm AS 241: the percentage points of the normal distribution", Applied Statistics 37, 1988 (PPND7,
    accurate to about 7 decimal digits).
    """
    p = (word + 0.5) * 2.0**-32
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        above = ((5.9109374720e1 * r + 1.5929113202e2) * r + 5.0434271938e1) * r + 3.3871327179
        return q * above / (((6.7187563600e1 * r + 7.8757757664e1) * r + 1.7895169469e1) * r + 1.0)
    r = math.sqrt(-math.log(p if q < 0 else 1.0 - p))
    if r <= 5.0:
        r -= 1.6
        above = ((1.7023821103e-1 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777
        x = above / ((1.2021132975e-1 * r + 7.3700164250e-1) * r + 1.0)
    else:
        r -= 5.0
        above = ((1.7337203997e-2 * r + 4.2868294337e-1) * r + 3.0812263860) * r + 6.6579051150
        x = above / ((1.2258202635e-2 * r + 2.4197894225e-1) * r + 1.0)
    return -x if q < 0 else x
