"""Random nets as plain data: hypothesis draws them, so that one which fails shrinks to a short listing.

A net is the shape of its images and a list of calls: a layer's class, its arguments, and which values it is called on,
by number (0 are the images). `ARGUMENTS` has what is drawn for each layer; tests compare it with the layers there are.
"""

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from autoconv import initializers, layers, models
from autoconv.layers.activations import ACTIVATIONS
from autoconv.ops.image import FILL_MODES, INTERPOLATIONS

CLASSES = 3
NOT_DRAWN = {"name", "dtype", "data_format", "input_shape", "input_dim"}  # the same for all layers of a net, or names
LARGEST = 20  # pixels of a side, and the like of channels

small, sizes = st.integers(1, 3), st.integers(1, 9)
channels = st.sampled_from([1, 2, 3, 4, 5, 8, 16, 17])
share = st.floats(-0.5, 0.5, width=16)
seeds = st.none() | st.integers(0, 2**32)
activations = st.none() | st.sampled_from(sorted(ACTIVATIONS))
pairs = small | st.tuples(small, small)
starts = st.sampled_from(sorted(initializers.BY_NAME))
around_0, around_1 = (st.builds(initializers.RandomUniform, st.just(low), st.just(low + 0.5)) for low in (-0.2, 0.7))


@dataclass
class Call:
    kind: str
    arguments: dict[str, Any]
    reads: tuple[int, ...]

    def __repr__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        inputs = ", ".join(f"x{i}" for i in self.reads)
        return f"layers.{self.kind}({given})({f'[{inputs}]' if issubclass(getattr(layers, self.kind), MERGE) else inputs})"


@dataclass
class Net:
    shape: tuple[int, ...]
    calls: list[Call]

    def __repr__(self) -> str:
        lines = [f"x0 = layers.Input({self.shape})", *(f"x{i} = {call}" for i, call in enumerate(self.calls, 1))]
        return "\n" + "\n".join([*lines, f"model = models.Model(x0, x{len(self.calls)})"])

    def build(self, dtype: str = "float32", make: Any = lambda kind, arguments: kind(**arguments)) -> models.Model:
        """The model. `make` is how a layer is made of its class and arguments."""
        values = [layers.Input(self.shape, dtype=dtype)]
        for call in self.calls:
            kind, given = getattr(layers, call.kind), [values[i] for i in call.reads]
            layer = make(kind, {**call.arguments, "dtype": dtype})
            values.append(layer(given if issubclass(kind, MERGE) else given[0]))
        return models.Model(values[0], values[-1])


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


def weights(prefix: str) -> dict[str, Any]:
    return {"activation": activations, "use_bias": st.booleans(), f"{prefix}_initializer": starts,
            "bias_initializer": starts}


@st.composite
def convolutions(draw: Any, shape: Any) -> dict[str, Any]:
    groups = draw(st.sampled_from([g for g in (1, 1, 2, 3, 4) if shape[2] % g == 0]))
    filters = groups * draw(channels) if groups == 1 else groups * draw(st.integers(1, 3))
    return {"filters": filters, "groups": groups, **draw(windows(shape, "kernel_size", True)),
            **draw(st.fixed_dictionaries(weights("kernel")))}


