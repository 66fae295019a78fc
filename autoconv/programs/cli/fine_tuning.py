"""`train --from`: replaces the last classifier of a trained net, to train the net for other classes."""

from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path

import click
import numpy as np
from click.core import ParameterSource

from ... import models, nets, utils
from ...callbacks import Callback
from ...engine.symbolic import SymbolicTensor
from ...files import suffixes
from ...files.json_text import JsonObject
from ...kernels.device import Device
from ...layers import Conv2D, Dense, Dropout, GlobalAveragePooling2D, Input, Layer
from ...models import Model, Sequential
from ...pictures import reading
from . import options, run_files, runs, trained_net
from .data import Feeds
from .lines import echo, wrap
from .resuming import Standing
from .run_states import RunStates

HEAD_RATE = 3  # default learning rate of the head, as a multiple of the optimizer's own
BODY_RATE = 0.1  # default learning rate of all layers after unfreezing, as a multiple of the head's
CACHE = 2**31  # maximum bytes of features that are computed once and kept while only the head trains


class FineTuning:
    """The two stages of `train --from`: first only the new classifier, the head, is trained, then all layers.

    source: file or run of the trained net. body: this net without its last classifier; it converts images with pixels
    0..255 to features (N, channels). dropout: the dropout layers before the classifier. unfreeze_lr: the highest
    learning rate of the second stage, if given. resume: the progress of a resumed run.
    """

    def __init__(self, source: Path, device: Device, preprocessing: str | None, unfreeze_after: int,
                 unfreeze_lr: float | None, resume: Standing | None) -> None:
        self.source = source
        self.body, self.dropout = load_body(source, device, preprocessing)
        self.preprocessing = preprocessing
        self.unfreeze_after = unfreeze_after
        self.unfreeze_lr = unfreeze_lr
        self.resume = resume

    def image_shape(self, image_size: tuple[int, int] | None) -> tuple[int, int, int]:
        """Returns the shape (height, width, channels) of the pictures. Raises a ClickException if it is not the net's.
        """
        height, width, channels = self.body.input_shape[1:]
        if channels not in (1, 3):
            raise click.ClickException("--from needs a net for pictures with 1 or 3 channels. Received: the net in "
                                       f"{self.source} with input shape {self.body.input_shape}. Pass another net.")
        default = nets.NETS["photos"].input_shape
        height, width = trained_net.choose_size(self.source, (height, width), image_size)
        return height or default[0], width or default[1], channels

    def build(self, shape: tuple[int, int, int], classes: int, augmentation: list[Layer]) -> Model:
        """Returns the net with a new classifier, for images of this shape. `augmentation` are layers before the body.
        """
        if any(n not in (None, size) for n, size in zip(self.body.input_shape[1:], shape)):
            raise click.ClickException(f"The images must have the input shape of the net in {self.source}, "
                                       f"{self.body.input_shape[1:]}. Received: images of shape {shape}. Pass a folder "
                                       "of pictures, which are resized, or another net.")
        self._head = Sequential([Input(self.body.output_shape[1:]), *self.dropout,
                                 Dense(classes, activation="softmax")])
        images = Input(shape)
        augmented = images
        for layer in augmentation:
            augmented = layer(augmented)
        result = _apply(self.body, augmented)
        for layer in self._head.layers:
            result = layer(result)
        # the same layers, with the body in inference mode
        self._frozen = Model(images, self._head(self.body(augmented, training=False)))
        self._net = Model(images, result, "fine_tuned")
        self._is_augmented = bool(augmentation)
        return self._net

    def train_head(self, feeds: Feeds, epochs: int, compile_net: Callable[..., None], callbacks: list[Callback],
                   verbose: int) -> int:
        """Trains the head, unless the resumed run has done this, and unfreezes the body. `epochs` counts both stages.
        Returns the number of epochs after which all layers are trained.
        """
        images = feeds.train["x"]
        count = min(self.unfreeze_after, epochs)
        if count and (self.resume is None or self.resume <= (count, 0)):
            self.body.distribute(self._net.ranks)  # each process computes a fraction of the features
            net, net_feeds = self._freeze(feeds, count, verbose)
            compile_net(net.to(self._net.device.name).distribute(self._net.ranks), epochs=count)
            net.fit(**net_feeds.train, epochs=count, verbose=verbose, callbacks=callbacks)
            if isinstance(images, utils.ImageDataset):
                images.epoch = count  # also if `net_feeds` contains a copy
            for callback in callbacks:
                if isinstance(callback, RunStates):
                    callback.anew = True  # the second stage has its own states
        self.body.trainable = True
        if verbose and count < epochs:
            echo(f"all    epochs {count + 1} to {epochs} train all layers")
        return count

    def _freeze(self, feeds: Feeds, epochs: int, verbose: int) -> tuple[Model, Feeds]:
        """Freezes the body. Returns the model that trains the head, and its data: the head itself with the body's
        features, which are computed now, or if they do not fit in memory, the whole net with the images.
        """
        self.body.trainable = False
        images = feeds.train["x"]
        count = len(images.file_paths) if isinstance(images, utils.ImageDataset) else len(images)
        size = prod(self.body.output_shape[1:])
        is_cached = not self._is_augmented and count * size * np.dtype(self.body.dtype).itemsize <= CACHE
        if verbose:
            echo(wrap(f"head   epochs 1 to {epochs} train the new classifier on {size:,} features per image, "
                      f"which the frozen body computes {'once' if is_cached else 'in every epoch'}"))
        if not is_cached:
            return self._frozen, feeds
        predict = partial(self.body.predict, batch_size=feeds.train.get("batch_size"), verbose=verbose)

        def compute_features(images: utils.ImageDataset | np.ndarray) -> utils.ImageDataset | np.ndarray:
            return images.cache(predict) if isinstance(images, utils.ImageDataset) else predict(images)

        train = {**feeds.train, "x": compute_features(images)}
        if "validation_data" in train:
            validation = train["validation_data"]
            train["validation_data"] = compute_features(validation) if isinstance(validation, utils.ImageDataset) else (
                compute_features(validation[0]), validation[1])
        return self._head, feeds._replace(train=train)

    def run_entries(self) -> JsonObject:
        """Returns the entries of fine-tuning in run.json."""
        return {"from": str(self.source.absolute()), "preprocessing": self.preprocessing,
                "unfreeze_after": self.unfreeze_after}


