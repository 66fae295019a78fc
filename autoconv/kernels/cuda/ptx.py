"""PTX instructions that Numba does not offer, as functions for kernels: 32-bit integer arithmetic
(Numba widens it to 64 bits), vector loads, asynchronous copies and tensor cores.

Arrays are flat. An index is not checked and must not be negative: Numba's support for negative
indices costs more than a load. Source: "Parallel Thread Execution ISA", cp.async, ldmatrix,
mma.sync.aligned.m16n8k8 (tf32).
"""

from .internals import cgutils, intrinsic, ir, types

INT32 = ir.IntType(32)
SMALL = ("nuw", "nsw")  # flags that promise LLVM that a 64-bit result does not overflow


def _pointer(context, builder, array_type, array, index, width=1):
    """Returns the element's address, as a pointer to `width` elements."""
    item = context.get_data_type(array_type.dtype)
    first = builder.gep(context.make_array(array_type)(context, builder, array).data, [index])
    kind = item if width == 1 else ir.VectorType(item, width)
    return builder.bitcast(first, kind.as_pointer())


def _low_word(builder, value):
    """Returns the lower 32 bits of an integer."""
    return value if value.type == INT32 else builder.trunc(value, INT32)


@intrinsic
def global_index(typing):
    """Returns the number of this thread in a one-dimensional grid. The number is never negative, so
    it can index an array without a check.
    """
    def build(context, builder, signature, arguments):
        block, threads, thread = (
            builder.zext(builder.call(cgutils.get_or_insert_function(
                builder.module, ir.FunctionType(INT32, []), f"llvm.nvvm.read.ptx.sreg.{name}.x"), []), ir.IntType(64))
            for name in ("ctaid", "ntid", "tid"))
        return builder.add(builder.mul(block, threads, flags=SMALL), thread, flags=SMALL)

    return types.int64(), build


def _wide_product(builder, kind, a, b):
    """Returns the 64-bit product of the lower 32 bits of two integers, in one instruction; a 64-bit
    multiplication takes four. The product is inline assembly, because LLVM would replace its own
    32-bit multiplication by a 64-bit one.
    """
    function = ir.FunctionType(ir.IntType(64), [INT32, INT32])
    return builder.call(ir.InlineAsm(function, f"mul.wide.{kind} $0, $1, $2;", "=l,r,r"),
                        [_low_word(builder, a), _low_word(builder, b)])


@intrinsic
def times(typing, a, b):
    """Returns a * b of two 32-bit integers, as a 64-bit integer."""
    def build(context, builder, signature, arguments):
        return _wide_product(builder, "s32", *arguments)

    return types.int64(a, b), build


@intrinsic
def multiply_shift(typing, a, factor, shift):
    """Returns a * factor >> shift, for unsigned 32-bit a and factor."""
    def build(context, builder, signature, arguments):
        return builder.lshr(_wide_product(builder, "u32", *arguments[:2]), arguments[2])

    return types.int64(a, factor, types.int64), build


@intrinsic
def in_range(typing, i, n):
    """Returns whether 0 <= i < n, for 32-bit integers."""
    def build(context, builder, signature, arguments):
        return builder.icmp_unsigned("<", *(_low_word(builder, value) for value in arguments))

    return types.boolean(i, n), build


def _bytes(context, dtype):
    """Returns the size of an element in memory, in bytes."""
    return context.get_abi_sizeof(context.get_data_type(dtype))


def _load(name, width):
    @intrinsic
    def load(typing, array, index):
        def build(context, builder, signature, arguments):
            value = builder.load(_pointer(context, builder, array, *arguments, width))
            if width == 1:
                return value
            value.align = _bytes(context, array.dtype) * width
            # a boolean is a byte in memory, but a single bit elsewhere
            model = context.data_model_manager[array.dtype]
            items = [model.from_data(builder, builder.extract_element(value, INT32(i))) for i in range(width)]
            return cgutils.pack_array(builder, items, ty=context.get_value_type(array.dtype))

        return (array.dtype if width == 1 else types.UniTuple(array.dtype, width))(array, types.int64), build

    load.__name__ = name
    load.__doc__ = f"array[index : index + {width}], where index is a multiple of {width}."
    return load


