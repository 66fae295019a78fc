"""The machine that runs PTX in NumPy (ptx/): it computes what PTX says, and sees what a GPU would let pass."""

import math

import numpy as np
import pytest

from autoconv.kernels.cuda import driver

if not driver.is_installed():
    pytest.skip("numba-cuda is not installed: pip install 'autoconv[cuda]'", allow_module_level=True)

from numba import cuda

import ptx
import ptx.cubin
import ptx.device


def program(arrays, body, declarations=""):
    """A kernel whose parameters are flat arrays, as Numba passes them: %a is where `a` starts. %r0 is the thread."""
    parameters = ", ".join(f".param .u64 {a}_{i}" for a in arrays for i in range(7))
    loads = "".join(f".reg .b64 %{a}; ld.param.u64 %{a}, [{a}_4]; cvta.to.global.u64 %{a}, %{a};\n" for a in arrays)
    return ptx.Program(f"""
        .version 8.0
        .target sm_80
        .address_size 64
        {declarations}
        .visible .entry kernel({parameters})
        {{
            .reg .pred %p<9>; .reg .b16 %h<9>; .reg .b32 %r<40>; .reg .b64 %d<40>; .reg .f32 %f<40>; .reg .f64 %g<9>;
            {loads}
            mov.u32 %r0, %tid.x;
            {body}
            ret;
        }}""")


def values(body, *inputs, result):
    """What `body` makes, in the register %out, of %in0, %in1, ...: one thread each. Types are the arrays'."""
    kinds = {"i": "s", "u": "u", "f": "f"}
    arrays = [np.atleast_1d(a) for a in inputs] + [np.zeros(np.atleast_1d(inputs[0]).shape, result)]
    lines = []
    for i, array in enumerate(arrays):
        t = f"{kinds[array.dtype.kind]}{array.itemsize * 8}"
        name = "out" if i == len(inputs) else f"in{i}"
        lines.append(f".reg .{t} %{name}; .reg .b64 %at{i}; mul.wide.u32 %at{i}, %r0, {array.itemsize}; "
                     f"add.s64 %at{i}, %at{i}, %a{i};")
        if name != "out":
            lines.append(f"ld.global.{t} %{name}, [%at{i}];")
    last = len(inputs)
    lines += [body, f"st.global.{t} [%at{last}], %out;"]
    ptx.run(program([f"a{i}" for i in range(len(arrays))], "\n".join(lines)), 1, arrays[0].size, arrays)
    return arrays[-1]


S64, S32 = (np.array([0, 1, -1, 7, -7, 2**n - 1, -(2**n), 12345], t) for t, n in ((np.int64, 63), (np.int32, 31)))
U64, U32 = (np.array([0, 1, 2**n - 1, 7, 2 ** (n - 1), 12345], t) for t, n in ((np.uint64, 64), (np.uint32, 32)))


def wrapped(exact, dtype):
    bits = np.dtype(dtype).itemsize * 8
    unsigned = [x % (1 << bits) for x in exact]
    signed = [x - (1 << bits) if x >> (bits - 1) else x for x in unsigned]
    return np.array(signed if np.dtype(dtype).kind == "i" else unsigned, dtype)


def towards_zero(a, b):
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


WHOLE = {
    "add": lambda a, b, bits: a + b, "sub": lambda a, b, bits: a - b, "mul.lo": lambda a, b, bits: a * b,
    "mul.hi": lambda a, b, bits: a * b >> bits, "min": lambda a, b, bits: min(a, b),
    "max": lambda a, b, bits: max(a, b), "div": lambda a, b, bits: towards_zero(a, b) if b else -1,
    "rem": lambda a, b, bits: a - towards_zero(a, b) * b if b else a,
}


@pytest.mark.parametrize("t", ["s64", "s32", "u64", "u32"])
@pytest.mark.parametrize("op", sorted(WHOLE))
def test_whole_numbers(op, t):
    some = {"s64": S64, "s32": S32, "u64": U64, "u32": U32}[t]
    a, b = (x.reshape(-1) for x in np.meshgrid(some, some))
    expected = wrapped([WHOLE[op](int(x), int(y), 8 * a.itemsize) for x, y in zip(a, b)], a.dtype)
    np.testing.assert_array_equal(values(f"{op}.{t} %out, %in0, %in1;", a, b, result=a.dtype), expected)