def fine_tuning_options(command: Callable) -> Callable:
    """Adds the options that `prepare` reads."""
    for option in (
        click.option("--preprocessing", type=options.Name("preprocessing", reading.PREPROCESSING),
                     metavar="|".join(reading.PREPROCESSING), show_default="none for a MODEL with a Rescaling layer",
                     help=f"With --from MODEL, conversion of pixels to MODEL's input. {trained_net.CONVERSIONS}"),
        click.option("--unfreeze-lr", type=click.FloatRange(min=0, min_open=True), callback=options.check_finite,
                     show_default="a tenth of --lr",
                     help="With --from, the highest learning rate when all layers are trained."),
        click.option("--unfreeze-after", type=click.IntRange(min=0), metavar="EPOCHS", show_default="half of --epochs",
                     help="With --from, the number of epochs in which only the head is trained."),
        click.option("--from", "source", type=options.FILE, metavar="RUN|MODEL",
                     help="Fine-tune a trained net instead of training a new one: replace its last classifier by a new "
                     "one, the head, train the head with all other layers frozen, then train all layers. RUN is the "
                     "folder of an earlier training. MODEL is a .keras, .h5 or .safetensors file. Pictures of FOLDER "
                     "are resized to the net's input size."),
    ):
        command = option(command)
    return command


