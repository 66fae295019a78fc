"""Models: `Model(inputs, outputs)` is any graph of layers, `Sequential` a chain; a class of yours has a `call`."""

from ..layers import Input
from .model import Functional, Model, Path
from .sequential import Sequential

__all__ = ["Functional", "Input", "Model", "Sequential", "load_model"]


def load_model(filepath: Path, custom_objects: dict[str, type] | None = None) -> Model:
    """The model that `model.save(filepath)` wrote, not compiled. `custom_objects` maps names to classes of your own."""
    from .. import formats

    return formats.load_model(filepath, custom_objects)