@pytest.mark.parametrize(("op", "a", "n", "expected"), [
    ("shl.b32", -1, 31, -(2**31)), ("shl.b32", 1, 32, 0), ("shr.s32", -8, 1, -4), ("shr.s32", -8, 77, -1),
    ("shr.u32", -1, 28, 15), ("shr.u32", -1, 32, 0), ("shr.b32", -1, 28, 15),
])
@pytest.mark.parametrize("immediate", [False, True])
def test_shifts(op, a, n, expected, immediate):
    amount = n if immediate else "%in1"
    got = values(f"{op} %out, %in0, {amount};", np.int32(a), np.uint32(n), result=np.int32)
    assert got.item() == expected


@pytest.mark.parametrize(("body", "a", "b", "expected"), [
    ("prmt.b32 %out, %in0, %in1, 0x7531;", 0x33221100, 0x77665544, 0x77553311),
    ("bfe.u32 %out, %in0, 8, 12;", 0xABCDEF12, 0, 0xDEF),
    ("bfe.s32 %out, %in0, 8, 4;", 0xABCDEF12, 0, 0xFFFFFFFF),
    ("bfi.b32 %out, %in0, %in1, 8, 4;", 0xA, 0xFFFFFFFF, 0xFFFFFAFF),
    ("shf.l.wrap.b32 %out, %in0, %in1, 8;", 0x11223344, 0x55667788, 0x66778811),
    ("shf.r.wrap.b32 %out, %in0, %in1, 8;", 0x11223344, 0x55667788, 0x88112233),
    ("lop3.b32 %out, %in0, %in1, 0xFF, 0xEA;", 0xF0F0, 0xFF00, 0xF0FF),  # (a & b) | c
    ("popc.b32 %out, %in0;", 0xF0F0, 0, 8), ("clz.b32 %out, %in0;", 0xF0F0, 0, 16),
    ("mad.lo.s32 %out, %in0, %in1, 5;", 2**31, 3, 2**31 + 5),
    ("{ .reg .b16 %lo; .reg .b16 %hi; mov.b32 {%lo, %hi}, %in0; mov.b32 %out, {%hi, %lo}; }", 0x12345678, 0,
     0x56781234),
])
def test_bits(body, a, b, expected):
    assert values(body, np.uint32(a), np.uint32(b), result=np.uint32).item() == expected


NAN, INF = np.float32(np.nan), np.float32(np.inf)


@pytest.mark.parametrize(("body", "a", "b", "expected"), [
    ("min.f32 %out, %in0, %in1;", NAN, 2, 2), ("max.f32 %out, %in0, %in1;", 2, NAN, 2),
    ("max.NaN.f32 %out, %in0, %in1;", 2, NAN, NAN), ("cvt.sat.f32.f32 %out, %in0;", NAN, 0, 0),
    ("cvt.sat.f32.f32 %out, %in0;", 7, 0, 1), ("add.sat.f32 %out, %in0, %in1;", -7, 2, 0),
    ("cvt.rni.f32.f32 %out, %in0;", 2.5, 0, 2), ("cvt.rzi.f32.f32 %out, %in0;", -2.5, 0, -2),
    ("cvt.rmi.f32.f32 %out, %in0;", -2.5, 0, -3), ("add.rz.f32 %out, %in0, %in1;", 1, 2.0**-24 * 1.5, 1),
    ("add.rp.f32 %out, %in0, %in1;", 1, 2.0**-30, 1 + 2.0**-23), ("add.rm.f32 %out, %in0, %in1;", 1, -(2.0**-30),
                                                                   1 - 2.0**-24),
    ("fma.rn.f32 %out, %in0, %in0, %in1;", 1 + 2.0**-12, -1 - 2.0**-11, 2.0**-24),  # one rounding, not two
    ("add.ftz.f32 %out, %in0, %in1;", 2.0**-130, 0, 0), ("add.f32 %out, %in0, %in1;", 2.0**-130, 0, 2.0**-130),
    ("copysign.f32 %out, %in0, %in1;", -0.0, 3, -3), ("div.rn.f32 %out, %in0, %in1;", 1, 0, INF),
    ("ex2.approx.ftz.f32 %out, %in0;", -3, 0, 0.125),
])
def test_floats(body, a, b, expected):
    got = values(body, np.float32(a), np.float32(b), result=np.float32).item()
    np.testing.assert_equal(got, float(expected))


