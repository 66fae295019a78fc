"""Writes the page "Coming from Keras", which compares each argument in Keras's signatures with autoconv's."""

import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from autoconv.layers.checks import KerasDefault
from docsite import reference
from docsite.keras_arguments import FILE, METHODS, arguments

KERAS: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
# Modules that Keras does not have, or whose names differ too much to compare.
LEFT_OUT = ("random", "nets", "parallel", "functional", "datasets", "pictures", "ops", "saving", "config", "backend",
            "formats", "wrappers")
SHOWN_MODULES = [name for name in reference.MODULES if name.split(".")[0] not in LEFT_OUT]
LEGACY = {"input_shape", "input_dim"}  # arguments that Keras accepts although no signature lists them
ANY_KEYWORD = {"callbacks.LambdaCallback"}  # callables whose signature is **kwargs and accepts all of Keras's arguments

START = """# Coming from Keras

Code written for Keras 3 runs in autoconv after you change its import: `from keras import layers, models` becomes
`from autoconv import layers, models`. autoconv uses Keras's names, signatures, defaults and numerics. Using a feature
that is not implemented raises an error that says so, and no argument is ever silently ignored. The tables on this page
compare the arguments of autoconv's classes and functions with the arguments in Keras {version}. The columns of the
tables mean:

- **same**: the argument has the same name and the same default as in Keras.
- **different default**: the argument exists in autoconv, but its default differs from Keras's default.
- **default only**: autoconv accepts only Keras's default. Any other value raises a `ValueError`.
- **missing**: the argument does not exist in autoconv. Passing it raises a `TypeError`.
- **autoconv only**: the argument does not exist in Keras.

[Keras's names](keras-names.md) lists every public name of Keras, and gives the reason if autoconv does not have the
name.

Further differences from Keras:

- TensorFlow's own interfaces, such as `tf.data`, `tf.GradientTape` and `tf.function`, do not exist in autoconv. Pass
  NumPy arrays, a generator or a `PyDataset` to `fit`. For your own training step, override `train_step` or call
  `loss.backward()`.
- Images always have the shape `(N, H, W, C)`. `data_format="channels_first"` raises an error.
- The `padding` of a convolution may also be given in numbers: `1`, `(1, 2)` or `((1, 0), (2, 2))`.
- A model is saved as `.safetensors`, `.keras` or `.h5` ([files](files.md)). Code stored in a file, such as the function
  of a `Lambda` layer, is never run.
- `model.to("cuda")` moves a model to a GPU. There is no backend to choose, and each setting in `config` has only one
  allowed value.
- `image_dataset_from_directory` reads files with the suffixes that Keras reads, and `.webp` files. The same seed gives
  the same split as in Keras. On the command line, `autoconv train FOLDER` reads pictures of all formats that Pillow can
  read, and lists the pictures that it cannot read.
- The results of `sparsemax` sum to 1. In Keras 3.15, the results of `sparsemax` do not sum to 1 if several of them are
  nonzero.
- In the dict that `get_config` returns, a dtype is stored by its name. Configurations without `module` and
  `registered_name`, as earlier versions of autoconv wrote them, can still be read.
- Initializers return NumPy arrays.
- The constructor of a layer checks the layer's arguments. Keras checks some arguments, such as `padding`,
  `interpolation`, dropout rates and the strides of pooling, only when the layer is called.
- The error for an unknown argument is both a `TypeError` and a `ValueError`, because Keras sometimes raises a
  `TypeError` and sometimes a `ValueError`.
- `dtype` must be "float32" or "float64". Mixed precision raises an error.
- A layer that only moves or merges elements, such as `Flatten` or `Add`, keeps integers if it is called outside a
  model. All other layers, and all models, convert integers to floats.
- With `gradient_accumulation_steps`, the optimizer's update runs through Python in every step. Without
  `gradient_accumulation_steps`, the update of every built-in optimizer is recorded once and then replayed as kernels.
- `ops` contains the functions of `keras.ops` that convolutional nets use. `functional` contains the same functions,
  with PyTorch's names for convolutions.
- A model class may override `train_step(data)`, `test_step`, `predict_step`, `compute_loss` and `compute_metrics`.
  These methods work as on Keras's PyTorch backend: `loss.backward()` computes the gradients, and `weight.grad` returns
  them. If a model class overrides one of these methods, its steps run through Python instead of being replayed as
  kernels.
- `optimizer.learning_rate` and the totals of a metric, such as `metric.total`, are float64 variables. The result of a
  metric is a number with a method `numpy()`.
- Targets must have the same shape as the outputs, apart from a trailing axis of length 1. Keras also broadcasts
  targets of other shapes.
- Metrics with thresholds warn if a prediction is outside the range 0 to 1.
- If the value to monitor does not exist, `EarlyStopping`, `ReduceLROnPlateau` and `ModelCheckpoint` report this before
  the first training step.
- `evaluate` called in a callback does not change `fit`'s running loss or the metrics that `compile` received by name.
  In Keras, such a call resets the running loss and the metrics received by name. Metrics that `compile`
  received as objects are reset both in autoconv and in Keras.
- `evaluate` and `train_on_batch` list each result once, in Keras's order. If two metrics have the same name, Keras
  lists the first metric twice.
- If the `call` of a model class returns a list, its outputs are named `output_1`, `output_2` and so on.
- A custom layer, loss, metric or optimizer can set `recordable = True`. Training steps that use this object are then
  replayed as kernels, without running the object's Python code again ([how](extending.md)).

## Search for hyperparameters with scikit-learn

`wrappers.Classifier` and `wrappers.Regressor` replace Keras's `SKLearnClassifier` and `SKLearnRegressor`. They accept a
function that creates the net. Its first two arguments are the shape of a sample and the number of outputs. All further
arguments, such as `filters`, are also arguments of the classifier, so `GridSearchCV`, `clone`, `get_params` and
`set_params` know them. `fit` accepts `sample_weight`.

```python
import numpy as np
from sklearn.model_selection import GridSearchCV

from autoconv import layers
from autoconv.datasets import digits
from autoconv.wrappers import Classifier


def net(input_shape, outputs, filters=8, dropout=0.0):
    return [layers.Rescaling(1 / 255), layers.Conv2D(filters, 3, strides=2, activation="relu"),
            layers.Flatten(), layers.Dropout(dropout), layers.Dense(outputs, activation="softmax")]


(x, y), _ = digits.load_data()
search = GridSearchCV(Classifier(net, epochs=3, random_state=0), {{"filters": [2, 16], "dropout": [0.0, 0.9]}}, cv=2)
search.fit(x[:400, ..., None], y[:400], sample_weight=np.where(y[:400] == 8, 2.0, 1.0))
print(search.best_params_)
```

```text
{{'dropout': 0.0, 'filters': 16}}
```

In a pipeline, the names are `classifier__filters` and so on. Arguments of `fit` and `compile` can be searched in the
same way: `epochs`, `batch_size`, `optimizer` and `loss`.
"""


