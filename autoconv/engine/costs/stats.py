"""Medians, spreads and ratios of what was measured round by round."""

from collections.abc import Sequence
from math import comb
from typing import Any

import numpy as np


def spread(values: Sequence[float]) -> dict[str, float]:
    """The median of the rounds, and the quartiles between which half of them lie."""
    low, median, high = np.quantile(np.asarray(values, float), [0.25, 0.5, 0.75])
    return {"median": float(median), "low": float(low), "high": float(high)}


def interval(values: Sequence[float], confidence: float = 0.95) -> dict[str, float]:
    """The median, and an interval that holds the true one with at least this confidence.

    Between the k-th smallest and the k-th largest of n values lies the true median with probability
    1 - 2 P(B < k), B binomial(n, 1/2), whatever the noise looks like: outliers do not move it.
    Fewer than six values cannot give 95%: then the interval reaches from the smallest to the
    largest, and "confidence" says what that is worth.
    """
    ordered = np.sort(np.asarray(values, float))
    n = len(ordered)
    if not n:
        raise ValueError("An interval needs at least one round. Received: none.")
    k = 1
    while 2 * k + 2 <= n and _coverage(n, k + 1) >= confidence:
        k += 1
    return {"median": float(np.median(ordered)), "low": float(ordered[k - 1]), "high": float(ordered[n - k]),
            "confidence": _coverage(n, k)}


def _coverage(n: int, k: int) -> float:
    return 1 - 2 * sum(comb(n, i) for i in range(k)) / 2**n


def ratio(numerators: Sequence[float], denominators: Sequence[float], together: int = 1) -> dict[str, Any]:
    """The ratio of two measurements: its median and interval over the rounds, each divided by its own round's partner.

    What slows a whole round down, such as a busy machine, then cancels. `together` rounds in a row ran in the same
    processes: they are no independent samples, so the median is taken over the means of such groups. (Means, since a
    process may change between two speeds from round to round.) Raises ValueError for unequal numbers.
    """
    if len(numerators) != len(denominators):
        raise ValueError("A ratio needs as many rounds of the one as of the other. "
                         f"Received: {len(numerators)} and {len(denominators)}.")
    ratios = [a / b for a, b in zip(numerators, denominators)]
    return interval([float(np.mean(ratios[i : i + together])) for i in range(0, len(ratios), together)])
