"""One of each layer, loss and metric, with the least that each needs, for tests that all of them must pass."""

import inspect

import numpy as np

from autoconv import functional as F
from autoconv import layers, losses, metrics, models, optimizers

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 6, 6, 4)).astype("float32")
LAYERS = {
    layers.Activation: lambda: layers.Activation("tanh"),
    layers.ActivityRegularization: lambda: layers.ActivityRegularization(0.1, 0.2),
    layers.AlphaDropout: lambda: layers.AlphaDropout(0.4, seed=3),
    layers.AveragePooling2D: lambda: layers.AveragePooling2D(3, strides=2),
    layers.BatchNormalization: layers.BatchNormalization,
    layers.CenterCrop: lambda: layers.CenterCrop(3, 4),
    layers.Conv2D: lambda: layers.Conv2D(4, 3, activation="relu", bias_initializer="ones"),
    layers.Conv2DTranspose: lambda: layers.Conv2DTranspose(4, 3, strides=2, activation="relu"),
    layers.Cropping2D: lambda: layers.Cropping2D(1),
    layers.Dense: lambda: layers.Dense(5, activation="relu", bias_initializer="ones"),
    layers.DepthwiseConv2D: lambda: layers.DepthwiseConv2D(3, activation="relu"),
    layers.Dropout: lambda: layers.Dropout(0.4, seed=3),
    layers.ELU: layers.ELU,
    layers.Flatten: layers.Flatten,
    layers.GaussianDropout: lambda: layers.GaussianDropout(0.4, seed=3),
    layers.GaussianNoise: lambda: layers.GaussianNoise(0.4, seed=3),
    layers.GlobalAveragePooling2D: layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D: layers.GlobalMaxPooling2D,
    layers.GroupNormalization: lambda: layers.GroupNormalization(2),
    layers.Identity: layers.Identity,
    layers.Lambda: lambda: layers.Lambda(F.relu),
    layers.LayerNormalization: layers.LayerNormalization,
    layers.LeakyReLU: layers.LeakyReLU,
    layers.MaxPooling2D: layers.MaxPooling2D,
    layers.Normalization: lambda: layers.Normalization(mean=0.5, variance=2.0),
    layers.Permute: lambda: layers.Permute((2, 1, 3)),
    layers.PReLU: lambda: layers.PReLU("ones", [1, 2]),
    layers.RandomBrightness: lambda: layers.RandomBrightness(0.3, (0, 1), seed=3),
    layers.RandomContrast: lambda: layers.RandomContrast(0.5, (0, 1), seed=3),
    layers.RandomCrop: lambda: layers.RandomCrop(3, 4, seed=3),
    layers.RandomErasing: lambda: layers.RandomErasing((1, 1), fill_value=0.5, seed=3),
    layers.RandomFlip: lambda: layers.RandomFlip("horizontal", seed=3),
    layers.RandomRotation: lambda: layers.RandomRotation(0.3, "constant", seed=3),
    layers.RandomTranslation: lambda: layers.RandomTranslation(0.3, 0.4, "constant", seed=3),
    layers.RandomZoom: lambda: layers.RandomZoom(0.3, 0.4, "constant", seed=3),
    layers.RepeatVector: lambda: layers.RepeatVector(2),
    layers.Reshape: lambda: layers.Reshape((3, 12, 4)),
    layers.ReLU: layers.ReLU,
    layers.RMSNormalization: layers.RMSNormalization,
    layers.Rescaling: lambda: layers.Rescaling([1.0, 2.0, 3.0, 4.0], [0.5, 0.0, 0.0, 0.0]),
    layers.Resizing: lambda: layers.Resizing(3, 6, pad_to_aspect_ratio=True),
    layers.SeparableConv2D: lambda: layers.SeparableConv2D(4, 3, activation="relu"),
    layers.Softmax: layers.Softmax,
    layers.SpatialDropout2D: lambda: layers.SpatialDropout2D(0.4, seed=3),
    layers.UnitNormalization: layers.UnitNormalization,
    layers.UpSampling2D: layers.UpSampling2D,
    layers.ZeroPadding2D: layers.ZeroPadding2D,
    layers.Dot: lambda: layers.Dot(-1),
    **{kind: kind for kind in (layers.Add, layers.Average, layers.Concatenate, layers.Maximum, layers.Minimum,
                               layers.Multiply, layers.Subtract)},
}


