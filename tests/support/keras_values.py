"""Calls that Keras and autoconv both take, each as one function of the package, and what the installed Keras gives.

`python tests/support/keras_values.py` writes data/keras_values.json: the values that autoconv must give, too.
"""

import json
import os
import sys
import warnings
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

FILE = Path(__file__).parents[1] / "data" / "keras_values.json"
RNG = np.random.default_rng(0)


def normal(*shape):
    return RNG.normal(size=shape).astype("float32")


X = np.concatenate([normal(3, 6) * 3, np.array([[0, 0.5, -0.5, 1, -1, 3], [-3, 6, -6, 20, -20, 2]], "float32")])
IMAGES, ROWS = normal(2, 6, 7, 4), normal(2, 4)
P = RNG.dirichlet(np.ones(4), 6).astype("float32")
LABELS = RNG.integers(0, 4, 6)
ONE_HOT = np.eye(4, dtype="float32")[LABELS]
A, B = normal(6, 4), normal(6, 4)
WEIGHTS = np.array([1, 0, 2, 0.5, 1, 3], "float32")
BY_LABELS = {"CategoricalGeneralizedCrossEntropy", "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy",
             "SparseTopKCategoricalAccuracy", "IoU", "MeanIoU"}
OF_NUMBERS = {"R2Score", "PearsonCorrelation", "ConcordanceCorrelation"}

CASES: dict[str, Callable[[Any], Any]] = {}


def add(name: str, call: Callable[[Any], Any]) -> None:
    assert name not in CASES, name
    CASES[name] = call


def said(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in arguments.items())


# Functions

for _name in ("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh",
              "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu",
              "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "squareplus", "tanh",
              "tanh_shrink"):
    add(f"activations.{_name}", lambda k, name=_name: getattr(k.activations, name)(X))
for _name in ("huber", "log_cosh", "mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error",
              "mean_squared_logarithmic_error", "cosine_similarity", "hinge", "squared_hinge"):
    add(f"losses.{_name}", lambda k, name=_name: getattr(k.losses, name)(B, A))
for _name in ("poisson", "kl_divergence"):
    add(f"losses.{_name}", lambda k, name=_name: getattr(k.losses, name)(ONE_HOT, P))

# Losses

LOSSES = (
    "BinaryCrossentropy", "BinaryFocalCrossentropy", "CategoricalCrossentropy", "CategoricalFocalCrossentropy",
    "CategoricalGeneralizedCrossEntropy", "CategoricalHinge", "CosineSimilarity", "Dice", "Hinge", "Huber",
    "KLDivergence", "LogCosh", "MeanAbsoluteError", "MeanAbsolutePercentageError", "MeanSquaredError",
    "MeanSquaredLogarithmicError", "Poisson", "SparseCategoricalCrossentropy", "SquaredHinge", "Tversky")
for _name in LOSSES:
    for _options, _weights in product(
            ({}, {"reduction": "sum"}, {"reduction": None}, {"reduction": "mean_with_sample_weight"}), (None, WEIGHTS)):
        add(f"losses.{_name}({said(_options)}){'' if _weights is None else ' weighted'}",
            lambda k, name=_name, options=_options, weights=_weights: getattr(k.losses, name)(**options)(
                LABELS if name in BY_LABELS else ONE_HOT, P, weights))
    for _how, _weights in (("by a column", WEIGHTS[:, None]), ("by one number", np.float32(2.5))):
        add(f"losses.{_name}() weighted {_how}", lambda k, name=_name, weights=_weights: getattr(k.losses, name)()(
            LABELS if name in BY_LABELS else ONE_HOT, P, weights))