load, load2, load4 = _load("load", 1), _load("load2", 2), _load("load4", 4)


@intrinsic
def load_word(typing, array, index):
    """Returns the four bytes array[index : index + 4] unchanged, as one float32; index is a
    multiple of 4.
    """
    def build(context, builder, signature, arguments):
        place = _pointer(context, builder, array, *arguments)
        return builder.load(builder.bitcast(place, ir.FloatType().as_pointer()))

    return types.float32(array, types.int64), build


@intrinsic
def load_bytes(typing, array, index):
    """Returns four bytes of an array of any dtype, from byte number `index` on, a multiple of 4."""
    def build(context, builder, signature, arguments):
        data = context.make_array(array)(context, builder, arguments[0]).data
        first = builder.gep(builder.bitcast(data, ir.IntType(8).as_pointer()), [arguments[1]])
        word = builder.load(builder.bitcast(first, INT32.as_pointer()))
        items = [builder.trunc(builder.lshr(word, INT32(8 * i)), ir.IntType(8)) for i in range(4)]
        return cgutils.pack_array(builder, items, ty=ir.IntType(8))

    return types.UniTuple(types.uint8, 4)(array, types.int64), build


@intrinsic
def store(typing, array, index, value):
    """array[index] = value."""
    def build(context, builder, signature, arguments):
        builder.store(arguments[2], _pointer(context, builder, array, *arguments[:2]))
        return context.get_dummy_value()

    return types.void(array, types.int64, array.dtype), build


def _store(name, width):
    def make_build(array):
        def build(context, builder, signature, arguments):
            vector = ir.Constant(ir.VectorType(context.get_data_type(array.dtype), width), ir.Undefined)
            model = context.data_model_manager[array.dtype]
            for i in range(width):
                item = model.as_data(builder, builder.extract_value(arguments[2], i))
                vector = builder.insert_element(vector, item, INT32(i))
            builder.store(vector, _pointer(context, builder, array, *arguments[:2], width)).align = (
                _bytes(context, array.dtype) * width)
            return context.get_dummy_value()

        return build

    @intrinsic
    def store(typing, array, index, values):
        return types.void(array, types.int64, types.UniTuple(array.dtype, width)), make_build(array)

    store.__name__ = name
    store.__doc__ = f"array[index : index + {width}] = values; index is a multiple of {width}."
    return store


store2, store4 = _store("store2", 2), _store("store4", 4)


def _copy(name, width, cache_operator):
    """Creates a function that issues cp.async. With a source size of 0, cp.async reads nothing and
    writes zeros.
    """
    asm = f"cp.async.{cache_operator}.shared.global [$0], [$1], {4 * width}, $2;"

    @intrinsic
    def copy(typing, smem, offset, array, index, valid):
        def build(context, builder, signature, arguments):
            target = builder.addrspacecast(_pointer(context, builder, smem, *arguments[:2]),
                                           ir.PointerType(ir.FloatType(), 3))
            source = builder.bitcast(_pointer(context, builder, array, *arguments[2:4]), ir.FloatType().as_pointer())
            source = builder.addrspacecast(source, ir.PointerType(ir.FloatType(), 1))
            count = builder.select(arguments[4], INT32(4 * width), INT32(0))
            function = ir.FunctionType(ir.VoidType(), [target.type, source.type, INT32])
            builder.call(ir.InlineAsm(function, asm, "r,l,r,~{memory}", side_effect=True), [target, source, count])
            return context.get_dummy_value()

        return types.void(smem, types.int64, array, types.int64, types.boolean), build

    copy.__name__ = name
    copy.__doc__ = (f"Starts smem[offset : offset + {width}] = array[index : index + {width}], or "
                    "zeros if not `valid`. `array` may also be a byte array with as many bytes.")
    return copy


