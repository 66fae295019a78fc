"""Sets the seed of all random numbers."""

import random as python_random

import numpy as np

from .. import random


def set_random_seed(seed: int) -> None:
    """Seeds autoconv's generator, NumPy's and Python's, so that a run can be repeated bit for bit.

    Raises ValueError unless `seed` is an integer in 0..2**32-1 (NumPy's limit).
    """
    if isinstance(seed, bool) or not hasattr(seed, "__index__") or not 0 <= int(seed) < 2**32:
        raise ValueError(f"seed must be an integer from 0 to 2**32 - 1. Received: {seed!r}.")
    python_random.seed(int(seed))
    np.random.seed(int(seed))
    random.set_seed(int(seed))
