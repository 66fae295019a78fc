"""Answers to the built-in exercises by title: a right one, and wrong ones with a part of the hint that each gets."""

NET = """
from autoconv import layers, losses, models, optimizers
model = models.Sequential([
    layers.Input((28, 28, 1)),
    layers.Rescaling(1 / 255),
    layers.Conv2D(8, 3, strides=2, activation="relu"),
    layers.MaxPooling2D(2),
    layers.Flatten(),
    layers.Dense(10, activation="softmax"),
])
model.compile("adam", "sparse_categorical_crossentropy")
"""
FUNCTIONAL = """
from autoconv import layers, models, optimizers
inputs = layers.Input((28, 28, 1))
maps = layers.Conv2D(8, 3, strides=2, activation="relu")(inputs)
model = models.Model(inputs, layers.Dense(10, activation="softmax")(layers.Flatten()(maps)))
model.compile(optimizers.SGD(RATE), "sparse_categorical_crossentropy")
"""
CONV2D = """
import numpy as np
def conv2d(image, kernel, bias, stride):
    rows, columns = ((n - f) // stride + 1 for n, f in zip(image.shape[:2], kernel.shape))
    result = np.zeros((rows, columns, len(bias)))
    for i, j, k in np.ndindex(result.shape):
        window = image[i * stride : i * stride + len(kernel), j * stride : j * stride + kernel.shape[1]]
        result[i, j, k] = (window * kernel[..., k]).sum() + bias[k]
    return result
"""
MAX_POOL = """
import numpy as np
def max_pool(image, size):
    height, width = image.shape
    return [[image[i : i + size, j : j + size].max() for j in range(0, width, size)] for i in range(0, height, size)]
"""
SMALL = """
from autoconv import layers, models, optimizers, utils
from autoconv.datasets import digits
utils.set_random_seed(0)
model = models.Sequential([
    layers.Input((28, 28, 1)),
    layers.Rescaling(1 / 255),
    layers.Conv2D(8, 3, strides=2, activation="relu"),
    layers.Conv2D(16, 3, activation="relu"),
    layers.MaxPooling2D(2),
    layers.Flatten(),
    layers.Dense(10, activation="softmax"),
])
model.compile(optimizers.Adam(0.003), "sparse_categorical_crossentropy")
(images, labels), _ = digits.load_data()
model.fit(images[..., None], labels, epochs=8, verbose=0)
"""


def kernel(rows):
    """An answer that defines the kernel with these rows, given as a text."""
    return f"kernel = {[[float(number) for number in row.split()] for row in rows.split('/')]}"


