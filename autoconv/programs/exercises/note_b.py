"""Note B: what layers see, compute and cost."""

import numpy as np

from ...models import Model
from .marking import exercise, expect, require
from .unseen import require_accuracy
from .windows import convolve

WEIGHTS = 10_000


@exercise("The receptive field")
def receptive_field(rows):
    """Compute how many rows of the image one number in the last maps of these layers depends on.

        Conv2D(32, 3), MaxPooling2D(2), Conv2D(64, 3), MaxPooling2D(2), Conv2D(64, 3)

    rows: a whole number
    """
    expect("rows", rows, 18, {
        "A step of one in a map is a step of two pixels below each pooling layer. Count the rows "
        "that each later layer adds in these larger steps.": 9,
        "The poolings also add rows: a 2 x 2 window sees one more number in each direction.": 15,
        "This is the number of pixels. Give only the number of rows.": 18 * 18,
        "This is the whole image. The answer does not depend on the size of the image.": 28,
        "These are the rows that three convolutions without pooling see.": 7,
        "A step in the last maps is a step of four pixels, because both poolings double it.": 14,
        "This is what a number sees before the last convolution.": 10,
        "There is no pooling after the last convolution.": 22,
    })


@exercise("Write conv2d with loops")
def write_conv2d(conv2d):
    """Write the equation of a convolutional layer as a function, with loops or slices of NumPy:

        def conv2d(image, kernel, bias, stride):
            ...

    The image has the shape (H, W, C), the kernel (KH, KW, C, F) and the bias (F,). There is no
    padding and no activation. stride: the step of the window, in both directions. The function
    returns an array (OH, OW, F).
    """
    require(callable(conv2d), "`conv2d` must be a function. Define it with `def`.")
    rng = np.random.default_rng(0)
    bias = np.array([10.0, 20.0, 30.0, 40.0])
    for stride in (1, 2):
        image = rng.integers(-4, 5, (6, 9, 2)).astype(float)
        kernel = rng.integers(-4, 5, (2, 3, 2, 4)).astype(float)
        sums = convolve(image, kernel)
        mistakes = {
            "The bias is missing.": sums,
            "The bias is added to each product. It is added once to the whole sum.":
                sums + 12 * bias,
            "The kernel is turned by 180 degrees, as in a true convolution. Layers do not turn it.":
                convolve(image, kernel[::-1, ::-1]) + bias,
            "Only the first channel is used. Add up the products of all channels.":
                convolve(image[..., :1], kernel[:, :, :1]) + bias,
            "Negative results are 0 here. The function has no activation.":
                np.maximum(sums + bias, 0),
        }
        mistakes = {hint: result[::stride, ::stride] for hint, result in mistakes.items()}
        right = (sums + bias)[::stride, ::stride]
        if stride == 2:
            dilated = np.zeros((3, 5, 2, 4))
            dilated[::2, ::2] = kernel
            mistakes |= {
                "The function ignores the stride.": sums + bias,
                "The stride moves the window. Here it spreads the window, which is a dilation.":
                    convolve(image, dilated)[:3, :4] + bias,
            }
        answer = conv2d(image.copy(), kernel.copy(), bias.copy(), stride)
        expect(f"conv2d(image, kernel, bias, {stride})", answer, right, mistakes)


@exercise("Count the multiply-adds")
def count_multiply_adds(multiply_adds):
    """Count the products that the two Conv2D layers compute for one image, without the biases.

        layers.Input((28, 28, 1))
        layers.Conv2D(32, 3)
        layers.MaxPooling2D(2)
        layers.Conv2D(64, 3)

    multiply_adds: two whole numbers, of the first and of the second Conv2D layer
    """
    right = np.array([26 * 26 * 32 * 9, 11 * 11 * 64 * 9 * 32])
    expect("multiply_adds", multiply_adds, right, {
        "Count the products at the positions of the result. The result is smaller than the image.":
            [28 * 28 * 32 * 9, 13 * 13 * 64 * 9 * 32],
        "Each number of the second layer is a sum over all 32 maps below it.":
            [right[0], 11 * 11 * 64 * 9],
        "These are the products of one filter. Each filter computes a map of its own.":
            right // [32, 64],
        "A product and its addition count as one.": 2 * right,
        "These are the weights. Each weight is used at every position of the window.":
            [32 * 9, 64 * 9 * 32],
        "The bias is added, not multiplied.": [right[0] + 26 * 26 * 32, right[1] + 11 * 11 * 64],
        "The second layer's images are smaller, because pooling halves the size of the maps.":
            [right[0], 24 * 24 * 64 * 9 * 32],
    })


@exercise("The memory for training")
def memory_for_training(size):
    """A net is trained on batches of 50 RGB images of 64 x 64 pixels, in float32. How many bytes do
    the outputs of its two layers take for a batch?

        layers.Conv2D(12, 3, strides=2, padding="same")
        layers.Conv2D(32, 3, strides=2, padding="same")

    size: a whole number of bytes
    """
    first = 32 * 32 * 12
    second = 16 * 16 * 32
    expect("size", size, 4 * 50 * (first + second), {
        "These are numbers. A number in float32 takes several bytes.": 50 * (first + second),
        "A number takes 8 bytes in float64, but 4 in float32.": 8 * 50 * (first + second),
        "This is the memory for one image, not for the batch.": 4 * (first + second),
        "The batch's own images are not outputs of the layers.":
            4 * 50 * (first + second + 64 * 64 * 3),
        "With strides=2, the maps have half as many rows and columns as the layer's input.":
            4 * 50 * 64 * 64 * (12 + 32),
        "The second layer reads the first layer's maps, so it halves the size again.":
            4 * 50 * 32 * 32 * (12 + 32),
        "This is the memory for the last layer. Training keeps the outputs of all layers.":
            4 * 50 * second,
        "Half as many rows and half as many columns give a quarter of the numbers.":
            4 * 50 * (64 * 64 * 12 // 2 + 64 * 64 * 32 // 4),
    })


@exercise("A small net")
def small_net(model):
    """Train a net on the built-in digits that has fewer than 10,000 parameters and recognizes 97%
    of digits that it has never seen. The file may take a minute.

        from autoconv.datasets import digits
        (images, labels), (test_images, test_labels) = digits.load_data()

    model: the trained net. It receives images (28, 28, 1) with pixels from 0 to 255, and returns
    ten scores per image. It is judged on new digits, which load_data() does not return.
    """
    require(isinstance(model, Model), "`model` must be a net, such as models.Sequential.")
    count = model.count_params()
    require(count < WEIGHTS, f"The net must have fewer than {WEIGHTS:,} parameters. Received: "
                             f"{count:,}. model.summary() shows which layer has most of them. "
                             "Fewer filters, and more pooling before Flatten, reduce them.")
    return f"{require_accuracy(model, 0.97)} It has {count:,} parameters."