for _name in ("BinaryCrossentropy", "BinaryFocalCrossentropy", "CategoricalCrossentropy",
              "CategoricalFocalCrossentropy"):
    add(f"losses.{_name}(from_logits)", lambda k, name=_name: getattr(k.losses, name)(from_logits=True)(ONE_HOT, A))
    add(f"losses.{_name}(label_smoothing)",
        lambda k, name=_name: getattr(k.losses, name)(label_smoothing=0.1)(ONE_HOT, P))
    add(f"losses.{_name}(axis)", lambda k, name=_name: getattr(k.losses, name)(axis=0)(
        np.ascontiguousarray(ONE_HOT.T), np.ascontiguousarray(P.T)))
add("losses.SparseCategoricalCrossentropy(from_logits)",
    lambda k: k.losses.SparseCategoricalCrossentropy(from_logits=True)(LABELS, A))
add("losses.SparseCategoricalCrossentropy(ignore_class)",
    lambda k: k.losses.SparseCategoricalCrossentropy(ignore_class=1)(LABELS, P))

# Metrics

METRICS = {
    **{name: ({},) for name in (
        "Accuracy", "BinaryAccuracy", "BinaryCrossentropy", "CategoricalAccuracy", "CategoricalCrossentropy",
        "CategoricalHinge", "ConcordanceCorrelation", "CosineSimilarity", "FBetaScore", "FalseNegatives",
        "FalsePositives", "Hinge", "KLDivergence", "LogCoshError", "MeanAbsoluteError", "MeanAbsolutePercentageError",
        "MeanSquaredError", "MeanSquaredLogarithmicError", "PearsonCorrelation", "Poisson", "R2Score",
        "RootMeanSquaredError", "SparseCategoricalAccuracy", "SparseCategoricalCrossentropy", "SquaredHinge",
        "TrueNegatives", "TruePositives")},
    "AUC": ({}, {"curve": "PR"}, {"summation_method": "minoring"}, {"summation_method": "majoring"},
            {"multi_label": True}, {"multi_label": True, "curve": "PR"}, {"thresholds": [0.1, 0.7]}),
    "BinaryIoU": ({"target_class_ids": [0, 1]}, {"target_class_ids": [1], "threshold": 0.3}),
    "F1Score": ({}, {"average": "micro"}, {"average": "macro"}, {"average": "weighted"}, {"threshold": 0.3}),
    "IoU": ({"num_classes": 4, "target_class_ids": [0, 1]},), "MeanIoU": ({"num_classes": 4},),
    "OneHotIoU": ({"num_classes": 4, "target_class_ids": [0, 2]},), "OneHotMeanIoU": ({"num_classes": 4},),
    "Precision": ({}, {"thresholds": [0.2, 0.5]}, {"top_k": 2}, {"class_id": 1}, {"thresholds": 0.4, "top_k": 2}),
    "Recall": ({}, {"thresholds": [0.2, 0.5]}, {"top_k": 2}, {"class_id": 1}, {"thresholds": 0.4, "top_k": 2}),
    "PrecisionAtRecall": ({"recall": 0.4},), "RecallAtPrecision": ({"precision": 0.4},),
    "SensitivityAtSpecificity": ({"specificity": 0.4},), "SpecificityAtSensitivity": ({"sensitivity": 0.4},),
    "SparseTopKCategoricalAccuracy": ({"k": 2},), "TopKCategoricalAccuracy": ({"k": 2},),
}


def scored(k: Any, name: str, options: dict[str, Any], weights: Any) -> Any:
    """A metric after two batches."""
    metric = getattr(k.metrics, name)(**options)
    if weights is not None and name.endswith("IoU"):
        weights = np.ceil(weights)  # Keras makes integers of them, in other ways on each back end
    y, p = (B, A) if name in OF_NUMBERS else (LABELS if name in BY_LABELS else ONE_HOT, P)
    p = P.argmax(1) if name in ("IoU", "MeanIoU") else p
    for half in (slice(0, 3), slice(3, 6)):
        metric.update_state(y[half], p[half], **({} if weights is None else {"sample_weight": weights[half]}))
    return metric.result()