def of_module(module, base):
    """The classes of a module that a user can take, derived from `base`."""
    names = getattr(module, "__all__", [name for name in vars(module) if not name.startswith("_")])
    found = {vars(module)[name] for name in names if inspect.isclass(vars(module)[name])}
    return sorted((c for c in found if issubclass(c, base) and c is not base), key=lambda c: c.__name__)


def net(kind):
    """A model with a layer of this kind among others that fuse with it, and that layer."""
    layer = LAYERS[kind]()
    x = layers.Input((6, 6, 4))
    first = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    if issubclass(kind, type(layers.Add()).__mro__[1]):
        y = layer([first, x])
    elif kind in (layers.Dense, layers.RepeatVector):
        y = layer(layers.Flatten()(first))
    elif kind in (layers.ELU, layers.LeakyReLU, layers.PReLU, layers.ReLU):  # results of the first are not negative
        y = layer(layers.Conv2D(4, 3, padding="same")(x))
    else:
        y = layer(first)
    if kind is layers.Conv2D:
        y = layers.MaxPooling2D()(y)
    model = models.Model(x, layers.Flatten()(y))
    model.compile(optimizers.SGD(0.1), "mse")
    return model, layer


def targets(model):
    return np.linspace(-1, 1, 6 * model.output_shape[1], dtype="float32").reshape(6, -1)


OF_LOSSES = {
    "signs": ("tanh", lambda: RNG.choice(np.array([-1, 1], "float32"), (6, 3))),
    "yes or no": ("sigmoid", lambda: RNG.integers(0, 2, (6, 3)).astype("float32")),
    "one-hot": ("softmax", lambda: np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2]]),
    "labels": ("softmax", lambda: np.array([0, 1, 2, 0, 1, 2])),
    "numbers": ("sigmoid", lambda: RNG.random((6, 3), np.float32)),
}
OTHER_TARGETS = {  # numbers are for those that are not here
    "signs": [losses.Hinge, losses.SquaredHinge],
    "yes or no": [losses.BinaryCrossentropy, losses.BinaryFocalCrossentropy, metrics.BinaryAccuracy, metrics.BinaryIoU,
                  metrics.AUC, metrics.FalseNegatives, metrics.FalsePositives, metrics.TrueNegatives,
                  metrics.TruePositives, metrics.Precision, metrics.PrecisionAtRecall, metrics.Recall,
                  metrics.RecallAtPrecision, metrics.SensitivityAtSpecificity, metrics.SpecificityAtSensitivity,
                  metrics.BinaryCrossentropy, metrics.F1Score, metrics.FBetaScore, losses.Dice, losses.Tversky],
    "one-hot": [losses.CategoricalCrossentropy, losses.CategoricalFocalCrossentropy, losses.CategoricalHinge,
                losses.KLDivergence, metrics.CategoricalAccuracy, metrics.CategoricalCrossentropy,
                metrics.CategoricalHinge, metrics.OneHotIoU, metrics.OneHotMeanIoU, metrics.TopKCategoricalAccuracy,
                metrics.KLDivergence],
    "labels": [losses.CategoricalGeneralizedCrossEntropy, losses.SparseCategoricalCrossentropy,
               metrics.SparseCategoricalAccuracy, metrics.SparseCategoricalCrossentropy,
               metrics.SparseTopKCategoricalAccuracy],
}
TARGETS_OF = {kind: OF_LOSSES[name] for name, kinds in OTHER_TARGETS.items() for kind in kinds}
LOSSES = [kind for kind in of_module(losses, losses.Loss) if kind is not losses.LossFunction]
NEEDED = {
    metrics.BinaryIoU: {"target_class_ids": [0, 1]}, metrics.IoU: {"num_classes": 3, "target_class_ids": [0, 1]},
    metrics.MeanIoU: {"num_classes": 3}, metrics.OneHotIoU: {"num_classes": 3, "target_class_ids": [0, 2]},
    metrics.F1Score: {"average": "micro"}, metrics.FBetaScore: {"average": "micro"},
    metrics.OneHotMeanIoU: {"num_classes": 3}, metrics.PrecisionAtRecall: {"recall": 0.5},
    metrics.RecallAtPrecision: {"precision": 0.5}, metrics.SensitivityAtSpecificity: {"specificity": 0.5},
    metrics.SpecificityAtSensitivity: {"sensitivity": 0.5},
}
METRICS = [kind for kind in of_module(metrics, metrics.Metric)
           if kind not in (metrics.Mean, metrics.MeanMetricWrapper, metrics.Sum, metrics.IoU, metrics.MeanIoU)]
