"""Layers of Keras's ConvNeXt and InceptionResNetV2 that have no name in `keras.layers`. They are
needed to load files of these networks.
"""

from typing import Any

from ..arguments.serialization import Registry
from ..engine.tensor import Tensor
from ..initializers import Constant
from .layer import Layer, Shape
from .merge import _Merge


class LayerScale(Layer):
    """gamma x, with one gamma per channel (`projection_dim` channels), initially `init_values`.
    Touvron et al., "Going deeper with image transformers", 2021.
    """

    keeps_shape = True
    one_input = True
    recordable = True

    def __init__(self, init_values: float, projection_dim: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.init_values, self.projection_dim = init_values, projection_dim

    def build(self, input_shape: Shape) -> None:
        if input_shape[-1] != self.projection_dim:
            raise ValueError(f"Layer {self.name!r} needs an input with {self.projection_dim} channels, as set by "
                             f"projection_dim. Received input shape: {input_shape}.")
        self.gamma = self.add_weight((self.projection_dim,), Constant(self.init_values), name="gamma")

    def call(self, x: Tensor) -> Tensor:
        return x * self.gamma


class CustomScaleLayer(_Merge):
    """x + scale y for a list of two inputs [x, y]: a residual branch with less weight. Szegedy et
    al., "Inception-v4, Inception-ResNet and the impact of residual connections on learning", 2016.
    """

    kept_kinds = ""

    def __init__(self, scale: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.scale = scale

    def merge(self, inputs: list[Tensor]) -> Tensor:
        x, y = inputs
        return x + y * self.scale


Registry("layer", "keras.src.applications.convnext", Layer, {"LayerScale": LayerScale})
Registry("layer", "keras.src.applications.inception_resnet_v2", Layer, {"CustomScaleLayer": CustomScaleLayer})