for _name, _given in METRICS.items():
    for _options, _weights in product(_given, (None, WEIGHTS)):
        if _weights is None or not _name.endswith(("Correlation", "BinaryIoU")):  # Keras refuses them
            add(f"metrics.{_name}({said(_options)}){'' if _weights is None else ' weighted'}",
                lambda k, name=_name, options=_options, weights=_weights: scored(k, name, options, weights))

# Optimizers and schedules

OPTIMIZERS = ("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "Ftrl", "Lion", "Muon", "Nadam", "RMSprop",
              "SGD")
FIRST, GRADIENTS = normal(3, 4), normal(6, 3, 4)
OF_ALL = ({}, {"weight_decay": 0.01}, {"clipnorm": 0.1}, {"clipvalue": 0.1}, {"global_clipnorm": 0.1},
          {"use_ema": True, "ema_overwrite_frequency": 3, "ema_momentum": 0.5}, {"gradient_accumulation_steps": 2},
          {"learning_rate": 0.1})


def stepped(k: Any, name: str, options: dict[str, Any]) -> Any:
    """A weight after six steps."""
    optimizer = getattr(k.optimizers, name)(**options)
    weight = variable(k, FIRST.copy())
    for gradient in GRADIENTS:
        optimizer.apply_gradients([(k.ops.array(gradient) if hasattr(k, "Variable") else gradient, weight)])
    return weight.numpy()


def variable(k: Any, value: np.ndarray) -> Any:
    return k.Variable(value)


for _name, _options in [*product(OPTIMIZERS, OF_ALL), ("Adam", {"amsgrad": True}), ("SGD", {"momentum": 0.9}),
                        ("SGD", {"gradient_accumulation_steps": 2, "use_ema": True, "ema_momentum": 0.5,
                                 "ema_overwrite_frequency": 2}), ("SGD", {"loss_scale_factor": 4.0}),
                        ("Muon", {"nesterov": False, "ns_steps": 3, "rms_rate": None}),
                        ("SGD", {"momentum": 0.9, "nesterov": True}), ("RMSprop", {"momentum": 0.5, "centered": True}),
                        ("Ftrl", {"l1_regularization_strength": 0.01, "l2_regularization_strength": 0.1, "beta": 0.1})]:
    add(f"optimizers.{_name}({said(_options)})", lambda k, name=_name, options=_options: stepped(k, name, options))
for _name, _arguments in (
        ("PolynomialDecay", (0.1, 10)), ("PolynomialDecay", (0.1, 10, 0.01, 2.0, True)),
        ("InverseTimeDecay", (0.1, 10, 0.5)), ("InverseTimeDecay", (0.1, 10, 0.5, True)),
        ("CosineDecay", (0.1, 10, 0.1)),
        ("CosineDecayRestarts", (0.1, 5)), ("CosineDecayRestarts", (0.1, 5, 3.0, 0.5, 0.1)),
        ("ExponentialDecay", (0.1, 10, 0.5)), ("PiecewiseConstantDecay", ([3, 6], [1.0, 0.5, 0.1]))):
    add(f"schedules.{_name}{_arguments}", lambda k, name=_name, arguments=_arguments: [
        float(getattr(k.optimizers.schedules, name)(*arguments)(step)) for step in range(25)])

# Regularizers and constraints

for _name, _arguments in (("L1", ()), ("L2", (0.3,)), ("L1L2", (0.1, 0.2)), ("OrthogonalRegularizer", ()),
                          ("OrthogonalRegularizer", (0.1, "columns"))):
    add(f"regularizers.{_name}{_arguments}", lambda k, name=_name, arguments=_arguments: getattr(
        k.regularizers, name)(*arguments)(variable(k, A)))
for _name, _arguments in (("MaxNorm", ()), ("MaxNorm", (1.0, 1)), ("NonNeg", ()), ("UnitNorm", ()),
                          ("MinMaxNorm", (0.5, 1.0, 0.7))):
    add(f"constraints.{_name}{_arguments}", lambda k, name=_name, arguments=_arguments: getattr(
        k.constraints, name)(*arguments)(A))

