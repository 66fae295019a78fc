"""Random nets as plain data: hypothesis draws them, so that one which fails shrinks to a short listing.

A net is the shape of its images and a list of calls: a layer's class, its arguments, and which values it is called on,
by number (0 are the images). `ARGUMENTS` has what is drawn for each layer; tests compare it with the layers there are.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from autoconv import functional as F
from autoconv import initializers, layers, models
from autoconv.activations import ACTIVATIONS
from autoconv.operators.image import FILL_MODES, INTERPOLATIONS

CLASSES = 3
# The same for all layers of a net, or names, or of inputs that are no floats.
NOT_DRAWN = {"name", "dtype", "autocast", "data_format", "input_shape", "input_dim"}
LARGEST = 20  # pixels of a side, and the like of channels

small, sizes = st.integers(1, 3), st.integers(1, 9)
channels = st.sampled_from([1, 2, 3, 4, 5, 8, 16, 17])
share = st.floats(-0.5, 0.5, width=16)
seeds = st.none() | st.integers(0, 2**32)
activations = st.none() | st.sampled_from(sorted(ACTIVATIONS))
pairs = small | st.tuples(small, small)
# These two are for matrices alone.
starts = st.sampled_from(sorted(set(initializers.registry.names) - {"identity", "orthogonal"}))
around_0, around_1 = (
    st.just({"class_name": "RandomUniform", "config": {"minval": at, "maxval": at + 0.5, "seed": None}})
    for at in (-0.2, 0.7))


@dataclass
class Call:
    kind: str
    arguments: dict[str, Any]
    reads: tuple[int, ...]

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        inputs = ", ".join(f"x{i}" for i in self.reads)
        several = issubclass(getattr(layers, self.kind), MERGE)
        return f"layers.{self.kind}({given})({f'[{inputs}]' if several else inputs})"


@dataclass
class Net:
    shapes: list[tuple[int, ...]]  # of all values, without the batch
    calls: list[Call]

    def __repr__(self) -> str:
        lines = [f"x0 = layers.Input({self.shapes[0]})", *(f"x{i} = {call}" for i, call in enumerate(self.calls, 1))]
        return "\n" + "\n".join([*lines, f"model = models.Model(x0, x{len(self.calls)})"])

    def build(self, dtype: str = "float32", first: type = layers.Activation) -> models.Model:
        """The model, with a layer of the class `first` before all others that gives what it gets."""
        values = [first("linear", dtype=dtype)(layers.Input(self.shapes[0], dtype=dtype))]
        for call in self.calls:
            kind, given = getattr(layers, call.kind), [values[i] for i in call.reads]
            layer = kind(**call.arguments, dtype=dtype)
            values.append(layer(given if issubclass(kind, MERGE) else given[0]))
        return models.Model(values[0].node.inputs[0], values[-1])


MERGE = type(layers.Add()).__mro__[1]


def fitting(n: int, dilation: int = 1) -> st.SearchStrategy[int]:
    """Kernel sizes that fit into n pixels."""
    return st.integers(1, max(1, min(3, (n - 1) // dilation + 1)))


@st.composite
def windows(draw: Any, shape: Any, name: str, dilated: bool, numbers: bool = True) -> dict[str, Any]:
    """kernel_size or pool_size, strides, padding, and dilation_rate where `dilated`, for images of this shape."""
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2))) if dilated else (1, 1)
    size = tuple(draw(fitting(n, d)) for n, d in zip(shape[:2], dilation))
    most = 2 if dilated else min(size) - 1
    sides = st.integers(0, most)
    padding = draw(st.sampled_from(["valid", "same"]) | sides | st.tuples(sides, sides) | st.tuples(
        st.tuples(sides, sides), st.tuples(sides, sides))) if numbers else draw(st.sampled_from(["valid", "same"]))
    strides = draw(pairs if dilated else st.none() | pairs)
    return {name: size, "strides": strides, "padding": padding, **({"dilation_rate": dilation} if dilated else {})}


def undilated(given: dict[str, Any]) -> dict[str, Any]:
    """Without dilation where strides are above 1: Conv2D and Conv2DTranspose refuse both together, as Keras's."""
    return {**given, "dilation_rate": 1} if np.max(given["strides"]) > 1 else given


def weights(prefix: str) -> dict[str, Any]:
    return {"activation": activations, "use_bias": st.booleans(), f"{prefix}_initializer": starts,
            "bias_initializer": starts}


