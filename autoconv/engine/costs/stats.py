"""Medians, spreads and ratios of measurements over several rounds."""

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median of the rounds, and the quartiles between which half of them lie."""
    low, median, high = np.quantile(np.asarray(values, float), [0.25, 0.5, 0.75])
    return {"median": float(median), "low": float(low), "high": float(high)}


def interval(values: Sequence[float], confidence: float = 0.95) -> dict[str, float]:
    """Returns the median, and an interval that contains the true median with at least this confidence.

    Between the k-th smallest and the k-th largest of n values lies the true median with probability
    1 - 2 P(B < k), B binomial(n, 1/2), whatever the noise looks like: outliers do not move it.
    Fewer than six values cannot give 95%: the interval then spans all values, and "confidence" is its actual
    confidence.
    """
    rising = np.sort(np.asarray(values, float))
    n = len(rising)
    if not n:
        raise ValueError("An interval needs at least one round. Received: none.")
    k = 1
    while 2 * k + 2 <= n and _coverage(n, k + 1) >= confidence:
        k += 1
    return {"median": float(np.median(rising)), "low": float(rising[k - 1]), "high": float(rising[n - k]),
            "confidence": _coverage(n, k)}


def _coverage(n: int, k: int) -> float:
    return 1 - 2 * sum(comb(n, i) for i in range(k)) / 2**n


def ratio(numerators: Sequence[float], denominators: Sequence[float], together: int = 1) -> dict[str, Any]:
    """Returns the ratio of two measurements: median and interval over the rounds' ratios.

    A slowdown of a whole round, such as by a busy machine, then cancels. `together` rounds in a row ran in the same
    processes, so they are not independent samples and the median is taken over the means of such groups. (Means,
    because a process may alternate between two speeds.) Raises ValueError for unequal numbers.
    """
    if len(numerators) != len(denominators):
        raise ValueError("A ratio needs the same number of rounds of both measurements. "
                         f"Received: {len(numerators)} and {len(denominators)}.")
    ratios = [a / b for a, b in zip(numerators, denominators)]
    return interval([float(np.mean(ratios[i : i + together])) for i in range(0, len(ratios), together)])
