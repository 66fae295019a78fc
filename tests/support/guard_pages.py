"""Runs every op of the case table on arrays that end, or begin, at a page that may not be touched.

`python guard_pages.py end|begin` exits with 0 when no kernel reads or writes outside an array: one stray access kills
the process. With a number behind it, so many random windows are tried in place of the case table: each is refused, or
stays inside. `python guard_pages.py stray` makes a stray access on purpose. The loads of the register tile are LLVM
intrinsics that NUMBA_BOUNDSCHECK does not see, so this is how they are checked.
"""

import ctypes
import math
import mmap
import random
import sys

import numpy as np

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
concatenate = np.concatenate


def guarded(shape, dtype=np.float64, at="end"):
    """An array of NaN or -1 between two forbidden pages, touching the one behind it or the one before it."""
    shape = (shape,) if isinstance(shape, int) else tuple(shape)
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size > 1 << 24:
        raise MemoryError(shape)
    room = -(-max(size, 1) // mmap.PAGESIZE) * mmap.PAGESIZE
    start = libc.mmap(None, room + 2 * mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE,
                      mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
    for page in (start, start + mmap.PAGESIZE + room):
        if libc.mprotect(page, mmap.PAGESIZE, 0):
            raise OSError(ctypes.get_errno(), "mprotect")
    first = start + mmap.PAGESIZE + (room - size if at == "end" else 0)
    array = np.frombuffer((ctypes.c_char * size).from_address(first), dtype).reshape(shape)
    array[...] = np.nan if dtype.kind == "f" else np.zeros((), dtype) - 1
    return array


def copied(array, at):
    result = guarded(np.shape(array), array.dtype, at)
    result[...] = array
    return result


def for_kernels(special, usual):
    """`special` where a kernel's file calls, `usual` for everybody else."""

    def call(*args, **options):
        caller = sys._getframe(1).f_globals.get("__name__", "")
        return (special if caller.startswith("autoconv.kernels") else usual)(*args, **options)

    return call


def guard_kernels(at):
    """From here on kernels are given guarded arrays."""
    import autoconv.kernels.cpu.conv  # noqa: F401 (what the package's import makes is room of its own)
    from autoconv.kernels.cpu.jit import Kernel

    for name, module in list(sys.modules.items()):
        if name.startswith("autoconv.kernels") and hasattr(module, "aligned_empty"):
            module.aligned_empty = lambda shape, dtype: guarded(shape, dtype, at)
    usual, compile_kernel = np.empty, Kernel.compile

    def compiled(kernel, dtype):
        """Numba, which runs here where one kernel alone is missing, must find NumPy's own function."""
        special, np.empty = np.empty, usual
        try:
            compile_kernel(kernel, dtype)
        finally:
            np.empty = special

    Kernel.compile = compiled
    np.empty = for_kernels(lambda shape, dtype=np.float64: guarded(shape, dtype, at), usual)
    np.concatenate = for_kernels(lambda arrays: copied(concatenate(arrays), at), concatenate)


def main(at):
    """Every case forward and backward, in both precisions."""
    from cases import CASES, WITHOUT_GRADIENT

    guard_kernels(at)
    for dtype in ("float32", "float64"):
        for _ in results((*CASES, *WITHOUT_GRADIENT), dtype, lambda array: copied(array, at)):
            pass


def results(cases, dtype, placed=np.asarray):
    """What each of these cases gives, and its gradients: arrays of one precision, which begin where `placed` puts them.
    Then the same of larger convolutions, of first layers, and of a residual block's.
    """
    from autoconv.tensor import Tensor, apply, no_grad
    from cases import conv, fused_pool

    from autoconv.arguments import shapes
    from autoconv.kernels.cpu import ways
    from autoconv.operators import conv as conv_ops

    ways.FEWEST_PIXELS = 1  # weight gradients of few pixels from tiles, too

    def arrays(case, inputs):
        y = case.call(*inputs, **case.parameters)
        yield y.numpy()
        if y.requires_grad:
            upstream = np.random.default_rng(1).normal(size=y.shape)
            y.backward(placed(upstream.astype(y.dtype)))
            yield from (t.grad for t in inputs if t is not None and t.grad is not None)

    many_tiles = conv((2, 14, 14, 32), (3, 3, 32, 128))  # winograd.py transforms the weights ahead of these
    larger_tiles = (conv((1, 17, 18, 48), (3, 3, 48, 80)), fused_pool((1, 17, 18, 48), (3, 3, 48, 80)),
                    conv((5, 18, 18, 32), (3, 3, 32, 32)))
    for case in (*cases, many_tiles, *larger_tiles):
        inputs = [None if a is None else Tensor(placed(a), requires_grad=True) for a in case.inputs(dtype)]
        yield from arrays(case, inputs)
        if case in larger_tiles:
            with no_grad():
                yield case.call(*inputs, **case.parameters).numpy()
    for make, padding in ((conv, "valid"), (conv, "same"), (fused_pool, "valid"), (fused_pool, "same")):
        for case in (make((2, 35, 10, 1), (3, 3, 1, 32), padding=padding),
                     make((1, 6, 67, 3), (3, 3, 3, 16), padding=padding)):  # first layers
            x, w, b = (placed(a) for a in case.inputs(dtype))
            yield from arrays(case, [Tensor(x), *(Tensor(a, requires_grad=True) for a in (w, b))])
    for width, filters in ((29, 16), (15, 32)):  # of a residual block, in inference
        sizes = ((2, 3, width, 3), (3, 3, 3, filters), (filters,), (2, 3, width, filters))
        inputs = [Tensor(placed(np.ones(size, dtype))) for size in sizes]
        yield apply(conv_ops.conv2d, *inputs, window=shapes.window((3, width), (3, 3), padding="same")).numpy()


def windows(at, count):
    """Random arguments for all that slides a window over images: to the public functions, and right to the ops."""
    from autoconv.tensor import Tensor, apply

    from autoconv import functional as F
    from autoconv.arguments.shapes import Window
    from autoconv.operators import conv, fused, pool

    guard_kernels(at)
    draw = random.Random(0)

    def number(least=0):
        return draw.choice((least, 1, 1, 1, 2, 2, 3, 5, 9, draw.choice((-1, 0, 40, 2_000_000, 2**31, 2**40, 2**62))))

    def window():
        return Window(*(number(1) for _ in range(6)), *(number() for _ in range(4)))

    def images(*shape):
        return Tensor(copied(np.ones(shape, "float32"), at), requires_grad=True)

    def outcome():
        n, h, w, c, f, groups = (draw.randint(1, 5) for _ in range(6))
        kh, kw = draw.randint(1, 4), draw.randint(1, 4)
        x, kernel, bias = images(n, h, w, c), images(kh, kw, c, f), draw.choice((None, images(f), images(c * f)))
        pads = draw.choice((number(), (number(), number()), ((number(), number()), (number(), number())), "same"))
        strides, rate = (number(1), number(1)), draw.choice((1, 1, number(1)))
        at_random = draw.choice((window(), Window(kh, kw, *window()[2:])))
        calls = (
            lambda: F.max_pool2d(x, (number(1), number(1)), strides, pads),
            lambda: F.avg_pool2d(x, (number(1), number(1)), strides, pads),
            lambda: F.conv2d(x, kernel, bias, strides, pads, rate),
            lambda: F.depthwise_conv2d(x, kernel, bias, strides, pads, rate),
            lambda: F.conv2d_transpose(x, images(kh, kw, f, c), bias, strides, draw.choice(("same", "valid")), rate),
            lambda: apply(pool.max_pool2d, x, window=at_random),
            lambda: apply(pool.avg_pool2d, x, window=at_random),
            lambda: apply(conv.conv2d, x, kernel, bias, window=at_random, groups=groups),
            lambda: apply(conv.depthwise_conv2d, x, kernel, bias, window=at_random),
            lambda: apply(conv.conv2d_transpose, x, kernel, bias, window=at_random, size=(number(), number())),
            lambda: apply(fused.conv2d_relu_pool, x, kernel, bias, window=at_random),
        )
        try:
            y = draw.choice(calls)()
            y.backward(copied(np.ones(y.shape, y.dtype), at))
            return "ran"
        except (MemoryError, ValueError) as error:
            return type(error).__name__

    outcomes = [outcome() for _ in range(count)]
    print(outcomes.count("ran"), outcomes.count("ValueError"))  # noqa: T201


def stray():
    """Reads the tile's rows one item past the end of their table."""
    import numba

    from autoconv.kernels.cpu import simd

    @numba.njit
    def read(table, x):
        tile = simd.zeros(x, 1, 1)
        stray = simd.rows(table, 1, 2, tile)
        simd.store(simd.fma(tile, x, stray, 0, x, 0), x, stray, 0, 1)

    read(guarded(1, np.int64), guarded(1024, np.float32))


if __name__ == "__main__":
    if sys.argv[1] == "stray":
        stray()
    elif len(sys.argv) > 2:
        windows(sys.argv[1], int(sys.argv[2]))
    else:
        main(sys.argv[1])
