"""Note D: kernels for edges, and larger nets."""

import numpy as np

from ...layers import Conv2D
from ...models import Model
from .marking import Wrong, exercise, expect, expect_shape, require
from .unseen import train_and_judge, unseen_digits
from .windows import convolve

KERNELS = {
    "blur": "Its numbers are positive and add up to 1, so each result is a mean of nine pixels.",
    "edges": "Its numbers add up to 0, so an area of equal pixels becomes black.",
    "sharpen": "Its numbers add up to 1, so an area of equal pixels keeps its brightness. The "
               "numbers around its centre are negative, so differences grow.",
    "horizontal lines": "Compare the numbers in a row: they are equal. Which line of pixels meets "
                        "only the positive ones?",
    "vertical lines": "Compare the numbers in a column: they are equal. Which line of pixels "
                      "meets only the positive ones?",
}


@exercise("Name that kernel")
def name_that_kernel(names):
    """Name what each kernel does with a picture. Choose from: blur, edges, horizontal lines,
    sharpen, vertical lines.

        kernel 0   -1  2 -1     kernel 1    0 -1  0     kernel 2   1/9 1/9 1/9
                   -1  2 -1                -1  5 -1                1/9 1/9 1/9
                   -1  2 -1                 0 -1  0                1/9 1/9 1/9

        kernel 3   -1 -1 -1     kernel 4    0  1  0
                    2  2  2                 1 -4  1
                   -1 -1 -1                 0  1  0

    names: a list of five names, in the order of the kernels
    """
    require(isinstance(names, list | tuple) and sorted(map(str, names)) == sorted(KERNELS),
            f"`names` must be a list of the five names {', '.join(sorted(KERNELS))}, each once.")
    right = ["vertical lines", "sharpen", "blur", "horizontal lines", "edges"]
    for number, (name, expected) in enumerate(zip(names, right)):
        require(name == expected, f"Kernel {number} is not {name!r}. {KERNELS[expected]}")


@exercise("Design a kernel for vertical edges")
def design_an_edge_detector(kernel):
    """Design a 3 x 3 kernel that finds vertical edges: it gives a positive number where dark pixels
    are to the left of bright ones, and 0 in areas of equal pixels and at horizontal edges.

    kernel: three rows of three numbers
    """
    kernel = expect_shape("kernel", kernel, (3, 3))
    step = np.array([[0.0, 0, 0, 1, 1, 1]] * 6)
    require(kernel.any(), "This kernel gives 0 everywhere.")
    require(abs(kernel.sum()) < 1e-3, "In an area of pixels 1, this kernel gives "
                                      f"{kernel.sum():g}. Its numbers must add up to 0.")
    vertical = convolve(step, kernel)[0]
    horizontal = convolve(step.T, kernel)
    require(np.abs(horizontal).max() < 1e-3 or np.abs(vertical).max() > 1e-3,
            "This kernel finds horizontal edges. An edge is vertical if the pixels to its left "
            "and to its right differ.")
    require(np.abs(horizontal).max() < 1e-3, "This kernel also reacts to horizontal edges. Each "
                                             "row of the kernel must add up to 0.")
    require(vertical.min() > -1e-3 or vertical.max() > 1e-3,
            "This kernel is negative where dark pixels are to the left of bright ones, and "
            "positive at the opposite edges. Layers do not turn the kernel: its right column "
            "meets the pixels to the right.")
    require(vertical.min() > -1e-3, "At an edge from dark to bright, this kernel gives a positive "
                                    "number and a negative one next to it. It finds lines, not "
                                    "edges.")
    require(vertical.max() > 1e-3, "This kernel gives 0 at vertical edges.")


@exercise("Dropout in training and afterwards")
def dropout(training, prediction):
    """All inputs of layers.Dropout(0.25) are 3.0. Which number does the layer return for an input
    that it does not drop?

    training: the number while fit() trains the net
    prediction: the number while predict() uses the net
    """
    expect("training", training, 4, {
        "In training, the layer enlarges the numbers that it keeps, so that the mean stays the "
        "same.": 3,
        "This would keep the mean if 75% were dropped. A rate of 0.25 drops a quarter.": 12,
        "This is smaller than the input. What remains must replace what is dropped.": 2.25,
        "The dropped numbers become 0. Give the number for an input that is kept.": 0,
        "The layer divides by the fraction that it keeps. It does not multiply by 1 + rate.": 3.75,
    })
    expect("prediction", prediction, 3, {
        "The paper about dropout scales the numbers in prediction. Keras and autoconv scale them "
        "in training, so predict() needs no scaling.": 2.25,
        "The layer enlarges numbers only in training, to replace the dropped ones. predict() "
        "drops none.": 4,
        "predict() drops no numbers.": 0,
    })


@exercise("Fix the net: it does not learn")
def fix_the_training(model):
    """This net guesses, however long it is trained on the built-in digits. Two things are wrong.
    Copy the net to a file and correct both. The check trains it for three epochs on the built-in
    digits, with pixels from 0 to 255, and judges it on new ones.

        from autoconv import layers, models, optimizers
        model = models.Sequential([
            layers.Input((28, 28, 1)),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ])
        model.compile(optimizers.SGD(learning_rate=10), "sparse_categorical_crossentropy")

    model: the compiled net
    """
    require(isinstance(model, Model) and model.optimizer, "`model` must be a compiled net.")
    images, _ = unseen_digits()
    convolutions = [layer for layer in model.layers if isinstance(layer, Conv2D)]
    require(convolutions, "Keep the layer Conv2D. The faults are in other lines.")
    model.predict(images[:1], verbose=0)
    received = np.asarray(Model(model.inputs, convolutions[0].input)(images, training=True))
    largest = np.abs(received).max()
    rate = float(np.asarray(model.optimizer.learning_rate))
    if largest > 20:  # BatchNormalization returns up to about 10
        require(rate > 1, "The steps are smaller now. But Conv2D receives numbers up to "
                          f"{largest:g}. They should be at most about 1: a layer can divide them.")
        raise Wrong("Both faults are still there. Begin with a layer that divides the pixels.")
    require(rate < 1, f"The pixels are right now. But with a learning rate of {rate:g}, each step "
                      "is too large, and the loss does not fall.")
    require(rate > 1e-4, f"A learning rate of {rate:g} is so small that three epochs change almost "
                         "nothing.")
    return train_and_judge(model)


@exercise("Fix the net: its shapes")
def fix_the_shapes(model):
    """This net cannot be trained on the digits: its output has the shape (None, 6, 6, 10). Copy it
    to a file and correct it. The check trains it for three epochs on the built-in digits, and
    judges it on new ones.

        from autoconv import layers, models
        model = models.Sequential([
            layers.Input((28, 28, 1)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(8, 3, strides=2, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Dense(10, activation="softmax"),
        ])
        model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])

    model: the compiled net
    """
    require(isinstance(model, Model), "`model` must be a net, such as models.Sequential.")
    shape = np.shape(model.predict(unseen_digits()[0], verbose=0))
    require(len(shape) == 2, f"The output for {shape[0]} images has the shape {shape}: ten numbers "
                             "at each position. A Dense layer connects only the last axis. Put "
                             "the numbers of an image in one row first.")
    require(shape[1] == 10, f"The output for {shape[0]} images has the shape {shape}. The net "
                            "needs one number per digit, so the last layer must be Dense(10).")
    return train_and_judge(model)
