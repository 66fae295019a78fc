"""Loads data sets as in Keras, with `datasets.mnist.load_data()`, or by name with `load(name)`."""

from . import cifar10, digits, fashion_mnist, mnist
from .finding import load, locate
from .known_sets import NAMES, data_folder, info
from .not_found import DatasetCorrupt, DatasetNotFound

__all__ = [
    "NAMES", "DatasetCorrupt", "DatasetNotFound", "cifar10", "data_folder", "digits",
    "fashion_mnist", "info", "load", "locate", "mnist",
]
