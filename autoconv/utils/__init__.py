"""Helpers with the names of `keras.utils`."""

from .labels import to_categorical
from .seeds import set_random_seed

__all__ = ["set_random_seed", "to_categorical"]
