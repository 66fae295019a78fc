"""Medians, spreads and ratios of measurements over several rounds."""

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np


def spread(values: Sequence[float]) -> dict[str, float]:
    """Returns the median of the values and their quartiles `low` and `high`."""
    low, median, high = np.quantile(np.asarray(values, float), [0.25, 0.5, 0.75])
    return {"median": float(median), "low": float(low), "high": float(high)}


def interval(values: Sequence[float], confidence: float = 0.95) -> dict[str, float]:
    """Returns the median, and an interval that contains the true median with at least this confidence.

    The true median lies between the k-th smallest and the k-th largest of n values with probability 1 - 2 P(B < k),
    where B is binomial(n, 1/2). This holds for noise of any distribution, so outliers do not move the interval. Fewer
    than six values cannot give 95%: the interval then spans all values, and "confidence" is its actual confidence.
    """
    rising = np.sort(np.asarray(values, float))
    n = len(rising)
    if not n:
        raise ValueError("interval() needs at least one value. Received: none.")
    k = 1
    while 2 * k + 2 <= n and _coverage(n, k + 1) >= confidence:
        k += 1
    return {"median": float(np.median(rising)), "low": float(rising[k - 1]), "high": float(rising[n - k]),
            "confidence": _coverage(n, k)}


def _coverage(n: int, k: int) -> float:
    return 1 - 2 * sum(comb(n, i) for i in range(k)) / 2**n


def ratio(numerators: Sequence[float], denominators: Sequence[float], together: int = 1) -> dict[str, Any]:
    """Returns the ratio of two measurements: the median and interval of the ratios of the rounds.

    A slowdown of a whole round, such as on a busy machine, cancels in the ratio. Groups of
    `together` consecutive rounds ran in the same processes, so these rounds are not independent
    samples. The median is therefore taken over the groups' means. (A process may alternate between
    two speeds, so means are used.) Raises ValueError for unequal numbers of rounds.
    """
    if len(numerators) != len(denominators):
        raise ValueError("ratio() needs as many numerators as denominators. Received: "
                         f"{len(numerators)} numerators and {len(denominators)} denominators.")
    ratios = [a / b for a, b in zip(numerators, denominators)]
    return interval([float(np.mean(ratios[i : i + together])) for i in range(0, len(ratios), together)])
