"""Helpers with the names of `keras.utils`."""

from .image_dataset import ImageDataset, image_dataset_from_directory
from .images import array_to_img, img_to_array, load_img, save_img
from .labels import to_categorical
from .pixels import UnreadableImage
from .plotting import plot_model
from .seeds import set_random_seed
from .session import clear_session
from .vectors import normalize

__all__ = [
    "ImageDataset",
    "UnreadableImage",
    "array_to_img",
    "clear_session",
    "image_dataset_from_directory",
    "img_to_array",
    "load_img",
    "normalize",
    "plot_model",
    "save_img",
    "set_random_seed",
    "to_categorical",
]
