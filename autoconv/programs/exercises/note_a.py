"""Note A: convolution, pooling and a first net."""

import numpy as np

from .marking import exercise, expect, expect_shape
from .windows import convolve, windows

TURNED_HINT = ("This is the result of a true convolution, which turns the kernel by 180 degrees. "
               "Layers do not turn it.")
SWAPPED_HINT = "Here the kernel's rows are its columns. Read both matrices row by row."


@exercise("Convolve by hand")
def convolve_by_hand(result):
    """Convolve the image with the kernel, as layers.Conv2D does with padding="valid" and stride 1.

        image  2 0 1 3    kernel  1 0  2
               1 4 0 2            0 1  0
               0 3 1 1            3 0 -1
               2 1 0 5

    result: two rows of two numbers, such as [[1, 2], [3, 4]]
    """
    image = np.array([[2, 0, 1, 3], [1, 4, 0, 2], [0, 3, 1, 1], [2, 1, 0, 5]])
    kernel = np.array([[1, 0, 2], [0, 1, 0], [3, 0, -1]])
    expect("result", result, convolve(image, kernel), {
        TURNED_HINT: convolve(image, kernel[::-1, ::-1]),
        SWAPPED_HINT: convolve(image, kernel.T),
        'This is the result with a border of zeros (padding="same"). With padding="valid", the '
        'kernel stays inside the image.': convolve(np.pad(image, 1), kernel),
        "These are the products of the image's corner and the kernel. Each number of the result "
        "is the sum of nine products.": image[:3, :3] * kernel,
    })


@exercise("Add a border of zeros")
def pad_with_zeros(row):
    """Convolve the image with the sharpening kernel, as layers.Conv2D does with padding="same".

        image  10 20 30    kernel   0 -1  0
               20 50 20            -1  5 -1
               30 40 10             0 -1  0

    row: the first row of the result, three numbers, such as [1, 2, 3]
    """
    image = np.array([[10, 20, 30], [20, 50, 20], [30, 40, 10]])
    kernel = np.array([[0, -1, 0], [-1, 5, -1], [0, -1, 0]])
    padded = convolve(np.pad(image, 1), kernel)
    expect("row", row, padded[0], {
        "Here the border repeats the nearest pixels. With padding=\"same\", the border is zeros.":
            convolve(np.pad(image, 1, "edge"), kernel)[0],
        "This is the first column of the result. Its first row belongs to the pixels 10, 20 and "
        "30.": padded[:, 0],
        "This is the second row of the result. In the first row, the kernel's centre is on the "
        "pixels 10, 20 and 30.": padded[1],
        "This is the whole result. Give only its first row.": padded,
        'Without the border there is one number. With padding="same", the result is as large as '
        'the image.':
            convolve(image, kernel)[0],
    })


@exercise("The size of the result")
def size_of_the_result(sizes):
    """Compute how many rows the result of each layer has. All images and windows are square.

        rows of the image   layer
        28                  Conv2D(8, 5)
        28                  Conv2D(8, 3, strides=2)
        28                  Conv2D(8, 3, strides=2, padding="same")
        20                  Conv2D(8, 3, dilation_rate=3)
        13                  MaxPooling2D(2)

    sizes: five whole numbers, in this order
    """
    expect_shape("sizes", sizes, (5,))
    expect("sizes[0]", sizes[0], 24, {
        "An image of five rows has one position for a window of five rows, not none.": 23,
        "The window has five rows, not three.": 26,
        'This is the size with padding="same". The default of Conv2D is padding="valid".': 28,
    })
    expect("sizes[1]", sizes[1], 13, {
        "This layer has strides=2: the window moves two pixels at a time.": 26,
        'This is the size with padding="same". Here the last window must end inside the image.': 14,
        "The first position also counts: the formula adds 1 after the division.": 12,
    })
    expect("sizes[2]", sizes[2], 14, {
        'padding="same" keeps the size only with strides=1.': 28,
        'This is the size with padding="valid". Here a border of zeros is added.': 13,
        "The last position is counted twice, or does not exist.": 15,
    })
    expect("sizes[3]", sizes[3], 14, {
        "This is the size without dilation, which spreads the kernel over more rows.": 18,
        "This is the size with strides=3. A dilated kernel still moves by one pixel.": 6,
        "A kernel of three rows has two gaps, not three.": 11,
        "From its first to its last row, the window covers seven rows, not six.": 15,
    })
    expect("sizes[4]", sizes[4], 6, {
        'This is the size with padding="same". By default, windows past the edge are left out.': 7,
        "The windows of a pooling layer do not overlap by default: their stride is their size.": 12,
    })


