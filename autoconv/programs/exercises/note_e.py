"""Note E: more kernels, pooling in Python, and reading a net's mistakes."""

import numpy as np

from .marking import exercise, expect, expect_shape, require
from .windows import convolve, windows


@exercise("Design a kernel that moves the picture")
def design_a_shift(kernel):
    """Design a 3 x 3 kernel that moves a picture by one pixel to the right, with padding="same". It
    does not change the picture otherwise.

    kernel: three rows of three numbers
    """
    kernel = expect_shape("kernel", kernel, (3, 3))
    expect("kernel", kernel, [[0, 0, 0], [1, 0, 0], [0, 0, 0]], {
        "This kernel moves the picture to the left. Layers do not turn the kernel: each result is "
        "the pixel under the 1.": [[0, 0, 0], [0, 0, 1], [0, 0, 0]],
        "This kernel moves the picture down.": [[0, 1, 0], [0, 0, 0], [0, 0, 0]],
        "This kernel moves the picture up.": [[0, 0, 0], [0, 0, 0], [0, 1, 0]],
        "This kernel does not change the picture.": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    })


@exercise("Design a kernel that sharpens")
def design_a_sharpening_kernel(kernel):
    """Design a 3 x 3 kernel that sharpens: areas of equal pixels keep their brightness, and pixels
    that differ from their neighbours in any direction differ more afterwards.

    kernel: three rows of three numbers
    """
    kernel = expect_shape("kernel", kernel, (3, 3))
    total = kernel.sum()
    centre = kernel[1, 1]
    require(abs(total) > 1e-3, "The numbers of this kernel add up to 0, so areas of equal pixels "
                               "become black, as in kernels that find edges.")
    require(abs(total - 1) < 1e-3, f"The numbers of this kernel add up to {total:g}, so an area of "
                                   f"equal pixels becomes {total:g} times as bright.")
    require(abs(centre - 1) > 1e-3 or np.count_nonzero(np.abs(kernel) > 1e-3) > 1,
            "This kernel does not change the picture.")
    require(centre > 1, f"The number in the centre is {centre:g}, so a single bright pixel does "
                        "not become brighter. Which sign must the numbers around the centre have?")
    rows, columns = np.mgrid[-2:3, -2:3]
    for direction, position, dark in (
        ("left to right", columns, (1, 0)),
        ("top to bottom", rows, (0, 1)),
        ("the top left to the bottom right", rows + columns, (0, 1)),
        ("the top right to the bottom left", rows - columns, (0, 1)),
    ):
        result = convolve(np.where(position < 0, 0.0, 1.0), kernel)
        require(result[1, 1] - result[dark] > 1 + 1e-3,
                f"An edge from {direction} does not become steeper. The pixels on both of its "
                "sides must count.")


@exercise("Write max pooling")
def write_max_pooling(max_pool):
    """Write max pooling with padding="same" as a function, with loops or slices of NumPy:

        def max_pool(image, size):
            ...

    The image has the shape (H, W). The windows are size x size and do not overlap; the first window
    begins in the top left corner. The last windows may extend past the right and lower edge of the
    image; positions outside are ignored. The function returns an array (OH, OW). It is tested with
    images of 4 x 6 and 5 x 7 pixels and windows of 2 x 2, and with 7 x 8 pixels and 3 x 3.
    """
    require(callable(max_pool), "`max_pool` must be a function. Define it with `def`.")
    rng = np.random.default_rng(1)
    for shape, size in (((4, 6), 2), ((5, 7), 2), ((7, 8), 3)):
        image = -rng.permutation(shape[0] * shape[1]).reshape(shape).astype(float) - 1
        rows, columns = (-(-side // size) for side in shape)
        padding = ((0, rows * size - shape[0]), (0, columns * size - shape[1]))
        by_window = (rows, size, columns, size)
        padded = np.pad(image, padding, constant_values=np.nan).reshape(by_window)
        right = np.nanmax(padded, (1, 3))
        mistakes = {
            "These are the smallest numbers of the windows.": np.nanmin(padded, (1, 3)),
            "This is average pooling.": np.nanmean(padded, (1, 3)),
            "These windows overlap. Two neighbouring windows are `size` pixels apart.":
                windows(image, (size, size)).max((2, 3)),
        }
        if np.isnan(padded).any():
            mistakes |= {
                "The windows that extend past the edge are left out, as with padding=\"valid\".":
                    right[: shape[0] // size, : shape[1] // size],
                "The positions outside the image count as 0. They must be ignored, which matters "
                "if all pixels are negative.": np.nan_to_num(padded).max((1, 3)),
            }
        name = f"max_pool(image of {shape[0]} x {shape[1]}, {size})"
        expect(name, max_pool(image.copy(), size), right, mistakes)


@exercise("Read a confusion matrix")
def read_a_confusion_matrix(accuracy, hardest, mistake):
    """A net sorted 200 photos of clothes. Each row of the matrix is a true class, each column the
    class that the net named.

                   shirt  coat  dress  bag
            shirt     30    12      8    0
            coat       6    40      4    0
            dress      1     3     46    0
            bag        1     1      0   48

    accuracy: the fraction of photos that the net named correctly, such as 0.5
    hardest: the class of which the net missed the most photos, such as "bag"
    mistake: the most frequent mistake, as the true class and the named one: ("bag", "coat")
    """
    classes = ["shirt", "coat", "dress", "bag"]
    matrix = np.array([[30, 12, 8, 0], [6, 40, 4, 0], [1, 3, 46, 0], [1, 1, 0, 48]])
    right = np.trace(matrix) / matrix.sum()
    expect("accuracy", accuracy, right, {
        "This is the fraction of mistakes.": 1 - right,
        "This is the number of correct photos. Divide by the number of all photos.":
            np.trace(matrix),
        "`accuracy` is a fraction of 1, not a percentage.": 100 * right,
        "This is the mean over the columns. A photo counts once, however often its class was "
        "named.": (np.diag(matrix) / matrix.sum(0)).mean(),
        "This is the accuracy of the class shirt. All classes count.":
            matrix[0, 0] / matrix[0].sum(),
    })
    require(isinstance(hardest, str) and hardest in classes,
            f"`hardest` must be one of the names {', '.join(classes)}.")
    require(hardest != "coat", 'Most wrong photos were named "coat", but the net missed few '
                               'coats. Count the mistakes of each row, not of each column.')
    require(hardest == "shirt", f"The net missed more photos of another class than of {hardest!r}. "
                                "Add up the numbers of each row that are not on the diagonal.")
    require(isinstance(mistake, list | tuple) and set(map(str, mistake)) <= set(classes),
            f"`mistake` must be a list of two of the names {', '.join(classes)}.")
    pair = tuple(mistake)
    require(pair != ("coat", "shirt"), "The order is the other way round: the row is the true "
                                       "class.")
    require(pair == ("shirt", "coat"), "Find the largest number that is not on the diagonal. Name "
                                       "its row, then its column.")