copy_async, copy4_async = _copy("copy_async", 1, "ca"), _copy("copy4_async", 4, "cg")


def load_matrices(*distances):
    """Returns load(smem, index, out), which the 32 threads of a warp call together. For each
    distance it loads four matrices of 8 rows of 4 elements.

    Each thread's smem[index + distance] is the start of one row, of 16 bytes. out[4 * i + j], in a
    thread-local array, receives element lane % 4 of row lane // 4 of matrix j, for distance i.
    """
    @intrinsic
    def load(typing, smem, index, out):
        def build(context, builder, signature, arguments):
            place = builder.addrspacecast(_pointer(context, builder, smem, *arguments[:2]),
                                          ir.PointerType(ir.FloatType(), 3))
            four = ir.LiteralStructType([ir.FloatType()] * 4)
            function, data = ir.FunctionType(four, [place.type]), context.make_array(out)(
                context, builder, arguments[2]).data
            for i, distance in enumerate(distances):
                asm = f"ldmatrix.sync.aligned.m8n8.x4.shared.b16 {{$0, $1, $2, $3}}, [$4 + {4 * distance}];"
                value = builder.call(ir.InlineAsm(function, asm, "=f,=f,=f,=f,r,~{memory}", side_effect=True), [place])
                for j in range(4):
                    builder.store(builder.extract_value(value, j), builder.gep(data, [INT32(4 * i + j)]))
            return context.get_dummy_value()

        return types.void(smem, types.int64, out), build

    return load


def _statement(asm, builder):
    builder.call(ir.InlineAsm(ir.FunctionType(ir.VoidType(), []), asm, "~{memory}", side_effect=True), [])


@intrinsic
def commit(typing):
    """Ends a group of asynchronous copies."""
    def build(context, builder, signature, arguments):
        _statement("cp.async.commit_group;", builder)
        return context.get_dummy_value()

    return types.void(), build


def waiting(groups):
    """Returns an instruction that waits until at most `groups` groups of this thread's asynchronous
    copies are incomplete.
    """
    @intrinsic
    def wait(typing):
        def build(context, builder, signature, arguments):
            _statement(f"cp.async.wait_group {groups};", builder)
            return context.get_dummy_value()

        return types.void(), build

    return wait


@intrinsic
def add_to_bits(typing, x, amount):
    """Returns the float32 whose bits are x's bits plus the 32-bit integer `amount`."""
    def build(context, builder, signature, arguments):
        bits = builder.add(builder.bitcast(arguments[0], INT32), _low_word(builder, arguments[1]))
        return builder.bitcast(bits, ir.FloatType())

    return types.float32(types.float32, amount), build


@intrinsic
def mma_tf32(typing, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    """Returns c + a b, computed on a tensor core by the 32 threads of a warp: a (16, 8), b (8, 8),
    c (16, 8).

    With g = lane // 4 and t = lane % 4, a thread passes a[g, t], a[g+8, t], a[g, t+4], a[g+8, t+4]
    and b[t, g], b[t+4, g]. It passes and receives c[g, 2t], c[g, 2t+1], c[g+8, 2t], c[g+8, 2t+1].
    """
    def build(context, builder, signature, arguments):
        number = ir.FloatType()
        four = ir.LiteralStructType([number] * 4)
        function = ir.FunctionType(four, [INT32] * 6 + [number] * 4)
        asm = ("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {$0, $1, $2, $3}, {$4, $5, $6, "
               "$7}, {$8, $9}, {$10, $11, $12, $13};")
        operands = [builder.bitcast(a, INT32) for a in arguments[:6]] + list(arguments[6:])
        result = builder.call(ir.InlineAsm(function, asm, "=f,=f,=f,=f,r,r,r,r,r,r,f,f,f,f"), operands)
        return cgutils.pack_array(builder, [builder.extract_value(result, i) for i in range(4)], ty=number)

    return types.UniTuple(types.float32, 4)(*(types.float32,) * 10), build