@exercise("Pool by hand")
def pool_by_hand(largest, mean):
    """Pool the map in 2 x 2 windows that do not overlap, once with the maximum, once with the mean.

        map  1 3 2 0
             5 1 4 2
             0 2 8 1
             6 4 3 0

    largest: two rows of two numbers, of max pooling
    mean: two rows of two numbers, of average pooling
    """
    places = windows(np.array([[1, 3, 2, 0], [5, 1, 4, 2], [0, 2, 8, 1], [6, 4, 3, 0]]), (2, 2))
    apart = places[::2, ::2]
    for name, answer, pool, other in (("largest", largest, np.max, np.mean),
                                      ("mean", mean, np.mean, np.max)):
        expect(name, answer, pool(apart, (2, 3)), {
            f"`{name}` is the result of the other pooling.": other(apart, (2, 3)),
            "These windows overlap. Two neighbouring windows are two pixels apart.":
                pool(places, (2, 3)),
            "These are the sums of the windows. Divide by the number of pixels.": apart.sum((2, 3)),
            "These are the smallest numbers of the windows.": apart.min((2, 3)),
            "Here the result's rows and columns are swapped.": pool(apart, (2, 3)).T,
        })


@exercise("The order after flattening")
def position_after_flattening(position):
    """The last maps of the lecture's net have the shape 3 x 3 x 64: rows, columns and channels.
    At which position of the flattened row is the number in row 1, column 2 and channel 10?

    position: a whole number. Rows, columns, channels and positions are counted from 0.
    """
    expect("position", position, (1 * 3 + 2) * 64 + 10, {
        "Positions are counted from 0.": (1 * 3 + 2) * 64 + 11,
        "This is the position if each map is written as a whole. Flatten writes all channels of a "
        "pixel next to each other.": (10 * 3 + 1) * 3 + 2,
        "This is the position if the maps are read column by column. Flatten reads them row by "
        "row.":
            (2 * 3 + 1) * 64 + 10,
        "Each pixel that comes before has 64 numbers.": 1 * 3 + 2 + 10,
        "Count all pixels that come before: one whole row of three, and the pixels to the left.":
            (1 + 2) * 64 + 10,
    })


@exercise("Count the parameters of a net")
def count_parameters(parameters):
    """Count the parameters of three layers of this net.

        model = models.Sequential([
            layers.Input((28, 28, 1)),
            layers.Conv2D(16, 5, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(2),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ])

    parameters: three whole numbers: of the first Conv2D, of the second, and of the Dense layer
    """
    right = np.array([416, 4640, 8010])
    expect("parameters", parameters, right, {
        "Each filter and each unit also has a bias.": right - [16, 32, 10],
        "Each filter and each unit has one bias. A layer has more than one filter.":
            right - [15, 31, 9],
        "A filter of the second layer has 3 x 3 numbers for each of the 16 maps below it.":
            [416, 320, 8010],
        "The sum is right, but give the number of each layer.": right.sum(),
        "Pooling does not change the number of maps, but it makes them smaller before they are "
        "flattened.":
            [416, 4640, 32 * 10 * 10 * 10 + 10],
        "Without padding, the maps get smaller in each Conv2D layer: follow the size through the "
        "net.":
            [416, 4640, 32 * 7 * 7 * 10 + 10],
    })