@pytest.mark.parametrize(("a", "expected"), [(2.7, 2), (-2.7, -2), (1e20, 2**31 - 1), (-INF, -(2**31)), (NAN, 0)])
def test_floats_to_whole_numbers_are_clamped(a, expected):
    assert values("cvt.rzi.s32.f32 %out, %in0;", np.float32(a), result=np.int32).item() == expected


@pytest.mark.parametrize(("name", "less", "equal", "unordered"), [
    ("lt", 1, 0, 0), ("ltu", 1, 0, 1), ("geu", 0, 1, 1), ("eq", 0, 1, 0), ("equ", 0, 1, 1), ("ne", 1, 0, 0),
    ("neu", 1, 0, 1), ("nan", 0, 0, 1), ("num", 1, 1, 0),
])
def test_comparisons_with_nan(name, less, equal, unordered):
    got = values(f"setp.{name}.f32 %p1, %in0, %in1; selp.s32 %out, 1, 0, %p1;", np.array([1, 2, np.nan], np.float32),
                 np.full(3, 2, np.float32), result=np.int32)
    assert got.tolist() == [less, equal, unordered]


def test_a_device_function_and_a_scope_of_its_own():
    twice = """.func (.param .b32 back) twice(.param .b32 given)
               { .reg .b32 %r<3>; .reg .pred %p<2>;
                 ld.param.b32 %r1, [given]; setp.gt.s32 %p1, %r1, 5; @%p1 bra $L; add.s32 %r1, %r1, %r1;
                 $L: st.param.b32 [back+0], %r1; ret; }"""
    body = """{ .param .b32 p0; st.param.b32 [p0+0], %r0; .param .b32 r; call.uni (r), twice, (p0);
                ld.param.b32 %r1, [r+0]; }
              @!%p8 add.s32 %r1, %r1, 100;
              mul.wide.u32 %d1, %r0, 4; add.s64 %d1, %d1, %a; st.global.u32 [%d1], %r1;"""
    out = np.zeros(8, np.int32)
    ptx.run(program("a", "setp.lt.s32 %p8, %r0, 2;" + body, twice), 1, 8, [out])
    assert out.tolist() == [0, 2, 104, 106, 108, 110, 106, 107]


# What a GPU would let pass.


def refused(error, match, kernel, *arrays, threads=64, blocks=1):
    with pytest.raises(error, match=match):
        ptx.launch(kernel, blocks, threads, arrays)


X, Y = np.arange(64, dtype=np.float32), np.zeros(64, np.float32)


def test_an_access_outside_names_the_thread_and_the_array():
    def kernel(x, y):
        y[cuda.grid(1)] = x[cuda.grid(1) + 1]

    refused(ptx.AddressError, r"ld.global.f32 .*thread \(31, 0, 0\) of block \(1, 0, 0\).* argument 0 \(64,\) of 256 "
                              "bytes, starts 256 bytes before", kernel, X, Y, threads=32, blocks=2)


def test_a_wide_load_at_an_odd_place_is_an_error():
    body = "mul.wide.u32 %d1, %r0, 8; add.s64 %d1, %d1, %a; ld.global.v4.f32 {%f0, %f1, %f2, %f3}, [%d1];"
    with pytest.raises(ptx.AddressError, match=r"thread \(1, 0, 0\).* no multiple of 16"):
        ptx.run(program("a", body), 1, 4, [X.copy()])


def test_an_atomic_is_an_error():
    def kernel(x, y):
        cuda.atomic.add(y, 0, x[0])

    refused(ptx.UnsupportedError, "no atomics", kernel, X, Y)


def test_what_was_never_written_is_not_zero():
    def kernel(x, y):
        s = cuda.shared.array(64, "float32")
        t = cuda.threadIdx.x
        if t < 32:
            s[t] = x[t]
        y[t] = s[t]

    out = Y.copy()
    ptx.launch(kernel, 1, 64, (X, out))
    np.testing.assert_array_equal(out[:32], X[:32])
    assert np.isnan(out[32:]).all()


