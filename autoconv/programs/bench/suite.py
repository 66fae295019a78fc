"""The nets that are timed: built-in nets and the nets in timed_nets.py, with their image sizes."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from ... import nets as built_in
from ...models import Model
from . import timed_nets


class TimedNet(NamedTuple):
    """A net for images (H, W, C), and its batch size."""

    make: Callable[[tuple[int, int, int], int], Model]
    input_shape: tuple[int, int, int]
    classes: int
    batch_size: int
    from_logits: bool = False

    def build(self) -> Model:
        return self.make(self.input_shape, self.classes)


def _builtin(name: str, shape: tuple[int, int, int], classes: int, batch_size: int) -> TimedNet:
    return TimedNet(partial(built_in.build, name), shape, classes, batch_size, built_in.NETS[name].from_logits)


SUITE = {
    "lecture": _builtin("lecture", (28, 28, 1), 10, 64),
    "lecture-bn": TimedNet(timed_nets.lecture_bn, (28, 28, 1), 10, 64),
    "lecture-large": _builtin("lecture-large", (150, 150, 1), 10, 32),
    "photos": _builtin("photos", (180, 180, 3), 5, 32),
    "cifar": _builtin("lecture", (32, 32, 3), 10, 64),
    "lenet5": TimedNet(timed_nets.lenet5, (28, 28, 1), 10, 64),
    "mlp": TimedNet(timed_nets.mlp, (28, 28, 1), 10, 64),
    "resnet20": TimedNet(timed_nets.resnet20, (32, 32, 3), 10, 64),
    "vgg-bn": TimedNet(timed_nets.vgg_bn, (32, 32, 3), 10, 64),
    "vgg": TimedNet(timed_nets.vgg, (32, 32, 3), 10, 64),
    "mobile": TimedNet(timed_nets.mobile, (32, 32, 3), 10, 64),
    "wide": TimedNet(timed_nets.wide, (8, 8, 512), 10, 64),
}
