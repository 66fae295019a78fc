"""Helpers with the names of `keras.utils`."""

from .labels import to_categorical
from .plotting import plot_model
from .seeds import set_random_seed

__all__ = ["plot_model", "set_random_seed", "to_categorical"]