def exchange(wait):
    """Each thread reads what its neighbour wrote to shared memory."""
    def kernel(x, y):
        s = cuda.shared.array(64, "float32")
        t = cuda.threadIdx.x
        s[t] = x[t]
        wait()
        y[t] = s[t ^ 1]

    return kernel


@cuda.jit(device=True)
def nothing():
    pass


@cuda.jit(device=True)
def for_the_block():
    cuda.syncthreads()


@cuda.jit(device=True)
def for_the_warp():
    cuda.syncwarp()


@pytest.mark.parametrize("wait", [for_the_block, for_the_warp])
def test_a_barrier_puts_threads_in_order(wait):
    out = Y.copy()
    ptx.launch(exchange(wait), 1, 64, (X, out))
    np.testing.assert_array_equal(out, X.reshape(-1, 2)[:, ::-1].reshape(-1))


def test_a_race_is_seen():
    refused(ptx.RaceError, r"thread \(0, 0, 0\) of .* reads shared memory, and thread \(1, 0, 0\) .* writes it",
            exchange(nothing), X, Y)


def test_a_warp_s_barrier_does_not_order_another_warp():
    def kernel(x, y):
        s = cuda.shared.array(64, "float32")
        t = cuda.threadIdx.x
        s[t] = x[t]
        cuda.syncwarp()
        y[t] = s[63 - t]

    refused(ptx.RaceError, "writes it", kernel, X, Y)


def test_writing_what_others_still_read_is_a_race():
    def kernel(x, y):
        s = cuda.shared.array(64, "float32")
        t = cuda.threadIdx.x
        s[t] = x[t]
        cuda.syncthreads()
        y[t] = s[63 - t] + s[0]
        s[t] = 0  # the barrier before this is missing

    refused(ptx.RaceError, "writes shared memory, and .* reads it", kernel, X, Y)


