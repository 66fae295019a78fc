"""The nets that are timed: those of `autoconv train`, and the lecture net on CIFAR's images."""

from typing import NamedTuple

from .. import nets
from ..models import Sequential


class Timed(NamedTuple):
    """A built-in net, the images it gets, and how many of them a step."""

    net: str
    input_shape: tuple[int, int, int]
    classes: int
    batch_size: int

    def build(self) -> Sequential:
        return nets.build(self.net, self.input_shape, self.classes)

    @property
    def from_logits(self) -> bool:
        return nets.NETS[self.net].from_logits


SUITE = {
    "lecture": Timed("lecture", (28, 28, 1), 10, 64),
    "lecture-large": Timed("lecture-large", (150, 150, 1), 10, 32),
    "photos": Timed("photos", (180, 180, 3), 5, 32),
    "cifar": Timed("lecture", (32, 32, 3), 10, 64),
}