# Layers, outside of training, with weights that are drawn

LAYERS = [
    ("LeakyReLU", IMAGES, [{}, {"negative_slope": 0.1}]), ("PReLU", IMAGES, [{}, {"shared_axes": [1, 2]}]),
    ("ELU", IMAGES, [{}, {"alpha": 0.5}]),
    ("ReLU", IMAGES, [{"max_value": 1, "negative_slope": 0.1, "threshold": 0.2}]),
    ("Softmax", IMAGES, [{}, {"axis": [1, 2]}]), ("Activation", IMAGES, [{"activation": "gelu"}]),
    ("Reshape", IMAGES, [{"target_shape": (7, 24)}, {"target_shape": (-1, 6)}]),
    ("Permute", IMAGES, [{"dims": (2, 1, 3)}]), ("RepeatVector", ROWS, [{"n": 3}]),
    ("UpSampling2D", IMAGES[:, :2, :3], [{}, {"size": (3, 2)}, {"size": 2, "interpolation": "bilinear"}]),
    ("Cropping2D", IMAGES, [{"cropping": 1}, {"cropping": ((1, 0), (2, 3))}]),
    ("LayerNormalization", IMAGES, [{}, {"axis": [1, 2]}, {"rms_scaling": True}, {"scale": False}]),
    ("GroupNormalization", IMAGES, [{"groups": 2}, {"groups": -1}]), ("GroupNormalization", ROWS, [{"groups": 2}]),
    ("RMSNormalization", IMAGES, [{}, {"epsilon": 0.1}]), ("Identity", ROWS, [{}]),
    ("ActivityRegularization", ROWS, [{"l1": 0.1}]),
    ("Normalization", IMAGES, [{"mean": 2.0, "variance": 4.0}, {"mean": 2.0, "variance": 4.0, "invert": True},
                               {"mean": [1, 2, 3, 4], "variance": [4, 3, 2, 1]}]),
    ("UnitNormalization", IMAGES, [{}, {"axis": [1, 2]}]), ("BatchNormalization", IMAGES, [{}]),
    ("GlobalAveragePooling2D", IMAGES, [{"keepdims": True}]), ("GlobalMaxPooling2D", IMAGES, [{"keepdims": True}]),
    ("Conv2D", IMAGES, [{"filters": 2, "kernel_size": 3, "strides": 2, "padding": "same"}]),
    ("DepthwiseConv2D", IMAGES, [{"kernel_size": 3, "depth_multiplier": 2}]),
    ("SeparableConv2D", IMAGES, [
        {"filters": 2, "kernel_size": 3, "strides": s, "padding": p, "dilation_rate": d, "depth_multiplier": m}
        for s, p, d, m in product((1, 2), ("same", "valid"), (1, 2), (1, 2)) if s == 1 or d == 1]),
    ("Conv2DTranspose", IMAGES[:1, :3, :2], [
        {"filters": 1, "kernel_size": size, "strides": s, "padding": p, "output_padding": o}
        for size, s, p, o in product((1, 2, 3, 4), (1, 2, 3), ("same", "valid"), (None, 0, 1, 2))
        if o is None or o < s]),
]


def computed(k: Any, name: str, x: np.ndarray, options: dict[str, Any]) -> Any:
    layer, draw = getattr(k.layers, name)(**options), np.random.default_rng(1)
    layer.build(x.shape)
    layer.set_weights([draw.uniform(0.1, 1, np.shape(w)).astype("float32") for w in layer.get_weights()])
    return layer(x)


for _name, _x, _given in LAYERS:
    for _options in _given:
        add(f"layers.{_name}({said(_options)}) of {_x.shape}",
            lambda k, name=_name, x=_x, options=_options: computed(k, name, x, options))


def stateless(k: Any) -> Any:
    layer = k.layers.Dense(2)
    layer.build(ROWS.shape)
    return layer.stateless_call([A[:4, :2].copy(), B[0, :2].copy()], [], ROWS)