@st.composite
def convolutions(draw: Any, shape: Any) -> dict[str, Any]:
    groups = draw(st.sampled_from([g for g in (1, 1, 2, 3, 4) if shape[2] % g == 0]))
    filters = groups * draw(channels) if groups == 1 else groups * draw(st.integers(1, 3))
    return {"filters": filters, "groups": groups, **undilated(draw(windows(shape, "kernel_size", True))),
            **draw(st.fixed_dictionaries(weights("kernel")))}


def transposed(shape: Any) -> Any:
    strides = st.integers(1, max(1, min(2, LARGEST // max(shape[:2]))))
    padding = st.sampled_from(["valid", "same"])
    return st.fixed_dictionaries({
        "filters": st.integers(1, 5), "kernel_size": pairs, "strides": strides | st.tuples(strides, strides),
        "padding": padding, "output_padding": st.none() | st.just(0), "dilation_rate": st.just(1) | st.just((1, 2)),
        **weights("kernel")}).map(undilated)


@st.composite
def depthwise(draw: Any, shape: Any) -> dict[str, Any]:
    return {"depth_multiplier": draw(st.integers(1, max(1, min(2, 2 * LARGEST // shape[2])))),
            **draw(windows(shape, "kernel_size", True)), **draw(st.fixed_dictionaries(weights("depthwise")))}


@st.composite
def separable(draw: Any, shape: Any) -> dict[str, Any]:
    return {"filters": draw(channels), "pointwise_initializer": draw(starts), **draw(depthwise(shape))}


def cut_off(n: int) -> Any:
    """How much Cropping2D may take from both ends of n pixels."""
    return st.integers(0, min(2, (n - 1) // 2)).flatmap(
        lambda before: st.tuples(st.just(before), st.integers(0, min(2, n - 1 - before))))


def geometric(**own: Any) -> Any:
    return st.fixed_dictionaries({
        **own, "fill_mode": st.sampled_from(sorted(FILL_MODES)), "fill_value": share, "seed": seeds,
        "interpolation": st.sampled_from(sorted(INTERPOLATIONS))})


def drawn(**own: Any) -> Any:
    return lambda shape: st.fixed_dictionaries(own)


rates = st.sampled_from([0.0, 0.3, 0.5])


def dropped(shape: Any) -> Any:
    noise = st.tuples(*(st.sampled_from([None, 1]) for _ in range(len(shape) + 1)))
    return st.fixed_dictionaries({"rate": rates, "noise_shape": st.none() | noise, "seed": seeds})


of_samples = {"epsilon": st.sampled_from([1e-3, 0.1]), "center": st.booleans(), "scale": st.booleans(),
              "beta_initializer": around_0, "gamma_initializer": around_1}
sides = st.integers(0, 2)
factors = share | st.tuples(share, share)
one_size = {"height": sizes, "width": sizes}
colours = {"value_range": st.sampled_from([(0, 1), (-2, 2), (0, 255)]), "seed": seeds}

# What is drawn for each layer that takes images (H, W, C). "any" rank below: rows as well.
ARGUMENTS: dict[type, Any] = {
    layers.Activation: drawn(activation=activations),
    layers.ActivityRegularization: drawn(l1=rates, l2=rates),
    layers.AlphaDropout: dropped,
    layers.Add: drawn(), layers.Average: drawn(), layers.Maximum: drawn(), layers.Minimum: drawn(),
    layers.Multiply: drawn(), layers.Subtract: drawn(), layers.Concatenate: drawn(axis=st.just(-1)),
    layers.AveragePooling2D: lambda shape: windows(shape, "pool_size", False),
    layers.BatchNormalization: lambda shape: st.fixed_dictionaries({
        "axis": st.sampled_from([-1, len(shape)]), "momentum": st.sampled_from([0.0, 0.5, 0.99]),
        "epsilon": st.sampled_from([1e-3, 0.1]), "center": st.booleans(), "scale": st.booleans(),
        "beta_initializer": around_0, "gamma_initializer": around_1, "moving_mean_initializer": around_0,
        "moving_variance_initializer": around_1, "synchronized": st.booleans()}),
    layers.CenterCrop: drawn(**one_size),
    layers.Cropping2D: lambda shape: st.tuples(*(cut_off(n) for n in shape[:2])).map(lambda cut: {"cropping": cut}),
    layers.Conv2D: convolutions, layers.Conv2DTranspose: transposed, layers.DepthwiseConv2D: depthwise,
    layers.Dense: drawn(units=channels, **weights("kernel")),
    layers.Dropout: dropped,
    layers.Dot: drawn(axes=st.just(-1), normalize=st.booleans()),
    layers.ELU: drawn(alpha=st.sampled_from([1.0, 0.5])),
    layers.Flatten: drawn(),
    layers.GaussianDropout: drawn(rate=rates, seed=seeds),
    layers.GaussianNoise: drawn(stddev=rates, seed=seeds),
    layers.GlobalAveragePooling2D: drawn(keepdims=st.booleans()),
    layers.GlobalMaxPooling2D: drawn(keepdims=st.booleans()),
    layers.GroupNormalization: lambda shape: st.fixed_dictionaries({
        "groups": st.sampled_from([-1, *(g for g in (1, 2, 3) if shape[-1] % g == 0)]), "axis": st.just(-1),
        **of_samples}),
    layers.Identity: drawn(),
    layers.Lambda: drawn(function=st.just(F.tanh), output_shape=st.none(), arguments=st.none()),
    layers.LayerNormalization: lambda shape: st.fixed_dictionaries({
        "axis": st.sampled_from([-1, len(shape), [1, len(shape)] if len(shape) > 1 else [1]]),
        "rms_scaling": st.booleans(), **of_samples}),
    layers.LeakyReLU: drawn(negative_slope=st.sampled_from([0.3, 0.0, 1.5])),
    layers.MaxPooling2D: lambda shape: windows(shape, "pool_size", False),
    layers.Normalization: lambda shape: st.fixed_dictionaries({
        "axis": st.sampled_from([-1, None, len(shape)]), "mean": share, "variance": st.sampled_from([0.5, 2.0]),
        "invert": st.booleans()}),
    layers.Permute: lambda shape: st.permutations(range(1, len(shape) + 1)).map(lambda dims: {"dims": dims}),
    layers.PReLU: lambda shape: st.fixed_dictionaries({
        "alpha_initializer": around_0, "shared_axes": st.none() | st.lists(
            st.integers(1, len(shape)), min_size=1, max_size=len(shape), unique=True)}),
    layers.RandomBrightness: drawn(factor=factors, **colours),
    layers.RandomContrast: drawn(factor=st.floats(0, 0.5, width=16), **colours),
    layers.RandomCrop: drawn(**one_size, seed=seeds),
    layers.RandomErasing: drawn(
        factor=st.floats(0, 1, width=16), scale=st.sampled_from([0.3, (0.1, 0.9), (0, 1)]),
        fill_value=st.none() | share, **colours),
    layers.RandomFlip: drawn(mode=st.sampled_from(["horizontal", "vertical", "horizontal_and_vertical"]), seed=seeds),
    layers.RandomRotation: lambda shape: geometric(factor=factors),
    layers.RandomTranslation: lambda shape: geometric(height_factor=factors, width_factor=factors),
    layers.RandomZoom: lambda shape: geometric(height_factor=factors, width_factor=st.none() | factors),
    layers.ReLU: drawn(max_value=st.sampled_from([None, 6.0]), negative_slope=st.sampled_from([0.0, 0.0, 0.25]),
                       threshold=st.sampled_from([0.0, 0.0, 0.5])),
    layers.RepeatVector: drawn(n=small),
    layers.RMSNormalization: lambda shape: st.fixed_dictionaries({
        "axis": st.sampled_from([-1, 1, len(shape)]), "epsilon": st.sampled_from([1e-6, 0.1])}),
    layers.Rescaling: lambda shape: st.fixed_dictionaries({
        "scale": share | st.lists(share, min_size=shape[-1], max_size=shape[-1]), "offset": share}),
    layers.Resizing: lambda shape: st.fixed_dictionaries({
        **one_size, "interpolation": st.sampled_from(sorted(INTERPOLATIONS)), "fill_value": share,
        "crop_to_aspect_ratio": st.booleans()}).flatmap(lambda given: st.booleans().map(
            lambda pad: {**given, "pad_to_aspect_ratio": pad and not given["crop_to_aspect_ratio"]})),
    layers.Reshape: lambda shape: st.sampled_from([
        shape, (*shape[-2::-1], shape[-1]), (1, -1, shape[-1]), (-1,)]).map(lambda wanted: {"target_shape": wanted}),
    layers.SeparableConv2D: separable,
    layers.Softmax: lambda shape: st.fixed_dictionaries({"axis": st.sampled_from([-1, 1, [1, len(shape)]])}),
    layers.SpatialDropout2D: drawn(rate=st.sampled_from([0.0, 0.3, 1.0]), seed=seeds),
    layers.UnitNormalization: lambda shape: st.fixed_dictionaries({"axis": st.sampled_from([-1, 1, [1, len(shape)]])}),
    layers.UpSampling2D: drawn(size=st.sampled_from([1, 2, (1, 2)]), interpolation=st.sampled_from(
        sorted(INTERPOLATIONS))),
    layers.ZeroPadding2D: drawn(padding=sides | st.tuples(sides, sides) | st.tuples(
        st.tuples(sides, sides), st.tuples(sides, sides))),
}
CONSTRAINTS, REGULARIZERS = ["non_neg", "max_norm", "unit_norm", "min_max_norm"], ["l1", "l2", "l1_l2"]
OF_ROWS = [
    layers.Activation, layers.AlphaDropout, layers.BatchNormalization, layers.Dense, layers.Dropout, layers.ELU,
    layers.GaussianDropout, layers.GaussianNoise, layers.GroupNormalization, layers.LayerNormalization,
    layers.LeakyReLU, layers.PReLU, layers.ReLU, layers.RepeatVector, layers.Rescaling, layers.Softmax,
    layers.UnitNormalization]
ODD = (layers.Dot, layers.Lambda)  # gives another number of axes; keeps a step from being recorded
MERGES = [kind for kind in ARGUMENTS if issubclass(kind, MERGE) and kind not in ODD]
TO_ROWS = [layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D]
OF_IMAGES = [kind for kind in ARGUMENTS if kind not in [*MERGES, *TO_ROWS, *ODD, layers.RepeatVector]]
# Those that the others are for stand more often.
OF_IMAGES += [layers.Conv2D] * 6 + [layers.BatchNormalization, layers.MaxPooling2D, layers.ReLU] * 3
GROWING = (layers.ZeroPadding2D, layers.Conv2DTranspose, layers.UpSampling2D)


@st.composite
def calls(draw: Any, shapes: list, kind: type, reads: tuple[int, ...], fixed: dict[str, Any] | None = None) -> Call:
    """A call of a layer of this kind, with `fixed` in the place of arguments that would be drawn."""
    given = {**draw(ARGUMENTS[kind](shapes[reads[0]])), **(fixed or {})}
    given["trainable"] = draw(st.sampled_from([True] * 5 + [False]))
    extras = [*kind.extras(), *(["activity_regularizer"] if kind is not layers.ActivityRegularization else [])]
    if extras and draw(st.integers(0, 7)) == 0:  # what is added to the loss, or held for a weight
        name = draw(st.sampled_from(extras))
        given[name] = draw(st.sampled_from(CONSTRAINTS if name.endswith("constraint") else REGULARIZERS))
    return Call(kind.__name__, given, reads)


def mergeable(shapes: list, last: tuple[int, ...], kind: type) -> list[int]:
    """Which values can be merged with the last one."""
    def fits(shape: tuple[int, ...]) -> bool:
        if kind is layers.Concatenate:
            return shape[:-1] == last[:-1] and shape[-1] + last[-1] <= 2 * LARGEST
        return len(shape) == len(last) and all(n == m or 1 in (n, m) for n, m in zip(shape, last))

    return [i for i, shape in enumerate(shapes) if fits(shape)]


class Drawing:
    """A net that grows."""

    def __init__(self, draw: Any) -> None:
        images = st.integers(1, 4) | st.integers(4, 11)
        wide = st.integers(0, 9).flatmap(lambda rarely: st.just(30) if rarely == 9 else images)
        self.draw, self.shapes = draw, [(draw(images), draw(wide), draw(st.integers(1, 4)))]
        self.net = Net(self.shapes, [])

    @property
    def last(self) -> int:
        return len(self.shapes) - 1

    def add(self, kind: type, reads: tuple[int, ...] | None = None, fixed: dict[str, Any] | None = None) -> None:
        call = self.draw(calls(self.shapes, kind, (self.last,) if reads is None else reads, fixed))
        self.net.calls.append(call)
        batch = [(None, *self.shapes[i]) for i in call.reads]
        shape = kind(**call.arguments).compute_output_shape(batch if issubclass(kind, MERGE) else batch[0])
        self.shapes.append(tuple(shape[1:]))

    def merge(self) -> None:
        kind = self.draw(st.sampled_from(MERGES))
        other = self.draw(st.sampled_from(mergeable(self.shapes, self.shapes[-1], kind) or [self.last]))
        more = [] if kind in (layers.Subtract, layers.Concatenate) else self.draw(st.sampled_from([[], [other]]))
        self.add(kind, tuple(self.draw(st.permutations([self.last, other, *more]))))

    def layer(self) -> None:
        last = self.shapes[-1]
        if len(last) == 1:
            kinds = OF_ROWS
        else:
            large = max(last[:2]) > LARGEST // 2
            kinds = TO_ROWS if self.draw(st.integers(0, 7)) == 0 else \
                [kind for kind in OF_IMAGES if not (large and kind in GROWING)]
        self.add(self.draw(st.sampled_from(kinds)))
        if len(self.shapes[-1]) == 2:  # rows that were repeated become an image
            rows, channels = self.shapes[-1]
            self.add(layers.Reshape, fixed={"target_shape": (rows, 1, channels)})

    def row(self) -> None:
        """Layers in a row that engine/graph/patterns.py may fuse: weights, normalization, addition, ReLU, pooling."""
        there, images = self.draw(st.tuples(*[st.booleans()] * 4)), len(self.shapes[-1]) == 3
        weighted = [layers.Conv2D] * 3 + [layers.DepthwiseConv2D] if images else [layers.Dense]
        first = self.draw(st.sampled_from([*weighted, layers.BatchNormalization]))
        before, fixed = self.last, {}
        if first is not layers.BatchNormalization:
            fixed["activation"] = self.draw(st.sampled_from([None, None, None, "relu"]))
            if images and self.draw(st.booleans()):  # of one size, so that what came before can be added
                fixed |= {"strides": 1, "padding": "same", "dilation_rate": 1}
                fixed |= {"filters": self.shapes[-1][2], "groups": 1} if first is layers.Conv2D else {}
        self.add(first, fixed=fixed)
        if there[0] and first is not layers.BatchNormalization:
            self.add(layers.BatchNormalization)
        if there[1] and self.shapes[before] == self.shapes[-1]:
            self.add(layers.Add, tuple(self.draw(st.permutations([before, self.last]))))
        if there[2]:
            self.add(*self.draw(st.sampled_from([(layers.ReLU,), (layers.Activation, None, {"activation": "relu"})])))
        if there[3] and images and min(self.shapes[-1][:2]) >= 2:
            self.add(layers.MaxPooling2D, fixed={"pool_size": 2, "strides": None, "padding": "valid"})


@st.composite
def nets(draw: Any, most: int = 12) -> Net:
    """A net of 3 to `most` layers, some more where it ends in a row, that gives `CLASSES` numbers a sample."""
    net, count = Drawing(draw), draw(st.integers(3, most))
    while len(net.net.calls) < count - 2:
        {0: net.merge, 1: net.row, 2: net.row}.get(draw(st.integers(0, 4)), net.layer)()
    if len(net.shapes[-1]) == 3:
        net.add(draw(st.sampled_from(TO_ROWS)))
    if len(net.shapes[-1]) == 3:
        net.add(layers.Flatten)
    net.add(layers.Dense, fixed={"units": CLASSES, "activation": draw(st.sampled_from([None, "softmax", "tanh"]))})
    return net.net


@dataclass
class Change:
    """An attribute of a layer, by its number, or of the optimizer, that is set to another value."""

    layer: int | None
    name: str
    value: Any

    def __call__(self, model: models.Model) -> None:
        target = model.optimizer if self.layer is None else model.layers[self.layer]
        setattr(target, self.name, self.value)


@st.composite
def changes(draw: Any, net: Net) -> Change:
    """Another value that the generator might have given to an argument of one of the net's layers."""
    which = draw(st.integers(-1, len(net.calls) - 1))
    if which < 0:
        return Change(None, "learning_rate", draw(st.sampled_from([0.5, 0.01, 0.0])))
    call = net.calls[which]
    again = draw(calls(net.shapes, getattr(layers, call.kind), call.reads))
    name = draw(st.sampled_from(sorted(again.arguments)))
    return Change(which + 2, name, again.arguments[name])  # behind the input and the first layer
