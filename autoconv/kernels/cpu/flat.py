"""Provides `flatten`, which returns a one-dimensional view of an array."""

from numba.core import types
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic
from numba.np.arrayobj import populate_array


@intrinsic
def flatten(typingctx, array):
    """Returns array.reshape(array.size) for a C-contiguous array. Numba's own reshape is a function
    call that inspects all axes, and it adds the code of its error messages to each kernel.
    """
    kind = types.Array(array.dtype, 1, "C")

    def codegen(context, builder, signature, args):
        source = context.make_array(array)(context, builder, args[0])
        result = context.make_array(kind)(context, builder)
        populate_array(result, source.data, [source.nitems], [source.itemsize], source.itemsize, source.meminfo,
                       source.parent)
        return impl_ret_borrowed(context, builder, kind, result._getvalue())

    return kind(array), codegen