def adapted(k: Any, axis: Any) -> Any:
    layer = k.layers.Normalization(axis=axis)
    layer.adapt(IMAGES)
    return layer(IMAGES)


for _axis in (-1, None, (1, 3)):
    add(f"layers.Normalization(axis={_axis}) adapted", lambda k, axis=_axis: adapted(k, axis))
for _axes, _normalize, _x, _y in ((-1, False, A, B), (1, True, A, B), ((3, 1), False, IMAGES, IMAGES[:, :4]),
                                  ((2, 2), True, IMAGES, IMAGES)):
    add(f"layers.Dot({_axes}, {_normalize}) of {_x.shape}", lambda k, axes=_axes, normalize=_normalize, x=_x, y=_y:
        k.layers.Dot(axes, normalize)([x, y]))
for _name, _options in (("BatchNormalization", {"axis": 1}), ("BatchNormalization", {"axis": -2}),
                        ("GroupNormalization", {"groups": 3, "axis": 1})):
    add(f"layers.{_name}({said(_options)}) of {IMAGES.shape}",
        lambda k, name=_name, options=_options: computed(k, name, IMAGES, options))
add("layers.BatchNormalization(axis=1) in training",
    lambda k: k.layers.BatchNormalization(axis=1)(IMAGES, training=True))
add("layers.BatchNormalization with a mask",
    lambda k: k.layers.BatchNormalization()(A, training=True, mask=np.array([1, 1, 0, 1, 0, 1], bool)))
add("layers.Softmax with a mask", lambda k: k.layers.Softmax()(A, mask=A > B))
add("layers.Concatenate(axis=0)", lambda k: k.layers.Concatenate(axis=0)([A, B[:2]]))
add("layers.Dense stateless", lambda k: stateless(k)[0])
add("layers.Lambda", lambda k: k.layers.Lambda(lambda x: x * 2)(ROWS))

# Facts of every layer: how many weights of which kind, what it adds to the loss, shapes, and whether it takes masks

