"""The page "Coming from Keras": each argument of Keras's beside ours, from our signatures as they are."""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from autoconv.layers.checks import KerasDefault
from docsite import reference
from docsite.keras_arguments import FILE, METHODS, arguments

KERAS: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
# Keras has no such modules, or others.
LEFT_OUT = ("random", "nets", "parallel", "functional", "datasets", "pictures", "ops", "saving", "config", "backend",
            "formats", "wrappers")
SHOWN_MODULES = [name for name in reference.MODULES if name not in LEFT_OUT]
LEGACY = {"input_shape", "input_dim"}  # Keras takes them too, though no signature has them
ANY_KEYWORD = {"callbacks.LambdaCallback"}  # whose signature is **, for all that Keras's names

START = """# Coming from Keras

A listing for Keras 3 runs when its import changes: `from keras import layers, models` becomes
`from autoconv import layers, models`. Names, signatures, defaults and numerics are Keras's. What is not implemented
raises an error that says so: no argument is ever ignored. This page is made from the signatures as they are,
compared with Keras {version}.

- **same**: the same name and the same default.
- **another default**: the argument is there, its default is another one.
- **default alone**: accepted with Keras's default; any other value is a `ValueError`.
- **absent**: a `TypeError`.
- **ours**: Keras has no such argument.

[Keras's names](keras-names.md) lists every public name of Keras's: there, or why not.

What differs beyond arguments:

- Images are `(N, H, W, C)`. `data_format="channels_first"` is refused.
- `padding` of a convolution may also be numbers: `1`, `(1, 2)` or `((1, 0), (2, 2))`.
- A model is saved as `.safetensors`, `.keras` or `.h5` ([files](files.md)); code in a file, such as a `Lambda` layer,
  is never run.
- `to("cuda")` moves a model; there is no back end to choose, and `config` has one setting for each of its names.
- `image_dataset_from_directory` takes files with Keras's endings, and `.webp`: the same seed splits as in Keras. On the
  shell `autoconv train FOLDER` takes pictures of all formats, and names those that Pillow cannot read.
- `sparsemax` sums to 1; Keras 3.15's does not where several items stay.
- In configurations a dtype is its name. Configurations without `module` and `registered_name`, as earlier versions
  wrote them, are read as well. Initializers return NumPy arrays.
- Arguments are checked in the constructor, where Keras finds some of them in the call: `padding`, `interpolation`,
  rates, strides of pooling. Unknown arguments and classes are a `TypeError` and a `ValueError` in one, as Keras raises
  now the one and now the other.
- Weights may be added to a layer after it was built. Within a layer `training` is False where nobody said it; Keras's
  is None.
- `dtype` is "float32" or "float64": mixed precision is refused by that name. Integers that a layer is given become
  floats, also in layers that only move items.
- With `gradient_accumulation_steps` a step runs through Python; all else is recorded.
- `ops` has the functions of `keras.ops` that code of convolutional nets uses; `functional` has the same with PyTorch's
  names for convolutions.
- A `train_step(data)`, `test_step`, `predict_step`, `compute_loss` or `compute_metrics` of a class of yours is called,
  as on Keras's back end PyTorch: `loss.backward()` gives the gradients, `weight.grad`. Such a step runs through Python.
- `optimizer.learning_rate` and what a metric counts in (`metric.total`) are variables of doubles. A metric's result is
  a number with `numpy()`.
- Targets have the shape of the outputs, but for an axis of length 1 at the end: Keras's losses broadcast others.
- Metrics with thresholds warn of predictions outside of 0 to 1.
- `EarlyStopping`, `ReduceLROnPlateau` and `ModelCheckpoint` say what they cannot watch before the first step.
- `evaluate` in a callback leaves `fit`'s loss and the metrics that were given by name as they are; in Keras it starts
  their means anew. Metric objects start anew in both.
- `evaluate` and `train_on_batch` list each result once, in Keras's order. If two metrics have the same name, Keras's
  list repeats the first one. The outputs of a class whose `call` returns a list are named `output_1`, `output_2`, ....
- A layer, loss, metric or optimizer of yours says `recordable = True` to be replayed as kernels alone
  ([how](extending.md)).
"""


@dataclass
class Compared:
    """One class or function: its arguments by how they compare."""

    same: list[str] = field(default_factory=list)
    another_default: list[str] = field(default_factory=list)  # both defaults, in Markdown
    default_alone: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)


def page() -> str:
    """The page, in Markdown."""
    parts = [START.format(version=KERAS["version"])]
    for module in SHOWN_MODULES:
        rows = [_row(name, compared) for name, compared in comparisons(module).items()]
        if rows:
            parts.append(f"## {module}\n\n| | same | another default | default alone | absent | ours |\n"
                         f"|---|---|---|---|---|---|\n" + "\n".join(rows))
        alone = [f"`{name}`" for name in names(module) if not any(path.endswith(f".{name}") for path in KERAS)]
        if alone:
            parts.append("Keras has no " + ", ".join(alone) + ".")
    return "\n\n".join(parts) + "\n"


def names(module: str) -> list[str]:
    """The public classes and functions of one of our modules, the short names of a class left out."""
    holder = reference.load(module)
    return [name for name in reference.public_names(holder)
            if getattr(getattr(holder, name), "__name__", name) in (name, None) or name not in vars(holder)]


def comparisons(module: str) -> dict[str, Compared]:
    """What Keras has too of a module, methods included, by name."""
    holder, found = reference.load(module), {}
    for name in names(module):
        path = f"{module}.{name}"
        if path in KERAS:
            found[name] = compare(getattr(holder, name), KERAS[path], path)
        if path in METHODS:
            kind = getattr(holder, name)
            found.update({f"{name}.{method}": compare(getattr(kind, method), KERAS[f"{path}.{method}"], path)
                          for method in METHODS[path] if hasattr(kind, method)})
    return found


def compare(ours: Callable, theirs: dict[str, Any], path: str) -> Compared:
    """The arguments of a class or function beside Keras's."""
    extras = ours.extras() if path.startswith("layers.") and hasattr(ours, "extras") else ()
    known, left = {**arguments(ours), **dict.fromkeys(extras, "None")}, left_at_default(ours, path)
    if path in ANY_KEYWORD:
        known = {**theirs, **known}
    result = Compared(ours=[name for name in known if name not in theirs and name not in left | LEGACY])
    for name, default in theirs.items():
        if name in left:
            result.default_alone.append(name)
        elif name not in known:
            result.absent.append(name)
        elif known[name] == default:
            result.same.append(name)
        else:
            result.another_default.append(f"`{name}={_default(known[name])}` (Keras: `{_default(default)}`)")
    return result


def left_at_default(value: Callable, path: str) -> set[str]:
    """Returns the arguments that are accepted with their default only: a layer's attributes and a callback's table."""
    kinds = [kind for kind in inspect.getmro(value) if kind.__module__.startswith("autoconv.")] if inspect.isclass(
        value) else []
    return {name for kind in kinds for name in getattr(kind, "unsupported", ())} | {
        name for kind in kinds for name, each in vars(kind).items() if isinstance(each, KerasDefault)}


def _row(name: str, compared: Compared) -> str:
    plain = compared.same, compared.default_alone, compared.absent, compared.ours
    same, alone, absent, ours = (", ".join(f"`{item}`" for item in items) for items in plain)
    return f"| `{name}` | {same} | {', '.join(compared.another_default)} | {alone} | {absent} | {ours} |"


def _default(text: str | None) -> str:
    return "required" if text is None else text
