"""The layers of a model, with Keras 3's names, signatures and defaults. Images are (N, H, W, C)."""

from .activation import Activation, ReLU, Softmax
from .augmentation import (
    RandomBrightness,
    RandomContrast,
    RandomCrop,
    RandomFlip,
    RandomRotation,
    RandomTranslation,
    RandomZoom,
)
from .base import Layer
from .conv import Conv2D, Conv2DTranspose, DepthwiseConv2D
from .dense import Dense
from .dropout import Dropout
from .input import Input, InputLayer
from .merge import (
    Add,
    Average,
    Concatenate,
    Maximum,
    Minimum,
    Multiply,
    Subtract,
    add,
    average,
    concatenate,
    maximum,
    minimum,
    multiply,
    subtract,
)
from .norm import BatchNormalization
from .pool import AveragePooling2D, GlobalAveragePooling2D, GlobalMaxPooling2D, MaxPooling2D
from .preprocessing import CenterCrop, Rescaling, Resizing
from .reshape import Flatten, ZeroPadding2D

# Other names that Keras has for the same layers.
Convolution2D, Convolution2DTranspose = Conv2D, Conv2DTranspose
MaxPool2D, AvgPool2D = MaxPooling2D, AveragePooling2D
GlobalAvgPool2D, GlobalMaxPool2D = GlobalAveragePooling2D, GlobalMaxPooling2D

__all__ = [
    "Activation", "Add", "Average", "AveragePooling2D", "AvgPool2D", "BatchNormalization", "CenterCrop", "Concatenate",
    "Conv2D", "Conv2DTranspose", "Convolution2D", "Convolution2DTranspose", "Dense", "DepthwiseConv2D", "Dropout",
    "Flatten", "GlobalAveragePooling2D", "GlobalAvgPool2D", "GlobalMaxPool2D", "GlobalMaxPooling2D", "Input",
    "InputLayer", "Layer", "MaxPool2D", "MaxPooling2D", "Maximum", "Minimum", "Multiply", "RandomBrightness",
    "RandomContrast", "RandomCrop", "RandomFlip", "RandomRotation", "RandomTranslation", "RandomZoom", "ReLU",
    "Rescaling", "Resizing", "Softmax", "Subtract", "ZeroPadding2D", "add", "average", "concatenate", "maximum",
    "minimum", "multiply", "subtract",
]