IMAGE_SHAPE, ROW_SHAPE = (2, 8, 6, 4), (2, 5)
LAYER_FACTS: dict[str, Any] = {  # by the call that makes it, the shape or shapes of its input
    **dict.fromkeys((
        "Conv2D(4, 3, strides=2, padding='same', activation='relu', kernel_regularizer='l1', bias_regularizer='l2')",
        "Conv2D(4, (2, 3), groups=2, use_bias=False, dilation_rate=2)",
        "DepthwiseConv2D(3, depth_multiplier=2, padding='same')",
        "SeparableConv2D(4, 3, depth_multiplier=2, depthwise_regularizer='l2', pointwise_regularizer='l1')",
        "Conv2DTranspose(3, 3, strides=2, padding='same')",
        "Conv2DTranspose(3, 2, strides=(2, 1), output_padding=(1, 0), activity_regularizer='l2')",
        "MaxPooling2D()", "MaxPooling2D(3, 2, 'same')", "AveragePooling2D(2)",
        "AveragePooling2D((3, 2), strides=(2, 1), padding='same')", "GlobalAveragePooling2D()",
        "GlobalAveragePooling2D(keepdims=True)", "GlobalMaxPooling2D()", "GlobalMaxPooling2D(keepdims=True)",
        "BatchNormalization(beta_regularizer='l2', gamma_regularizer='l1')", "BatchNormalization(axis=1)",
        "LayerNormalization(beta_regularizer='l2', gamma_regularizer='l2')",
        "LayerNormalization(axis=(1, 2, 3), scale=False)", "GroupNormalization(groups=2, gamma_regularizer='l2')",
        "GroupNormalization(groups=-1, center=False, scale=False)", "UnitNormalization(axis=(1, 2))",
        "SpatialDropout2D(0.5)", "Flatten()", "Reshape((8, -1))", "Reshape((4, 48))", "Permute((3, 1, 2))",
        "ZeroPadding2D(((1, 0), (2, 3)))", "Cropping2D(((1, 0), (2, 1)))", "UpSampling2D((2, 3))",
        "UpSampling2D(2, interpolation='bilinear')", "Activation('relu')",
        "ReLU(max_value=3, negative_slope=0.1, threshold=0.5)", "LeakyReLU(negative_slope=0.2)",
        "PReLU(shared_axes=[1, 2], alpha_initializer='ones')", "Softmax(axis=-1)", "Identity()",
        "Rescaling(0.5, offset=1.0)", "CenterCrop(4, 3)", "Resizing(4, 3)", "RandomFlip(seed=1)",
        "RandomRotation(0.1, seed=1)", "RandomZoom(0.1, seed=1)", "RandomTranslation(0.1, 0.1, seed=1)",
        "RandomContrast(0.1, seed=1)", "RandomBrightness(0.1, seed=1)", "RandomCrop(4, 3, seed=1)",
        "RandomErasing(0.5, seed=1)"), IMAGE_SHAPE),
    **dict.fromkeys((
        "Dense(3, activation='relu', kernel_regularizer='l2', activity_regularizer='l1')", "Dense(3, use_bias=False)",
        "BatchNormalization(center=False, scale=False)", "RMSNormalization()", "Dropout(0.5)",
        "Dropout(0.5, noise_shape=(None, 1), seed=3)", "AlphaDropout(0.5, seed=1)", "GaussianNoise(0.5)",
        "GaussianDropout(0.5)", "RepeatVector(3)", "Activation('gelu')", "ELU(alpha=0.5)",
        "PReLU(alpha_regularizer='l2')", "Softmax()", "ActivityRegularization(0.1, 0.2)",
        "Normalization(mean=1.0, variance=4.0)"), ROW_SHAPE),
    **{f"{kind}()": [ROW_SHAPE, ROW_SHAPE] for kind in (
        "Add", "Subtract", "Multiply", "Average", "Maximum", "Minimum", "Concatenate")},
    "Concatenate(axis=1)": [IMAGE_SHAPE, IMAGE_SHAPE], "Dot(axes=1)": [ROW_SHAPE, ROW_SHAPE],
    "Dot(axes=(2, 1), normalize=True)": [(2, 3, 4), (2, 4, 5)]}


def made(k: Any, code: str) -> Any:
    return eval(code, vars(k.layers))


def of_each(shape: Any, change: Callable[[Any], Any]) -> Any:
    """What a function makes of the shape of a layer's input, or of each where it has several."""
    return [change(each) for each in shape] if isinstance(shape, list) else change(shape)


def facts(k: Any, code: str, shape: Any) -> list[int]:
    layer = made(k, code)
    found = [layer.supports_masking, len(layer.losses), len(layer.weights)]
    layer.build(shape)
    found += [len(layer.weights), len(layer.trainable_weights), len(layer.non_trainable_weights), layer.count_params(),
              len(layer.variables), len(layer.losses)]
    for given in (shape, of_each(shape, lambda each: (None, *each[1:]))):
        sizes = (layer.compute_output_shape(given), layer(of_each(given, k.KerasTensor)).shape)
        found += [-1 if size is None else size for each in sizes for size in each]
    y = layer(of_each(shape, lambda each: np.ones(each, "float32")))
    found += [*y.shape, len(layer.losses), str(y.dtype) == "float32"]
    layer.trainable = False
    return [*found, len(layer.trainable_weights), len(layer.non_trainable_weights)]


for _code, _shape in LAYER_FACTS.items():
    add(f"layers.{_code} is made so", lambda k, code=_code, shape=_shape: facts(k, code, shape))

# Functions of tensors

