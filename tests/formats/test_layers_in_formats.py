"""Every layer in every format: written, read again, and the same predictions; or the reason why there is nothing."""

import numpy as np
import pytest
from kinds import LAYERS, X

from autoconv import formats, layers, models, utils
from autoconv.layers.function import Function
from autoconv.layers.scaling import CustomScaleLayer, LayerScale

FORMATS = ("onnx", ".keras", ".h5", ".weights.h5", ".safetensors", "torch")
REFUSED = {  # what has no meaning, and why
    ("torch", LayerScale): "PyTorch's nets have a parameter without a module in its place",
    ("torch", "normalization, adapted"): "PyTorch has no module of it",
    ("torch", "normalization, of a row"): "PyTorch has no module of it",
    ("torch", "layer norm, rms"): "PyTorch's RMSNorm divides by another number",
    ("torch", "layer norm, axes"): "PyTorch normalizes the last axes, which are others there",
    ("torch", "rms norm, axes"): "PyTorch normalizes the last axes, which are others there",
    ("torch", "batch norm, axis"): "PyTorch's channels are the second axis, which is the last one here",
    ("torch", "group norm, axis"): "PyTorch's channels are the second axis, which is the last one here",
}
MAKERS = {
    **LAYERS, CustomScaleLayer: lambda: CustomScaleLayer(0.3), LayerScale: lambda: LayerScale(0.3, 4),
    # Arguments that change what a format must say.
    "batch norm, axis": lambda: layers.BatchNormalization(axis=1),
    "dot, axes": lambda: layers.Dot((1, 2)),
    "dot, normalized": lambda: layers.Dot(-1, normalize=True),
    "group norm, axis": lambda: layers.GroupNormalization(3, axis=2),
    "layer norm, axes": lambda: layers.LayerNormalization(axis=[1, 3]),
    "layer norm, rms": lambda: layers.LayerNormalization(rms_scaling=True),
    "normalization, adapted": layers.Normalization,
    "normalization, of a row": lambda: layers.Normalization((2, 3)),
    "normalization, inverted": lambda: layers.Normalization(mean=[1, 2, 3, 4], variance=[4, 3, 0, 1], invert=True),
    "rms norm, axes": lambda: layers.RMSNormalization(axis=[1, 3]),
}


def net(kind):
    """A model with this layer behind a convolution, whose weights are neither zeros nor ones."""
    layer, x = MAKERS[kind](), layers.Input((6, 6, 4))
    y = layers.Conv2D(4, 3, padding="same")(x)
    y = layers.Flatten()(y) if kind in (layers.Dense, layers.RepeatVector) else y
    y = layer([y, x] if hasattr(layer, "merge") else y)
    model, draw = models.Model(x, layers.Flatten()(y)), np.random.default_rng(1)
    for weight in model.weights:
        weight.assign(draw.uniform(0.1, 1, weight.shape) * (1 if "variance" in weight.name else draw.choice([-1, 1])))
    return model


def zeroed(model):
    for weight in model.weights:
        weight.assign(np.zeros(weight.shape))
    return model


def written_and_read(model, kind, form, folder):
    """Predictions of what comes back from this format."""
    if form == "onnx":
        pytest.importorskip("onnx")
        from test_onnx import check_export

        check_export(model, X.shape[1:], 17)  # by autoconv and by onnxruntime
        return model.predict(X, verbose=0)
    if form == "torch":
        other = zeroed(net(kind))
        formats.from_torch_state_dict(other, formats.to_torch_state_dict(model))
        return other.predict(X, verbose=0)
    if form != ".safetensors":
        pytest.importorskip("h5py")
    path = folder / f"m{form}"
    if form == ".weights.h5":
        model.save_weights(path)
        other = zeroed(net(kind))
        other.load_weights(path)
        return other.predict(X, verbose=0)
    model.save(path)
    return models.load_model(path).predict(X, verbose=0)


def test_no_layer_is_forgotten():
    """Each class that files may name, but those that only others derive from."""
    kinds = set(layers.registry.classes.values())
    kinds -= {base for kind in kinds for base in kind.__mro__[1:]}
    assert {kind for kind in kinds if not issubclass(kind, models.Model | layers.InputLayer | Function)} <= set(MAKERS)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("kind", MAKERS, ids=lambda kind: kind if isinstance(kind, str) else kind.__name__)
def test_each_layer_in_each_format(kind, form, tmp_path):
    utils.set_random_seed(0)
    model = net(kind)
    if (form, kind) in REFUSED:
        with pytest.raises(ValueError, match=r"PyTorch|No ONNX op|code"):
            written_and_read(model, kind, form, tmp_path)
    else:
        np.testing.assert_allclose(written_and_read(model, kind, form, tmp_path), model.predict(X, verbose=0),
                                   rtol=1e-5, atol=1e-5)
