"""Provides the helpers of `keras.utils`, under the same names."""

from ..arguments.batches import PyDataset, Sequence, pack_x_y_sample_weight, unpack_x_y_sample_weight
from ..arguments.serialization import (
    CustomObjectScope,
    custom_object_scope,
    deserialize_keras_object,
    get_custom_objects,
    get_registered_name,
    get_registered_object,
    register_keras_serializable,
    serialize_keras_object,
)
from .dtypes import is_keras_tensor, standardize_dtype
from .fetched import get_file
from .image_dataset import ImageDataset, image_dataset_from_directory
from .images import array_to_img, img_to_array, load_digit, load_img, save_img
from .labels import to_categorical
from .pixels import UnreadableImage
from .plotting import plot_model
from .seeds import set_random_seed
from .session import clear_session
from .vectors import normalize
from .whitening import whitening_filters

__all__ = [
    "CustomObjectScope", "ImageDataset", "PyDataset", "Sequence", "UnreadableImage",
    "array_to_img", "clear_session", "custom_object_scope", "deserialize_keras_object",
    "get_custom_objects", "get_file", "get_registered_name", "get_registered_object",
    "image_dataset_from_directory", "img_to_array", "is_keras_tensor", "load_digit", "load_img",
    "normalize", "pack_x_y_sample_weight", "plot_model", "register_keras_serializable", "save_img",
    "serialize_keras_object", "set_random_seed", "standardize_dtype", "to_categorical",
    "unpack_x_y_sample_weight", "whitening_filters",
]