V = np.array([0.5, -1.5, 2.5, np.inf, -np.inf, 3.0], "float32")
for _call, _given in {
    "average": [(A,), (A, 0), (A, 1, np.arange(4, dtype="float32")), (A, None, np.abs(A))],
    "prod": [(A,), (A, 1)], "cumsum": [(A,), (A, 0), (IMAGES, 2)], "dot": [(A, B.T), (A[0], B[0]), (A, B[0])],
    "logical_xor": [(A > 0, B > 0)], "isfinite": [(V,)], "isinf": [(V,)], "isclose": [(V, V + 1e-7), (A, B, 1.0, 0.5)],
    "allclose": [(A, A + 1e-9), (A, B)], "count_nonzero": [(ONE_HOT,), (ONE_HOT, 0)], "floor": [(A,)], "ceil": [(A,)],
    "trunc": [(A,)], "round": [(A,), (A, 1), (V[:3],)], "sort": [(A,), (A, 0)], "argsort": [(A,), (ONE_HOT, 0)],
    "identity": [(3,)], "tile": [(A, 2), (A, (2, 1, 3))], "repeat": [(A, 2), (A, 2, 1), (A[:2], np.array([1, 3]), 0)],
    "roll": [(A, 2), (A, -1, 0), (IMAGES, (1, 2), (1, 2))],
    "take": [(A, np.array([3, 0, 1])), (A, np.array([[1, 2], [0, 0]]), 1)],
    "fliplr": [(A,)], "flipud": [(A,)], "hstack": [([A, B],), ([A[0], B[0]],)], "vstack": [([A, B],), ([A[0], B[0]],)],
    "tril": [(A,), (IMAGES, 1)], "triu": [(A, -1)], "diag": [(A,), (A[0],), (A[0], 1), (A[0], -2), (A, 1), (A, -1)],
    "diagonal": [(IMAGES,), (IMAGES, 1, 2, 3)], "logsumexp": [(A,), (A, 0), (A * 100, 1, True)],
    "norm": [(A,), (A, None, 1), (A, 1, 0), (IMAGES, 2, -1, True)], "in_top_k": [(LABELS, P, 2)],
    "gelu": [(A,), (A, False)], "normalize": [(A,), (A, 0, 1)], "layer_normalization": [(A,)],
    "binary_crossentropy": [(ONE_HOT, P), (ONE_HOT, A, True)],
    "categorical_crossentropy": [(ONE_HOT, P), (ONE_HOT, A, True)],
    "sparse_categorical_crossentropy": [(LABELS, P), (LABELS, A, True)], "linspace": [(0, 1, 5, False)],
    "conv_transpose": [(IMAGES, normal(3, 3, 2, 4))], "full_like": [(A, 2, "int32")], "ones_like": [(LABELS,)],
}.items():
    for _i, _arguments in enumerate(_given):
        add(f"ops.{_call} {_i}", lambda k, name=_call, arguments=_arguments: getattr(k.ops, name)(*arguments))
for _i in range(2):
    add(f"ops.top_k {_i}", lambda k, i=_i: k.ops.top_k(A, 2)[i])
    add(f"ops.unstack {_i}", lambda k, i=_i: k.ops.unstack(A, axis=1)[i])
add("ops.image.rgb_to_grayscale", lambda k: k.ops.image.rgb_to_grayscale(np.abs(IMAGES[..., :3])))
add("ops.image.pad_images", lambda k: k.ops.image.pad_images(IMAGES, 1, 2, target_height=9, target_width=10))
add("ops.image.crop_images", lambda k: k.ops.image.crop_images(IMAGES, 1, bottom_cropping=2, left_cropping=2,
                                                              target_width=3))


def main(file: Path) -> None:
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = {name: np.asarray(call(keras), "float32") for name, call in CASES.items()}
    rows = [f'{json.dumps(name)}: {json.dumps([list(v.shape), [float(f"{number:.7g}") for number in v.ravel()]])}'
            for name, v in found.items()]
    file.write_text(f'{{"version": "{keras.__version__}",\n' + ",\n".join(rows) + "}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE)