ANSWERS = {
    "Convolve by hand": ("result = [[7, 14], [10, 7]]", [
        ("result = [[6, 16], [6, 10]]", "true convolution, which turns the kernel"),
        ("result = [[8, 14], [8, 8]]", "the kernel's rows are its columns"),
        ("result = [[-2, 3, 11, 3], [-2, 7, 14, 6], [7, 10, 7, 1], [8, 3, 5, 6]]", "border of zeros"),
        ("result = [[7, 14], [10, 8]]", "`result[1, 1]` is too large. Received: 8."),
        ("result = [[7, 14], [10, 7.0004]]", "`result[1, 1]` is too large. Received: 7.0004."),
        ("result = [[7, 14, 0]]", "`result` must be 2 rows of 2 numbers. Received: 1 row of 3 numbers."),
        ("result = [[7, 14], [10, 7 + 0j]]", "must be 2 rows of 2 numbers. Received: [["),
        ("result = 7", "`result` must be 2 rows of 2 numbers. Received: one number."),
    ]),
    "Add a border of zeros": ("row = [10, 10, 110]", [
        ("row = [10, 10, 90]", "the first column"),
        ("row = [10, 150, 10]", "the second row"),
        ("row = [150]", "Without the border"),
    ]),
    "The size of the result": ("sizes = [24, 13, 14, 14, 6]", [
        ("sizes = [28, 13, 14, 14, 6]", 'The default of Conv2D is padding="valid"'),
        ("sizes = [24, 14, 14, 14, 6]", "the last window must end inside"),
        ("sizes = [24, 13, 28, 14, 6]", "only with strides=1"),
        ("sizes = [24, 13, 14, 18, 6]", "without dilation"),
        ("sizes = [24, 13, 14, 14, 7]", "windows past the edge are left out"),
        ("sizes = [24, 13, 14, 14]", "`sizes` must be a list of 5 numbers. Received: a list of 4 numbers."),
    ]),
    "Pool by hand": ("largest = [[5, 4], [6, 8]]\nmean = [[2.5, 2], [3, 3]]", [
        ("largest = [[2.5, 2], [3, 3]]\nmean = [[5, 4], [6, 8]]", "the other pooling"),
        ("largest = [[5, 4, 4], [5, 8, 8], [6, 8, 8]]\nmean = 1", "overlap"),
        ("largest = [[5, 4], [6, 8]]\nmean = [[10, 8], [12, 12]]", "Divide by the number of pixels"),
    ]),
    "The order after flattening": ("position = 330", [
        ("position = 331", "counted from 0"),
        ("position = 95", "each map is written as a whole"),
        ("position = 458", "column by column"),
    ]),
    "Count the parameters of a net": ("parameters = (416, 4640, 8010)", [
        ("parameters = (400, 4608, 8000)", "has a bias"),
        ("parameters = (416, 320, 8010)", "for each of the 16 maps"),
        ("parameters = (416, 4640, 32010)", "Pooling does not change the number of maps"),
        ("parameters = 13066", "the number of each layer"),
    ]),
    "The receptive field": ("rows = 18", [
        ("rows = 9", "larger steps"),
        ("rows = 324", "number of pixels"),
        ("rows = 14", "both poolings double it"),
    ]),
    "Write conv2d with loops": (CONV2D, [
        (CONV2D.replace("kernel[..., k]", "kernel[::-1, ::-1, :, k]"), "turned by 180 degrees"),
        (CONV2D.replace(" + bias[k]", ""), "The bias is missing"),
        (CONV2D.replace(".sum() + bias[k]", "[..., 0].sum() + bias[k]"), "Only the first channel"),
        (CONV2D.replace(".sum() + bias[k]", ".sum() + 12 * bias[k]"), "added to each product"),
        (CONV2D.replace("    rows,", "    stride = 1\n    rows,"), "ignores the stride"),
        (CONV2D.replace("i * stride : i * stride + len(kernel), j * stride : j * stride + kernel.shape[1]",
                        "i : i + stride * len(kernel) : stride, j : j + stride * kernel.shape[1] : stride"),
         "which is a dilation"),
        (CONV2D.replace("return result", "pass"), "must be an array of the shape (5, 7, 4). Received: None."),
        ("conv2d = None", "`conv2d` must be a function"),
    ]),
    "Count the multiply-adds": ("multiply_adds = [194688, 2230272]", [
        ("multiply_adds = [225792, 3115008]", "positions of the result"),
        ("multiply_adds = [194688, 69696]", "all 32 maps"),
        ("multiply_adds = [6084, 34848]", "products of one filter"),
        ("multiply_adds = [389376, 4460544]", "count as one"),
        ("multiply_adds = [194688, 2230274]", "`multiply_adds[1]` is too large. Received: 2230274."),
    ]),
    "The memory for training": ("size = 4096000", [
        ("size = 1024000", "several bytes"),
        ("size = 81920", "for one image"),
        ("size = 9011200", "it halves the size again"),
        ("size = 11468800", "give a quarter of the numbers"),
        ("size = 1638400", "the outputs of all layers"),
    ]),
    "A small net": (SMALL, [
        (SMALL.replace("model.fit", "# "), "Guessing reaches 10%"),
        (SMALL.replace("epochs=8", "epochs=1"), "It needs more training"),
        (SMALL.replace("images[..., None], labels, epochs=8", "images[:1000, ..., None], labels[:1000], epochs=60"),
         "but more of the training images"),
        (SMALL.replace("Flatten()", "Flatten(), layers.Dense(90)").replace("model.fit", "# "),
         "model.summary() shows which layer"),
        (SMALL.replace("    layers.Rescaling(1 / 255),\n", "").replace("2, activation=\"relu", "2, activation=\"tanh")
         .replace("[..., None]", "[..., None] / 255"), "trained on pixels from 0 to 1"),
        (SMALL.replace("layers.Dense(10,", "layers.Dense(9,").replace("model.fit", "# "), "ten scores per image"),
        ("model = None", "`model` must be a net"),
    ]),
    "A filter with three channels": ("value = 6", [
        ("value = 1", "The bias is missing"),
        ("value = 16", "not once per channel"),
        ("value = 12", "turned by 180 degrees"),
        ("value = 4", "result of the first channel"),
    ]),
    "Softmax and crossentropy by hand": ("probabilities = 0.665, 0.090, 0.245\nloss = 1.408", [
        ("probabilities = 7.389, 1, 2.718\nloss = 1.408", "Divide by the sum"),
        ("probabilities = 0.881, 0.5, 0.731\nloss = 1.408", "sigmoid of each score"),
        ("probabilities = 0.665, 0.090, 0.245\nloss = -1.408", "not negative"),
        ("probabilities = 0.665, 0.090, 0.245\nloss = 0.408", "if class 0 is right"),
        ("probabilities = 0.665, 0.090, 0.245\nloss = 2.031", "not the one with base 2"),
        ("probabilities = 0.665, 0.090, 0.245\nloss = float('nan')", "must be one number. Received: nan"),
    ]),
    "The gradient of a convolution": ("gradient = [[-1, 4], [3, -2]]", [
        ("gradient = [[3, -2], [-1, 4]]", "`gradient[0, 0]` is too large"),
        ("gradient = [[5, 2], [0, 7]]", "dy is turned by 180 degrees"),
        ("gradient = [[1, -3], [0, 0]]", "times the kernel"),
        ("gradient = [[4, 6], [3, 5]]", "Multiply by dy"),
    ]),
    "Fix the net: its last layer": (NET, [
        (NET.replace("softmax", "relu"), "relu replaces negative scores by 0"),
        (NET.replace("softmax", "sigmoid"), "do not add up to 1"),
        (NET.replace('"sparse_categorical_crossentropy"', "losses.SparseCategoricalCrossentropy(from_logits=True)"),
         "applied twice"),
        (NET.replace('"sparse_categorical_crossentropy"', '"mse"'), "Keep it."),
        (NET.replace(', activation="softmax"', ""), "configure the loss for logits"),
        (NET.replace("softmax", "tanh"), "Wrong. Some outputs are negative, but this loss requires probabilities."),
    ]),
    "Name that kernel": ('names = ["vertical lines", "sharpen", "blur", "horizontal lines", "edges"]', [
        ('names = ["horizontal lines", "sharpen", "blur", "vertical lines", "edges"]', "the numbers in a column"),
        ('names = ["vertical lines", "edges", "blur", "horizontal lines", "sharpen"]', "keeps its brightness"),
        ('names = ["lines"]', "the five names blur, edges"),
    ]),
    "Design a kernel for vertical edges": (kernel("-1 0 1 / -2 0 2 / -1 0 1"), [
        (kernel("1 0 -1 / 2 0 -2 / 1 0 -1"), "Layers do not turn the kernel"),
        (kernel("-1 -2 -1 / 0 0 0 / 1 2 1"), "finds horizontal edges"),
        (kernel("0 1 0 / 1 -4 1 / 0 1 0"), "also reacts to horizontal edges"),
        (kernel("-1 2 -1 / -1 2 -1 / -1 2 -1"), "It finds lines"),
        (kernel("0 0 0 / 0 1 0 / 0 0 0"), "must add up to 0"),
    ]),
    "Dropout in training and afterwards": ("training = 4\nprediction = 3", [
        ("training = 3\nprediction = 3", "enlarges the numbers that it keeps"),
        ("training = 4\nprediction = 2.25", "paper about dropout"),
        ("training = 4\nprediction = 4", "only in training"),
    ]),
    "Fix the net: it does not learn": (NET.replace('"adam"', "optimizers.SGD(learning_rate=0.1)"), [
        (NET.replace('"adam"', "optimizers.SGD(learning_rate=10)"), "The pixels are right now"),
        (NET.replace("    layers.Rescaling(1 / 255),\n", ""), "The steps are smaller now"),
        (NET.replace("    layers.Rescaling(1 / 255),\n", "").replace('"adam"', "optimizers.SGD(learning_rate=10)"),
         "Both faults are still there"),
        (FUNCTIONAL.replace("RATE", "10"), "Both faults are still there"),
        (FUNCTIONAL.replace("RATE", "0.1"), "Conv2D receives numbers up to 255"),
        (FUNCTIONAL.replace("(inputs)", "(inputs / 255)").replace("RATE", "10"), "The pixels are right now"),
        (NET.replace("1 / 255", "255"), "Conv2D receives numbers up to 65025"),
        (NET.replace("Rescaling(1 / 255)", "BatchNormalization()").replace('"adam"', "optimizers.SGD(10)"),
         "The pixels are right now"),
        (NET.replace('"adam"', "optimizers.SGD(learning_rate=1e-6)"), "change almost nothing"),
    ]),
    "Fix the net: its shapes": (NET, [
        (NET.replace("    layers.Flatten(),\n", ""), "ten numbers at each position"),
        (NET.replace("Dense(10", "Dense(1").replace("softmax", "sigmoid"), "one number per digit"),
    ]),
    "Design a kernel that moves the picture": (kernel("0 0 0 / 1 0 0 / 0 0 0"), [
        (kernel("0 0 0 / 0 0 1 / 0 0 0"), "to the left. Layers do not turn the kernel"),
        (kernel("0 1 0 / 0 0 0 / 0 0 0"), "moves the picture down"),
    ]),
    "Design a kernel that sharpens": (kernel("0 -1 0 / -1 5 -1 / 0 -1 0"), [
        (kernel("0 -1 0 / -1 4 -1 / 0 -1 0"), "kernels that find edges"),
        (kernel("0 -1 0 / -1 6 -1 / 0 -1 0"), "2 times as bright"),
        (kernel("0 0 0 / 0 1 0 / 0 0 0"), "does not change the picture"),
        (kernel("0 .2 0 / .2 .2 .2 / 0 .2 0"), "The number in the centre is 0.2, so a single bright pixel"),
        (kernel("0 0 0 / 1 0 0 / 0 0 0"), "The number in the centre is 0, so"),
        (kernel("0 0 1 / 0 1 0 / 0 0 -1"), "does not become brighter"),
        (kernel("-1 0 0 / 0 3 0 / 0 0 -1"), "from the top right to the bottom left does not become steeper"),
        (kernel("0 0 0 / -1 3 -1 / 0 0 0"), "from top to bottom does not become steeper"),
    ]),
    "Write max pooling": (MAX_POOL, [
        (MAX_POOL.replace("height, width = image.shape", "height, width = (n // size * size for n in image.shape)"),
         "left out"),
        (MAX_POOL.replace(".max()", ".mean()"), "average pooling"),
        (MAX_POOL.replace("):\n", "):\n    image = np.pad(image, [(0, -n % size) for n in image.shape])\n"),
         "count as 0"),
        (MAX_POOL.replace(".max()", ".max() + (height == 5)"), "`max_pool(image of 5 x 7, 2)[0, 0]` is too large"),
        ("max_pool = None", "`max_pool` must be a function"),
    ]),
    "Read a confusion matrix": ('accuracy = 0.82\nhardest = "shirt"\nmistake = ("shirt", "coat")', [
        ('accuracy = 164\nhardest = "shirt"\nmistake = ("shirt", "coat")', "Divide by the number of all photos"),
        ('accuracy = 82\nhardest = "shirt"\nmistake = ("shirt", "coat")', "not a percentage"),
        ('accuracy = 0.82\nhardest = "coat"\nmistake = ("shirt", "coat")', "each row, not of each column"),
        ('accuracy = 0.82\nhardest = "shirt"\nmistake = ["coat", "shirt"]', "The order is the other way round"),
        ('accuracy = 0.82\nhardest = "Shirt"\nmistake = 1', "`hardest` must be one of the names shirt, coat"),
        ('import numpy as np\naccuracy = 0.82\nhardest = np.array([30, 40])\nmistake = 1', "`hardest` must be one of"),
        ('accuracy = 0.82\nhardest = "shirt"\nmistake = "shirt, coat"', "must be a list of two of the names shirt"),
        ('accuracy = 0.82\nhardest = "shirt"\nmistake = "shirt", "shirt"', "not on the diagonal"),
    ]),
}