def transposed(shape: Any) -> Any:
    strides = st.integers(1, max(1, min(2, LARGEST // max(shape[:2]))))
    padding = st.sampled_from(["valid", "same"])
    return st.fixed_dictionaries({
        "filters": st.integers(1, 5), "kernel_size": pairs, "strides": strides | st.tuples(strides, strides),
        "padding": padding, "dilation_rate": st.just(1) | st.just((1, 2)), **weights("kernel")})


@st.composite
def depthwise(draw: Any, shape: Any) -> dict[str, Any]:
    return {"depth_multiplier": draw(st.integers(1, max(1, min(2, 2 * LARGEST // shape[2])))),
            **draw(windows(shape, "kernel_size", True)), **draw(st.fixed_dictionaries(weights("depthwise")))}


def geometric(**own: Any) -> Any:
    return st.fixed_dictionaries({
        **own, "fill_mode": st.sampled_from(sorted(FILL_MODES)), "fill_value": share, "seed": seeds,
        "interpolation": st.sampled_from(sorted(INTERPOLATIONS))})


def drawn(**own: Any) -> Any:
    return lambda shape: st.fixed_dictionaries(own)


sides = st.integers(0, 2)
factors = share | st.tuples(share, share)
one_size = {"height": sizes, "width": sizes}
colours = {"value_range": st.sampled_from([(0, 1), (-2, 2), (0, 255)]), "seed": seeds}

# What is drawn for each layer that takes images (H, W, C). "any" rank below: rows as well.
ARGUMENTS: dict[type, Any] = {
    layers.Activation: drawn(activation=activations),
    layers.Add: drawn(), layers.Average: drawn(), layers.Maximum: drawn(), layers.Minimum: drawn(),
    layers.Multiply: drawn(), layers.Subtract: drawn(), layers.Concatenate: drawn(axis=st.just(-1)),
    layers.AveragePooling2D: lambda shape: windows(shape, "pool_size", False),
    layers.BatchNormalization: lambda shape: st.fixed_dictionaries({
        "axis": st.sampled_from([-1, len(shape)]), "momentum": st.sampled_from([0.0, 0.5, 0.99]),
        "epsilon": st.sampled_from([1e-3, 0.1]), "center": st.booleans(), "scale": st.booleans(),
        "beta_initializer": around_0, "gamma_initializer": around_1, "moving_mean_initializer": around_0,
        "moving_variance_initializer": around_1}),
    layers.CenterCrop: drawn(**one_size),
    layers.Conv2D: convolutions, layers.Conv2DTranspose: transposed, layers.DepthwiseConv2D: depthwise,
    layers.Dense: drawn(units=channels, **weights("kernel")),
    layers.Dropout: drawn(rate=st.sampled_from([0.0, 0.3, 0.5, 1.0]), seed=seeds),
    layers.Flatten: drawn(),
    layers.GlobalAveragePooling2D: drawn(keepdims=st.booleans()),
    layers.GlobalMaxPooling2D: drawn(keepdims=st.booleans()),
    layers.MaxPooling2D: lambda shape: windows(shape, "pool_size", False),
    layers.RandomBrightness: drawn(factor=factors, **colours),
    layers.RandomContrast: drawn(factor=st.floats(0, 0.5, width=16), **colours),
    layers.RandomCrop: drawn(**one_size, seed=seeds),
    layers.RandomFlip: drawn(mode=st.sampled_from(["horizontal", "vertical", "horizontal_and_vertical"]), seed=seeds),
    layers.RandomRotation: lambda shape: geometric(factor=factors),
    layers.RandomTranslation: lambda shape: geometric(height_factor=factors, width_factor=factors),
    layers.RandomZoom: lambda shape: geometric(height_factor=factors, width_factor=st.none() | factors),
    layers.ReLU: drawn(),
    layers.Rescaling: lambda shape: st.fixed_dictionaries({
        "scale": share | st.lists(share, min_size=shape[-1], max_size=shape[-1]), "offset": share}),
    layers.Resizing: lambda shape: st.fixed_dictionaries({
        **one_size, "interpolation": st.sampled_from(sorted(INTERPOLATIONS)), "fill_value": share,
        "crop_to_aspect_ratio": st.booleans()}).flatmap(lambda given: st.booleans().map(
            lambda pad: {**given, "pad_to_aspect_ratio": pad and not given["crop_to_aspect_ratio"]})),
    layers.Softmax: lambda shape: st.fixed_dictionaries({"axis": st.sampled_from([-1, 1])}),
    layers.ZeroPadding2D: drawn(padding=sides | st.tuples(sides, sides) | st.tuples(
        st.tuples(sides, sides), st.tuples(sides, sides))),
}
OF_ROWS = [layers.Activation, layers.BatchNormalization, layers.Dense, layers.Dropout, layers.ReLU, layers.Rescaling,
           layers.Softmax]
MERGES = [kind for kind in ARGUMENTS if issubclass(kind, MERGE)]
TO_ROWS = [layers.Flatten, layers.GlobalAveragePooling2D, layers.GlobalMaxPooling2D]
OF_IMAGES = [kind for kind in ARGUMENTS if kind not in MERGES and kind not in TO_ROWS]
# Those that the others are for stand more often.
OF_IMAGES += [layers.Conv2D] * 6 + [layers.BatchNormalization, layers.MaxPooling2D, layers.ReLU] * 3
GROWING = (layers.ZeroPadding2D, layers.Conv2DTranspose)


@st.composite
def calls(draw: Any, shapes: list, kind: type, reads: tuple[int, ...]) -> Call:
    given = draw(ARGUMENTS[kind](shapes[reads[0]]))
    given["trainable"] = draw(st.sampled_from([True] * 5 + [False]))
    return Call(kind.__name__, given, reads)


def mergeable(shapes: list, last: tuple[int, ...], kind: type) -> list[int]:
    """Which values can be merged with the last one."""
    def fits(shape: tuple[int, ...]) -> bool:
        if kind is layers.Concatenate:
            return shape[:-1] == last[:-1] and shape[-1] + last[-1] <= 2 * LARGEST
        return len(shape) == len(last) and all(n == m or 1 in (n, m) for n, m in zip(shape, last))

    return [i for i, shape in enumerate(shapes) if fits(shape)]


@st.composite
def nets(draw: Any, most: int = 12) -> Net:
    """A net of 3 to `most` layers that gives `CLASSES` numbers a sample."""
    shape = (draw(sizes), draw(sizes), draw(st.integers(1, 4)))
    net, shapes = Net(shape, []), [shape]

    def add(call: Call) -> None:
        net.calls.append(call)
        kind = getattr(layers, call.kind)
        batch = [(None, *shapes[i]) for i in call.reads]
        layer = kind(**call.arguments)
        shapes.append(tuple(layer.compute_output_shape(batch if issubclass(kind, MERGE) else batch[0])[1:]))

    for left in range(draw(st.integers(1, most - 2)), 0, -1):
        last = shapes[-1]
        if draw(st.integers(0, 3)) == 0:
            kind = draw(st.sampled_from(MERGES))
            others = draw(st.lists(st.sampled_from(mergeable(shapes, last, kind) or [len(shapes) - 1]), min_size=1,
                                   max_size=1 if kind in (layers.Subtract, layers.Concatenate) else 2))
            reads = tuple(draw(st.permutations([len(shapes) - 1, *others])))
            add(draw(calls(shapes, kind, reads)))
        elif len(last) == 1:
            add(draw(calls(shapes, draw(st.sampled_from(OF_ROWS)), (len(shapes) - 1,))))
        else:
            large = max(last[:2]) > LARGEST // 2
            kinds = TO_ROWS if left == 1 or draw(st.integers(0, 7)) == 0 else \
                [kind for kind in OF_IMAGES if not (large and kind in GROWING)]
            add(draw(calls(shapes, draw(st.sampled_from(kinds)), (len(shapes) - 1,))))
    if len(shapes[-1]) == 3:
        add(Call("Flatten", {}, (len(shapes) - 1,)))
    add(Call("Dense", {"units": CLASSES, "activation": draw(st.sampled_from([None, "softmax", "tanh"]))},
             (len(shapes) - 1,)))
    return net