def prepare(ctx: click.Context, rest: JsonObject, model: str, is_named: bool, device: Device,
            seed: int) -> tuple[str, FineTuning | None]:
    """Removes the options of fine-tuning from `rest`, and loads the net. Returns "model" for run.json and the
    `FineTuning`; without --from, `model` and None. Raises a UsageError if options contradict --from.

    `is_named`: whether --recipe chooses a built-in net.
    """
    source, *values = [rest.pop(name) for name in ("source", "preprocessing", "unfreeze_after", "unfreeze_lr")]
    if source is None:
        for option, value in zip(("--preprocessing", "--unfreeze-after", "--unfreeze-lr"), values):
            if value is not None:
                raise click.UsageError(f"{option} applies only to fine-tuning. Received: {option} without --from. "
                                       f"Add --from RUN or --from MODEL, or leave out {option}.")
        return model, None
    if is_named or ctx.get_parameter_source("model") is not ParameterSource.DEFAULT_MAP:
        option = f"--recipe {ctx.params['recipe']}" if is_named else f"--model {model}"
        raise click.UsageError(f"--from trains the net that it names. Received: --from {source} with {option}, which "
                               f"chooses a built-in net. Leave out {option.split()[0]} or --from.")
    if ctx.params["out"] is not None and ctx.params["out"].resolve() == source.resolve():
        raise click.UsageError("--out must be another folder than the run in --from, which it would replace. Received: "
                               f"{source} for both. Choose another folder for --out.")
    utils.set_random_seed(seed)
    preprocessing, unfreeze_after, unfreeze_lr = values
    if unfreeze_after is None:  # the number that is chosen now also applies if epochs are added by --resume
        unfreeze_after = ctx.params["unfreeze_after"] = -(-rest["epochs"] // 2)
    return run_files.FINE_TUNED, FineTuning(source, device, preprocessing, unfreeze_after, unfreeze_lr,
                                            ctx.params["resume"])


def load_body(source: Path, device: Device, preprocessing: str | None) -> tuple[Model, list[Layer]]:
    """Loads a run or a model file. Returns the net for pixels 0..255 without its last classifier, and the dropout
    layers before the classifier. Raises a ClickException if this is not possible.

    A run's net and a net with a Rescaling layer receive pixels 0..255. For any other net, `preprocessing` must be the
    name of the conversion of pixels.
    """
    if source.suffix == trained_net.ONNX:
        raise click.ClickException(f"--from needs a net that consists of layers. Received: {source}, an ONNX graph. "
                                   "Pass a .keras, .h5 or .safetensors file, or a run.")
    if source.is_dir() or source.suffix not in suffixes.SUFFIXES:
        if preprocessing is not None:
            raise click.UsageError("--preprocessing applies only to model files, because a run stores it. Received: "
                                   f"the run {source}. Leave out --preprocessing.")
        return _remove_classifier(runs.load_run(source, device)[0], source)
    net = trained_net.read_model(source, device)
    if preprocessing is None and reading.factor(net) != 1:
        raise click.ClickException(f"The net in {source} must have a Rescaling layer, or the conversion of pixels "
                                   "0..255 to its input must be named. Received: neither. Pass the conversion of its "
                                   f"training as --preprocessing. {trained_net.CONVERSIONS}")
    features, dropout = _remove_classifier(net, source)
    if preprocessing is not None:
        images = Input(features.input_shape[1:])
        converted = trained_net.convert_pixels(images, reading.PREPROCESSING[preprocessing])
        features = Model(images, _apply(features, converted))
    return features, dropout


def _remove_classifier(net: Model, source: Path) -> tuple[Model, list[Layer]]:
    """Returns the net up to the input of its last classifier, and the dropout layers directly before the classifier.
    The features after a classifier of 1x1 convolutions are averaged over the image.
    """
    graph = getattr(net, "graph", None)
    shapes = None if graph is None else [tensor.shape for tensor in (*graph.inputs, *graph.outputs)]
    if graph is None or shapes is None or [len(shape) for shape in shapes] != [4, 2]:
        raise click.ClickException("--from needs a net of layers with one input of shape (None, height, width, "
                                   f"channels) and one output of shape (None, classes). Received: the net in {source} "
                                   f"with {'its own call' if shapes is None else f'the shapes {shapes}'}. Pass "
                                   "another net.")
    tensor = graph.outputs[0]
    node = graph.resolve(tensor).node
    while len(node.inputs) == 1 and not getattr(node.operation, "weights", ()):
        node = graph.resolve(node.inputs[0]).node
    layer = node.operation
    is_convolution = isinstance(layer, Conv2D) and layer.kernel_size == (1, 1)
    if not is_convolution and not (isinstance(layer, Dense) and len(node.inputs[0].shape) == 2):
        raise click.ClickException("The last layer with weights must be the classifier, a Dense layer after a Flatten "
                                   "or pooling layer, or a 1x1 Conv2D. Received: the net in "
                                   f"{source}, which ends in {layer.name!r} ({type(layer).__name__}). Pass a net with "
                                   "a classifier; in Keras, for example, one created with include_top=True.")
    dropout: list[Layer] = []
    tensor = graph.resolve(node.inputs[0])
    while isinstance(tensor.node.operation, Dropout):
        dropout.insert(0, tensor.node.operation)
        tensor = graph.resolve(tensor.node.inputs[0])
    return Model(net.inputs[0], GlobalAveragePooling2D()(tensor) if is_convolution else tensor), dropout


def _apply(net: Model, tensor: SymbolicTensor) -> SymbolicTensor:
    """Calls each layer of the net, without nesting the net, and returns the net's output."""
    return models.clone_model(net, tensor, lambda layer: layer).output
