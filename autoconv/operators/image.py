"""Translates, rotates, scales and crops images, each image with its own transform."""

from .registry import gradient_buffer, op

# codes of the fill modes in the kernels
FILL_MODES = {"constant": 0, "nearest": 1, "reflect": 2, "wrap": 3}
INTERPOLATIONS = {"nearest": False, "bilinear": True}


@op(kernels="image")
def affine_transform(k, x, transform, size, fill_mode, fill_value, interpolation):
    """Pixel (i, j) of y[n] is sampled from x[n] at column (t0 j + t1 i + t2) / s and row (t3 j + t4
    i + t5) / s, with s = t6 j + t7 i + 1 and t = transform[n]. x (N, H, W, C), transform (N or 1,
    8), y (N, *size, C).

    In dx, each pixel of x receives the gradients of the results it contributed to, with the same
    weights. The transform has no gradient.
    """
    mode = FILL_MODES[fill_mode]
    bilinear = INTERPOLATIONS[interpolation]
    y = k.empty((x.shape[0], *size, x.shape[3]), x.dtype)
    k.affine_transform(x, transform, mode, fill_value, bilinear, y)

    def backward(dy, needs):
        dx = gradient_buffer(k, needs[0], x.shape, x.dtype)
        k.affine_transform_grad(dy, transform, mode, bilinear, dx)
        return (dx,)

    return y, backward
