"""Combines the statistics of normalization layers over all ranks. The CPU and GPU kernels both call
this code, which computes with NumPy on the host. `gather` returns one array per rank, in rank
order, so the results are bit-for-bit equal on all ranks.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

Gather = Callable[[np.ndarray], list[np.ndarray]]


def combine_moments(gather: Gather, count: int, mean: Any, variance: Any, share: np.ndarray) -> None:
    """Replaces the mean and the biased variance (C,) of this rank's `count` rows, in place, with
    the mean and the biased variance of all ranks' rows. Writes this rank's fraction of all rows to
    `share` (1,).

    The formula is from Chan, Golub and LeVeque: "Updating formulae", 1979.
    """
    mine = np.concatenate([[count], np.asarray(mean, np.float64), np.asarray(variance, np.float64)])
    moments = np.stack(gather(mine))
    counts, means, variances = moments[:, :1], *np.split(moments[:, 1:], 2, axis=1)
    total = counts.sum()
    center = (counts * means).sum(0) / total
    mean[...] = center.astype(mean.dtype)
    variance[...] = ((counts * (variances + (means - center) ** 2)).sum(0) / total).astype(variance.dtype)
    share[0] = count / total


def sum_gradients(gather: Gather, share: np.ndarray, dgamma: Any, dbeta: Any, dgamma_total: Any,
                  dbeta_total: Any) -> None:
    """dgamma_total, dbeta_total (C,) = dgamma and dbeta summed over all ranks, times `share`.
    `input_grad` later divides these sums by this rank's row count. Because of the factor `share`,
    the quotients are means over the rows of all ranks.
    """
    sums = np.stack([np.asarray(dgamma, np.float64), np.asarray(dbeta, np.float64)])
    total = np.stack(gather(sums)).sum(0) * share[0]
    dgamma_total[...], dbeta_total[...] = total.astype(dgamma_total.dtype)
