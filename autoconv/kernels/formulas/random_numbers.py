"""Converts 32-bit random words to random numbers. Also defines the constants of Philox4x32-10, the
generator of these words.

Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011. Philox's key is
the seed's two words. Its counter consists of the block number's two words and the stream's two
words. Each block consists of four random words.
"""

from math import log, sqrt

import numpy as np

ROUNDS = 10
MULTIPLIERS = 0xD2511F53, 0xCD9E8D57  # factors of the counter's words in each round
WEYL = 0x9E3779B9, 0xBB67AE85  # the key's increments per round: golden ratio, sqrt(3) - 1
HALF, LOWEST = np.uint64(32), np.uint64(8)  # bits per word; lowest bits, which `uniform` ignores
STEP = 2.0**-24


def uniform(word, low, high):
    """Returns a uniform random number from `low` to `high`, in float64, for a random word."""
    return low + (high - low) * (STEP * np.int64(word >> LOWEST))


def normal(word):
    """Returns the standard normal quantile of the probability (word + 1/2) / 2^32, in float64.

    Wichura: "Algorithm AS 241: the percentage points of the normal distribution", Applied
    Statistics 37, 1988 (PPND16, accurate to about 16 decimal digits).
    """
    p = (word + 0.5) * 2.0**-32
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        above = (((((((2.5090809287301226727e3 * r + 3.3430575583588128105e4) * r + 6.7265770927008700853e4) * r
                     + 4.5921953931549871457e4) * r + 1.3731693765509461125e4) * r + 1.9715909503065514427e3) * r
                  + 1.3314166789178437745e2) * r + 3.3871328727963666080)
        below = (((((((5.2264952788528545610e3 * r + 2.8729085735721942674e4) * r + 3.9307895800092710610e4) * r
                     + 2.1213794301586595867e4) * r + 5.3941960214247511077e3) * r + 6.8718700749205790830e2) * r
                  + 4.2313330701600911252e1) * r + 1.0)
        return q * above / below
    r = sqrt(-log(p if q < 0 else 1.0 - p))
    # AS 241's third pair of polynomials, for r > 5, is never needed, as r < 5 for a 32-bit word
    r -= 1.6
    above = (((((((7.74545014278341407640e-4 * r + 2.27238449892691845833e-2) * r + 2.41780725177450611770e-1) * r
                 + 1.27045825245236838258) * r + 3.64784832476320460504) * r + 5.76949722146069140550) * r
              + 4.63033784615654529590) * r + 1.42343711074968357734)
    below = (((((((1.05075007164441684324e-9 * r + 5.47593808499534494600e-4) * r + 1.51986665636164571966e-2) * r
                 + 1.48103976427480074590e-1) * r + 6.89767334985100004550e-1) * r + 1.67638483018380384940) * r
              + 2.05319162663775882187) * r + 1.0)
    return -above / below if q < 0 else above / below


def add_noise(x, word, stddev, rel_stddev):
    """Returns x + (stddev + rel_stddev x) n, where n is the normal number for `word`."""
    return x + (stddev + rel_stddev * x if rel_stddev else stddev) * type(x)(normal(word))
