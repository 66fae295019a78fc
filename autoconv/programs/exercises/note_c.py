"""Note C: several channels, losses and gradients."""

import numpy as np

from ... import losses
from ...models import Model
from .marking import Wrong, exercise, expect, require
from .unseen import train_and_judge, unseen_digits
from .windows import convolve


@exercise("A filter with three channels")
def filter_with_channels(value):
    """Apply a filter with three slices and the bias 5 to a 2 x 2 window of an RGB picture.

        red    1 2     green  0 1     blue   3 1
               0 1            2 2            1 2

        slice  1 -1    slice  0  2    slice  1  1
               2  0           1 -1           0 -2

    value: the number of the feature map, without an activation
    """
    picture = np.array([[[1, 2], [0, 1]], [[0, 1], [2, 2]], [[3, 1], [1, 2]]])
    slices = np.array([[[1, -1], [2, 0]], [[0, 2], [1, -1]], [[1, 1], [0, -2]]])
    by_channel = (picture * slices).sum((1, 2))
    total = by_channel.sum()
    expect("value", value, total + 5, {
        "The bias is missing.": total,
        "A filter has one bias, which is added once, not once per channel.": total + 15,
        "This is the result of the first channel. A filter adds up all its channels.":
            by_channel[0] + 5,
        "These are the sums of the channels. A filter has one result: their sum and the bias.":
            by_channel,
        "Here the first slice is applied to all channels. Each channel has its own slice.":
            (picture * slices[0]).sum() + 5,
        "Here the slices are turned by 180 degrees. Layers do not turn them.":
            (picture * slices[:, ::-1, ::-1]).sum() + 5,
        "The results of the channels are added, not averaged.": by_channel.mean() + 5,
    })


@exercise("Softmax and crossentropy by hand")
def softmax_and_crossentropy(probabilities, loss):
    """A net returns the scores (logits) 2, 0 and 1 for the classes 0, 1 and 2. The right class
    is 2. math.exp and math.log help.

    probabilities: the softmax of the scores, three numbers with at least three decimals
    loss: the crossentropy, a number with at least three decimals
    """
    scores = np.array([2.0, 0.0, 1.0])
    powers = np.exp(scores)
    right = powers / powers.sum()
    expect("probabilities", probabilities, right, {
        "Divide by the sum of the exponentials, so that the probabilities add up to 1.": powers,
        "Here the scores are divided by their sum. Softmax first takes the exponential of each "
        "score.":
            scores / scores.sum(),
        "This is the sigmoid of each score. The probabilities of a softmax add up to 1.":
            powers / (1 + powers),
        "Here the base of the powers is 2. Softmax uses the exponential function.":
            2**scores / (2**scores).sum(),
        "Here the base of the powers is 10. Softmax uses the exponential function.":
            10**scores / (10**scores).sum(),
        "Here the exponentials are divided by the largest one. Divide by their sum.":
            powers / powers.max(),
    })
    expect("loss", loss, -np.log(right[2]), {
        "A loss is not negative. The crossentropy is the negative logarithm.": np.log(right[2]),
        "This is the loss if class 0 is right. The right class is 2.": -np.log(right[0]),
        "This is the loss if class 1 is right. Classes are counted from 0.": -np.log(right[1]),
        "The crossentropy uses the natural logarithm, not the one with base 10.":
            -np.log10(right[2]),
        "The crossentropy uses the natural logarithm, not the one with base 2.": -np.log2(right[2]),
        "This is the distance from 1. The crossentropy is a logarithm.": 1 - right[2],
        "Only the right class contributes: the target is 0 for the others.": -np.log(right).sum(),
        "This is the probability of the right class. The loss is its negative logarithm.": right[2],
    })


@exercise("The gradient of a convolution")
def gradient_of_a_convolution(gradient):
    """An image x was convolved with a 2 x 2 kernel w (padding="valid", stride 1). dy contains the
    derivative of the loss with respect to each number of the result. Compute the derivative of
    the loss with respect to each number of the kernel.

        x  1 2 0     w  1 3     dy  1 -1
           0 1 3        0 2          2  0
           2 0 1

    gradient: two rows of two numbers
    """
    x = np.array([[1, 2, 0], [0, 1, 3], [2, 0, 1]])
    w = np.array([[1, 3], [0, 2]])
    dy = np.array([[1, -1], [2, 0]])
    expect("gradient", gradient, convolve(x, dy), {
        "Here dy is turned by 180 degrees. w[u, v] meets x[i + u, j + v] in the result's number "
        "[i, j], so dy is not turned.": convolve(x, dy[::-1, ::-1]),
        "This is the gradient with respect to the image. It is as large as the image. The "
        "kernel's gradient is as large as the kernel.": convolve(np.pad(dy, 1), w[::-1, ::-1]),
        "This is the result of the convolution itself.": convolve(x, w),
        "Multiply by dy: the numbers of the result do not contribute equally to the loss.":
            convolve(x, np.ones((2, 2))),
        "Here the rows of dy are its columns.": convolve(x, dy.T),
        "This is dy times the kernel. The result is linear in the kernel, so the gradient does "
        "not depend on it.": dy * w,
        "These are the products of dy and the image's corner. Each number of the kernel meets the "
        "image at four positions.": dy * x[:2, :2],
    })


@exercise("Fix the net: its last layer")
def fix_the_last_layer(model):
    """This net learns badly, because its last layer does not fit its loss. Copy it to a file and
    correct it. The net is not trained in the file: the check trains it for three epochs on the
    built-in digits, and judges it on new ones.

        from autoconv import layers, models
        model = models.Sequential([
            layers.Input((28, 28, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="relu"),
        ])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    model: the compiled net
    """
    require(isinstance(model, Model) and model.loss, "`model` must be a compiled net.")
    require(isinstance(model.loss, losses.SparseCategoricalCrossentropy),
            "The labels are whole numbers, so the loss sparse_categorical_crossentropy is right. "
            "Keep it.")
    outputs = model.predict(unseen_digits()[0], verbose=0)
    if np.allclose(outputs.sum(-1), 1, atol=1e-3):
        require(not model.loss.from_logits,
                "With from_logits=True, the loss applies softmax itself. Now it is applied twice.")
    elif model.loss.from_logits:
        require(outputs.min() < 0, "With from_logits=True, the loss expects scores of any size. "
                                   "The last layer's activation makes them all positive.")
    else:
        require(outputs.min() >= 0, "Some outputs are negative, but this loss requires "
                                    "probabilities. Convert the outputs, or configure the loss for "
                                    "logits.")
        require(outputs.min() == 0, "All outputs are positive now, but the ten outputs of an image "
                                    "do not add up to 1. An image shows exactly one digit.")
        raise Wrong("The last layer's relu replaces negative scores by 0, but this loss requires "
                    "probabilities. Which activation computes probabilities?")
    return train_and_judge(model)