def test_two_threads_writing_one_item_are_a_race():
    def kernel(x, y):
        y[cuda.grid(1) // 2] = x[cuda.grid(1)]

    refused(ptx.RaceError, "argument 1", kernel, X, Y)


def test_reading_what_another_block_writes_is_a_race():
    def kernel(x, y):
        i = cuda.grid(1)
        y[i] = x[i]
        if i == 40:
            y[i] += y[3]

    refused(ptx.RaceError, "reads argument 1", kernel, X, Y, threads=32, blocks=2)


@pytest.mark.parametrize("early", [False, True])
def test_a_barrier_that_not_all_reach_is_an_error(early):
    def kernel(x, y):
        t = cuda.threadIdx.x
        if early and t >= 40:
            return
        if early or t < 40:
            cuda.syncthreads()
        y[t] = x[t]

    refused(ptx.DivergenceError, "not all threads of its block reach this barrier", kernel, X, Y)


def test_a_shuffle_without_all_it_names_is_an_error():
    def kernel(x, y):
        t = cuda.threadIdx.x
        if t < 40:
            y[t] = cuda.shfl_xor_sync(0xFFFFFFFF, x[t], 1)

    refused(ptx.DivergenceError, "0xffffffff; the threads here are 0x000000ff", kernel, X, Y)


# What threads do together.


@pytest.mark.parametrize(("shuffle", "expected"), [
    (cuda.shfl_xor_sync, lambda t: t ^ 3), (cuda.shfl_sync, lambda t: 3),
    (cuda.shfl_down_sync, lambda t: t + 3 if t < 29 else t), (cuda.shfl_up_sync, lambda t: t - 3 if t > 2 else t),
])
def test_shuffles(shuffle, expected):
    def kernel(x, y):
        t = cuda.grid(1)
        y[t] = shuffle(0xFFFFFFFF, x[t], 3)

    out = Y.copy()
    ptx.launch(kernel, 1, 64, (X, out))
    assert out.tolist() == [t // 32 * 32 + expected(t % 32) for t in range(64)]


def test_a_vote():
    body = """setp.gt.u32 %p1, %r0, 5; vote.sync.ballot.b32 %r1, %p1, 0xffffffff;
              mul.wide.u32 %d1, %r0, 4; add.s64 %d1, %d1, %a; st.global.u32 [%d1], %r1;"""
    out = np.zeros(64, np.uint32)
    ptx.run(program("a", body), 1, 64, [out])
    assert out.tolist() == [0xFFFFFFC0] * 32 + [0xFFFFFFFF] * 32


def test_mma_is_the_matrix_product():
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=shape).astype(np.float32) for shape in ((16, 8), (8, 8), (16, 8)))
    group, member = np.divmod(np.arange(32), 4)  # the layout of the PTX manual
    fragments = [np.stack([a[group, member], a[group + 8, member], a[group, member + 4], a[group + 8, member + 4]], 1),
                 np.stack([b[member, group], b[member + 4, group]], 1),
                 np.stack([c[group + 8 * (i // 2), 2 * member + i % 2] for i in range(4)], 1)]
    flat = [np.ascontiguousarray(f).reshape(-1) for f in fragments]
    ptx.run(program("abc", """
        mul.wide.u32 %d1, %r0, 16; mul.wide.u32 %d2, %r0, 8;
        add.s64 %d3, %a, %d1; add.s64 %d4, %b, %d2; add.s64 %d5, %c, %d1;
        ld.global.v4.b32 {%r1, %r2, %r3, %r4}, [%d3]; ld.global.nc.v2.b32 {%r5, %r6}, [%d4];
        ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%d5];
        mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%f5, %f6, %f7, %f8}, {%r1, %r2, %r3, %r4}, {%r5, %r6},
            {%f1, %f2, %f3, %f4};
        st.global.v4.f32 [%d5], {%f5, %f6, %f7, %f8};"""), 1, 32, flat)
    got, kept = np.empty((16, 8)), lambda m: (m.view(np.uint32) & 0xFFFFE000).view(np.float32).astype(float)
    for i in range(4):
        got[group + 8 * (i // 2), 2 * member + i % 2] = flat[2].reshape(32, 4)[:, i]
    np.testing.assert_allclose(got, kept(a) @ kept(b) + c, rtol=1e-6, atol=1e-6)
    assert not np.allclose(got, a.astype(float) @ b + c, rtol=1e-6, atol=1e-6)


def test_ldmatrix_hands_out_rows():
    body = """mov.u32 %r1, rows; shl.b32 %r2, %r0, 4; add.s32 %r1, %r1, %r2; mul.wide.u32 %d1, %r0, 16;
              add.s64 %d2, %a, %d1; ld.global.v4.b32 {%r3, %r4, %r5, %r6}, [%d2];
              st.shared.v4.b32 [%r1], {%r3, %r4, %r5, %r6}; bar.sync 0;
              ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r3, %r4, %r5, %r6}, [%r1];
              st.global.v4.b32 [%d2], {%r3, %r4, %r5, %r6};"""
    words = np.arange(128, dtype=np.int32)  # 32 rows of four words: four matrices of eight rows
    out = words.copy()
    ptx.run(program("a", body, ".shared .align 16 .b8 rows[512];"), 1, 32, [out])
    t = np.arange(32)
    expected = [words.reshape(4, 8, 4)[i, t // 4, t % 4] for i in range(4)]
    np.testing.assert_array_equal(out.reshape(32, 4).T, expected)


COPY = """mul.wide.u32 %d1, %r0, 16; add.s64 %d2, %a, %d1; cvt.u32.u64 %r1, %d1; mov.u32 %r2, there;
          add.s32 %r3, %r2, %r1; and.b32 %r4, %r0, 3; shl.b32 %r4, %r4, 2;
          cp.async.cg.shared.global [%r3], [%d2], 16, %r4; cp.async.commit_group;
          {} xor.b32 %r5, %r1, 16; add.s32 %r5, %r5, %r2; ld.shared.v4.f32 {{%f1, %f2, %f3, %f4}}, [%r5];
          add.s64 %d3, %b, %d1; st.global.v4.f32 [%d3], {{%f1, %f2, %f3, %f4}};"""


def copied(between):
    """Each thread copies 0, 4, 8 or 12 bytes and zeros, and reads what its neighbour copied."""
    x, out = np.arange(1, 129, dtype=np.float32), np.zeros(128, np.float32)
    ptx.run(program("ab", COPY.format(between), ".shared .align 16 .b8 there[512];"), 1, 32, [x, out])
    return x.reshape(32, 4), out.reshape(32, 4)


@pytest.mark.parametrize("wait", ["cp.async.wait_group 0;", "cp.async.wait_all;"])
def test_cp_async_fills_with_zeros(wait):
    x, out = copied(f"{wait} bar.sync 0;")
    kept = np.where(np.arange(4) < np.arange(32)[:, None] % 4, x, 0)
    np.testing.assert_array_equal(out, kept.reshape(16, 2, 4)[:, ::-1].reshape(32, 4))


@pytest.mark.parametrize(("between", "match"), [
    ("cp.async.wait_group 0;", "writes it: no barrier"), ("bar.sync 0;", "has not waited"),
    ("cp.async.wait_group 1; bar.sync 0;", "has not waited"), ("", "has not waited"),
    ("bar.sync 0; cp.async.wait_group 0;", "writes it: no barrier"),
])
def test_reading_a_copy_too_early_is_a_race(between, match):
    with pytest.raises(ptx.RaceError, match=match):
        copied(between)


# What a launch would cost.


def test_sectors_and_instructions_are_counted():
    def kernel(x, y, step):
        i = cuda.grid(1)
        y[i] = x[i * step]

    wide, counts = np.arange(512, dtype=np.float32), {}
    for step in (1, 2, 8):
        counts[step] = ptx.Counters()
        ptx.launch(kernel, 1, 64, (wide, Y, step), counters=counts[step])
    assert [c.requests for c in counts.values()] == [4, 4, 4]  # two warps load and store
    assert [c.sectors for c in counts.values()] == [2 * (4 + 4), 2 * (8 + 4), 2 * (32 + 4)]
    assert counts[1].instructions["global load"] == counts[1].instructions["global store"] == 2


@pytest.mark.parametrize(("step", "conflicts"), [(0, 0), (1, 0), (2, 1), (8, 7), (31, 0), (32, 31), (33, 0)])
def test_bank_conflicts_are_counted(step, conflicts):
    body = f"""mul.lo.s32 %r1, %r0, {4 * step}; mov.u32 %r2, there; add.s32 %r2, %r2, %r1; ld.shared.f32 %f1, [%r2];
               st.global.f32 [%a], %f1;"""
    counters = ptx.Counters()
    with pytest.raises(ptx.RaceError):  # all threads write one item: the load has been counted by then
        ptx.run(program("a", body, ".shared .align 16 .b8 there[5000];"), 1, 32, [Y.copy()], counters=counters)
    assert counters.conflicts == conflicts


def test_wide_accesses_to_shared_memory_take_turns_by_quarters():
    body = """shl.b32 %r1, %r0, 4; mov.u32 %r2, there; add.s32 %r2, %r2, %r1;
              st.shared.v4.f32 [%r2], {%f1, %f1, %f1, %f1};"""
    counters = ptx.Counters()
    ptx.run(program("a", body, ".shared .align 16 .b8 there[512];"), 1, 32, [Y.copy()], counters=counters)
    assert (counters.turns, counters.conflicts) == (4, 0)


# What a card refuses, and what fits it.


@pytest.mark.parametrize(("grid", "block", "match"), [
    ((2**31, 1), 1, r"a grid's x must be 1..2,147,483,647. Received: \(2147483648, 1, 1\)"),
    ((1, 65_536), 1, r"a grid's y must be 1..65,535"), ((1, 1, 65_536), 1, r"a grid's z must be 1..65,535"),
    ((0, 1), 1, r"a grid's x must be 1.."), (1, 1025, r"a block's x must be 1..1,024"),
    (1, (1, 1, 65), r"a block's z must be 1..64"),
    (1, (64, 32), r"a block has at most 1,024 threads. Received: \(64, 32, 1\), which is 2,048"),
    (1, 65, r"compiled for blocks of at most 64 threads"),
])
def test_a_launch_of_too_many_is_refused(grid, block, match):
    directives = ".maxntid 32, 2, 1" if block == 65 else ""
    small = ptx.Program(f".version 8.0\n.target sm_80\n.visible .entry kernel() {directives} {{ ret; }}")
    with pytest.raises(ptx.LimitError, match=match):
        ptx.run(small, grid, block, ())


def test_more_shared_memory_than_a_block_has_is_refused():
    body = ".shared .align 4 .b8 there[49000];"
    ptx.run(program("a", "", body), 1, 1, [Y.copy()], dynamic=152)
    with pytest.raises(ptx.LimitError, match=r"at most 49,152 bytes of shared memory. Declared: 49,000; .* 153 more"):
        ptx.run(program("a", "", body), 1, 1, [Y.copy()], dynamic=153)


def test_more_parameters_than_a_launch_has_are_refused():
    names = [f"a{i}" for i in range(73)]  # seven of eight bytes each
    ptx.run(program(names, ""), 1, 1, [Y.copy() for _ in names])
    with pytest.raises(ptx.LimitError, match=r"at most 4,096 bytes. These take 4,144"):
        ptx.run(program([*names, "b"], ""), 1, 1, [Y.copy() for _ in range(74)])


def test_a_block_of_more_registers_than_there_are_is_refused():
    """Eighty sums at once keep eighty registers busy: too many for 1,024 threads, and for nothing less."""
    sums = range(1, 81)
    body = "".join(f".reg .f32 %s{i}; ld.global.f32 %s{i}, [%a + {4 * i}];" for i in sums) + "bar.sync 0;" + "".join(
        f"add.f32 %f1, %f1, %s{i}; mul.f32 %s{i}, %s{i}, %f1;" for i in sums) + "".join(
        f"st.global.f32 [%a + {4 * i}], %s{i};" for i in sums)
    busy = program("a", f"mov.f32 %f1, 0f00000000; setp.ne.u32 %p1, %r0, 0; @%p1 bra END; {body} END:")
    wide = np.ones(100, np.float32)
    with pytest.raises(ptx.LimitError, match=r"at most 65,536 registers. 1,024 threads with \d+ each .* smaller"):
        ptx.run(busy, 1, 1024, [wide])


@pytest.mark.parametrize(("registers", "threads", "shared", "capability", "blocks"), [  # by the occupancy calculator
    (32, 256, 0, (8, 0), 8), (33, 256, 0, (8, 0), 6), (64, 256, 0, (8, 0), 4), (255, 256, 0, (8, 0), 1),
    (128, 256, 0, (8, 0), 2), (168, 384, 0, (9, 0), 1), (16, 32, 0, (8, 0), 32), (16, 32, 0, (7, 5), 16),
    (40, 128, 0, (8, 0), 12), (32, 256, 49152, (8, 0), 3), (32, 256, 49152, (9, 0), 4), (32, 256, 49152, (7, 5), 1),
    (32, 1024, 0, (8, 6), 1),
])
def test_blocks_of_a_multiprocessor(registers, threads, shared, capability, blocks):
    assert ptx.occupancy(registers, threads, shared, capability) == blocks


def test_counters_tell_the_occupancy():
    from autoconv.kernels.cuda import pointwise

    x, counters = np.zeros(256, np.float32), ptx.Counters()
    ptx.launch(pointwise.KERNELS["relu"], 1, 256, (x.size, 0, x, x.copy()), counters=counters)
    assert counters.occupancy() == 8  # as many as threads allow: 2,048
    ptx.run(program("a", "", ".shared .align 4 .b8 there[49000];"), 1, 32, [Y.copy()], counters=counters)
    assert counters.occupancy() == 3  # 164 KiB of shared memory


def test_a_cubin_says_what_the_assembler_says():
    from autoconv.kernels.cuda import assembly

    for name in ("outer.weight_gradient_exact_large", "arith.add_parts"):
        kernel = assembly.kernels()[name]
        found = ptx.compiled(kernel, kernel.types("float32"))
        made = assembly.assemble_ptx(found.text, (8, 0))
        (entry,) = ptx.cubin.kernels(made.cubin)
        assert (entry.registers, entry.local, entry.shared) == (made.registers, made.stack, found.extents["shared"])
        assert [offset for offset, _ in entry.parameters] == list(found.offsets.values())
        assert ptx.cubin.length(made.cubin) == len(made.cubin)
        assert ptx.cubin.capability(made.cubin) == (8, 0)
    with pytest.raises(ValueError, match="ELF"):
        ptx.cubin.kernels(b"no")


# Launches.


def test_blocks_have_up_to_three_axes_and_arguments_any_type():
    def kernel(flag, numbers, factor, x, y):
        i, j, k = cuda.grid(3)
        if flag:
            y[i, j, k] = x[k] * factor + numbers[1]

    out = np.zeros((4, 6, 4), np.float64)
    ptx.launch(kernel, (2, 3, 1), (2, 2, 4), (True, (5, 7), np.float32(0.5), X[:4].copy(), out))
    np.testing.assert_array_equal(out, np.broadcast_to(X[:4] * 0.5 + 7, out.shape))


def test_more_threads_than_run_at_once():
    def kernel(y):
        y[cuda.grid(1)] = cuda.blockIdx.x

    out = np.zeros(300 * 256, np.int64)
    ptx.launch(kernel, 300, 256, (out,))
    np.testing.assert_array_equal(out, np.arange(out.size) // 256)


def test_a_thread_s_own_array():
    def kernel(x, y):
        own = cuda.local.array(8, "float32")
        t = cuda.threadIdx.x
        for i in range(8):
            own[(i + t) % 8] = x[t] + i
        y[t] = own[(3 + t) % 8]

    out = Y.copy()
    ptx.launch(kernel, 1, 64, (X, out))
    np.testing.assert_array_equal(out, X + 3)


def test_threads_that_part_come_together():
    def kernel(x, y):
        t = cuda.threadIdx.x
        total = x.dtype.type(0)
        for i in range(t % 7):
            if i % 2:
                total += x[i]
            else:
                total -= x[i]
        y[t] = total

    out = Y.copy()
    ptx.launch(kernel, 1, 64, (X, out))
    assert out.tolist() == [math.fsum(-i if i % 2 == 0 else i for i in range(t % 7)) for t in range(64)]


def test_a_kernel_of_the_package_at_its_real_block_size():
    from autoconv.kernels.cuda import kernels, pointwise

    x = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    y, counters = np.zeros_like(x), ptx.Counters()
    fours = x.size // 4
    ptx.launch(pointwise.KERNELS["tanh"], 1, kernels.THREADS, (fours, fours, x, y), counters=counters)
    np.testing.assert_allclose(y, np.tanh(x), rtol=1e-6)
    assert counters.sectors == 2 * x.nbytes // 32


EDGES = [0, 1, 2, 3, 7, 255, 256, 46340, 65535, 2**30, 2**31 - 2, 2**31 - 1]


def test_whole_numbers_of_32_bits_are_right_up_to_their_ends():
    """What kernels compute places with: products, quotients by a multiplication, and whether 0 <= i < n."""
    from autoconv.kernels.cuda import gather
    from autoconv.kernels.cuda.ptx import global_index, in_range, times

    pairs = [(a, b) for a in (*EDGES, -1, -3, -(2**31)) for b in EDGES]
    pairs += [((2**31 - 1) // b * b - 1, b) for b in (3, 7, 14, 23, 255, 641)]  # below a multiple
    divisors = np.array([gather.divisor(b) for _, b in pairs], np.int64)
    a, b = (np.array(column, np.int64) for column in zip(*pairs))

    def kernel(count, a, b, divisors, product, quotient, inside):
        i = global_index()
        if i < count:
            product[i] = times(a[i], b[i])
            inside[i] = in_range(a[i], b[i])
            if a[i] >= 0 and b[i] > 0:
                quotient[i] = gather.divide(a[i], (divisors[i, 0], divisors[i, 1], divisors[i, 2]))

    product, quotient, inside = (np.zeros(a.size, np.int64) for _ in range(3))
    ptx.launch(kernel, 1, 256, (a.size, a, b, divisors, product, quotient, inside))
    fits = abs(a * b) < 2**31
    assert fits.sum() > a.size // 2
    np.testing.assert_array_equal(product[fits], (a * b)[fits])
    np.testing.assert_array_equal(inside, (a >= 0) & (a < b))
    divides = (a >= 0) & (b > 0)
    np.testing.assert_array_equal(quotient[divides], a[divides] // b[divides])


def test_a_device_counts_by_kernel():
    from autoconv.tensor import tensor

    from autoconv import functional as F

    with ptx.device.interpreted(counters := {}):
        x = tensor(X - 30, device="cuda")
        np.testing.assert_array_equal(F.relu(x).numpy(), np.maximum(X - 30, 0))
    assert counters["pointwise._relu"].launches == 1
    assert counters["pointwise._relu"].sectors == 2 * X.nbytes // 32