@dataclass
class Compared:
    """The arguments of one class or function, grouped by how they compare with Keras's."""

    same: list[str] = field(default_factory=list)
    another_default: list[str] = field(default_factory=list)  # Markdown text with both defaults
    default_alone: list[str] = field(default_factory=list)
    absent: list[str] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)


def page() -> str:
    """Returns the page as Markdown."""
    parts = [START.format(version=KERAS["version"])]
    for module in SHOWN_MODULES:
        rows = [_row(name, compared) for name, compared in comparisons(module).items()]
        if rows:
            parts.append(f"## {module}\n\n| | same | different default | default only | missing | autoconv only |\n"
                         f"|---|---|---|---|---|---|\n" + "\n".join(rows))
        alone = [f"`{name}`" for name in names(module) if not any(path.endswith(f".{name}") for path in KERAS)]
        if alone:
            parts.append("Keras has no " + " and no ".join(alone) + ".")
    return "\n\n".join(parts) + "\n"


def names(module: str) -> list[str]:
    """Returns the public classes and functions of one of autoconv's modules, without the short aliases of classes."""
    holder = reference.load(module)
    return [name for name in reference.public_names(holder)
            if getattr(getattr(holder, name), "__name__", name) in (name, None) or name not in vars(holder)]


def comparisons(module: str) -> dict[str, Compared]:
    """Compares the names, including methods, that a module of autoconv shares with Keras; a dict by name."""
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
    """Compares the arguments of a class or function with Keras's."""
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
    """Returns the arguments that are accepted only with their default: attributes, and those in `fixed_arguments`."""
    kinds = [kind for kind in inspect.getmro(value) if kind.__module__.startswith("autoconv.")] if inspect.isclass(
        value) else []
    return {name for kind in kinds for name in getattr(kind, "fixed_arguments", ())} | {
        name for kind in kinds for name, each in vars(kind).items() if isinstance(each, KerasDefault)}


def _row(name: str, compared: Compared) -> str:
    plain = compared.same, compared.default_alone, compared.absent, compared.ours
    same, alone, absent, ours = (", ".join(f"`{item}`" for item in items) for items in plain)
    return f"| `{name}` | {same} | {', '.join(compared.another_default)} | {alone} | {absent} | {ours} |"


def _default(text: str | None) -> str:
    return "required" if text is None else text
