"""Changes how Numba runs a parallel loop.

A loop with few iterations runs in the calling thread only. Distributing a loop to all threads, and
waiting for the last of them, takes a microsecond, and much longer if other programs are running.
Many kernels of a small net take less time than that.

In all other loops, a thread that has finished its own iterations takes over iterations of slower
threads. Numba would give each thread the same number of iterations, and all would wait for the
slowest: one that shares its processor with another program, or runs on a slower core.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from llvmlite import ir

CLAIMS = 8  # number of parts of a thread's iterations; each part runs in one thread
NEIGHBOURS = 8  # number of threads, including the thread itself, whose iterations a thread runs
LINE = 8  # number of integers in a cache line
WRAPPER, LAUNCH = "parallel.gufunc.wrapper", "numba_parallel_for"  # names in Numba's code


def change_loop(module: ir.Module, grain: int) -> None:
    """Changes a loop that Numba distributes over its threads. If the loop has at most `grain`
    iterations, all of them run in the calling thread. Otherwise, threads claim iterations.

    Numba wraps the loop in `module` in a call of launch(body, arguments, shape, ...), which makes
    each thread call body(arguments, shape, steps, data). shape[0] is the number of threads.
    arguments[0] contains the first and the last iteration of each thread. If there are fewer
    iterations than threads, the threads without iterations have (1, 0). The original wrapper also
    acquires Python's GIL briefly, which kernels do not need.
    """
    launch = module.globals.get(LAUNCH)
    if module.name != WRAPPER or launch is None:
        return
    wrapper = next(function for function in module.functions if function.blocks)
    call = next(i for block in wrapper.blocks for i in block.instructions if getattr(i, "callee", None) is launch)
    body, threads = call.args[0].operands[0], call.args[-1].callee
    wrapper.blocks.clear()
    number, (arguments, shape, *_) = call.args[-1].type, wrapper.args

    names = ("check", "serial", "parallel", "claimed", "divided")
    check, serial, parallel, claimed, divided = map(wrapper.append_basic_block, names)
    build = ir.IRBuilder(wrapper.append_basic_block("entry"))
    wrapper.blocks.insert(0, wrapper.blocks.pop())
    count, one = build.load(shape), number(1)
    build.cbranch(build.icmp_signed(">", count, one), check, serial)

    build.position_at_end(check)
    rounds = build.bitcast(build.load(arguments), number.as_pointer())
    if grain > 1:
        last = _load(build, rounds, build.sub(build.add(count, count), one))
        is_long = build.icmp_signed(">=", build.sub(last, build.load(rounds)), number(grain))
    else:
        start = _load(build, rounds, number(2))
        is_long = build.icmp_signed("<=", start, _load(build, rounds, number(3)))
    build.cbranch(is_long, parallel, serial)

    build.position_at_end(serial)
    build.call(body, wrapper.args)
    build.ret_void()

    build.position_at_end(parallel)  # more parts than threads if the user sets a chunk size
    most = build.call(threads, [])
    build.cbranch(build.icmp_signed("<=", count, most), claimed, divided)

    def launch_all(*values: ir.Value) -> None:
        pointers = [build.bitcast(value, call.args[0].type) for value in values]
        build.call(launch, [*pointers, *call.args[5:7], most])
        build.ret_void()

    build.position_at_end(claimed)
    claiming = _claiming(module, body, call.args[6].constant, call.args[5].constant)
    launch_all(claiming, *wrapper.args[:3], _shared_state(build, count, rounds))
    build.position_at_end(divided)
    launch_all(body, *wrapper.args)


def _shared_state(build: ir.IRBuilder, count: ir.Value, rounds: ir.Value) -> ir.Value:
    """Returns an array that all threads share: the number of threads, the address of their
    iterations, the number of neighbours, and for each thread a counter: its first iteration that is
    not claimed.
    """
    number = count.type
    state = build.alloca(number, build.mul(build.add(count, number(1)), number(LINE)))
    state.align = LINE * number.width // 8
    is_small = build.icmp_signed("<", count, number(NEIGHBOURS))
    neighbours = build.select(is_small, count, number(NEIGHBOURS))
    for index, value in enumerate((count, build.ptrtoint(rounds, number), neighbours)):
        build.store(value, build.gep(state, [number(index)]))
    with _counting(build, count) as thread:
        start = _load(build, rounds, build.mul(thread, number(2)))
        build.store(start, _counter(build, state, thread))
    return state


def _claiming(module: ir.Module, body: ir.Function, arrays: int, dimensions: int) -> ir.Function:
    """Returns a function that each thread calls instead of `body`. It claims parts of the thread's
    own iterations, and then of its neighbours', until none is left, and calls `body` for each.
    Its last argument is the threads' shared state.
    """
    claiming = ir.Function(module, body.function_type, "claim_iterations")
    claiming.linkage = "internal"
    arguments, shape, steps, data = claiming.args
    number = shape.type.pointee
    build = ir.IRBuilder(claiming.append_basic_block("entry"))
    state = build.bitcast(data, shape.type)
    count = build.load(state)
    address = _load(build, state, number(1))
    rounds = build.inttoptr(address, shape.type)
    bytes_before = build.sub(build.ptrtoint(build.load(arguments), number), address)
    own = build.sdiv(bytes_before, number(2 * number.width // 8))
    part = build.alloca(number, 2)
    part_arguments = _copy(build, arguments, arrays)
    part_shape = _copy(build, shape, dimensions + 1)
    build.store(build.bitcast(part, arguments.type.pointee), part_arguments)
    build.store(number(1), part_shape)
    # some threading layers call this function once for the rows of several threads
    reach = build.sub(build.add(_load(build, state, number(2)), build.load(shape)), number(1))
    reach = build.select(build.icmp_signed("<", reach, count), reach, count)
    with _counting(build, reach) as distance:
        thread = build.srem(build.add(own, distance), count)
        pair = build.gep(rounds, [build.mul(thread, number(2))])
        with _claims(build, _counter(build, state, thread), pair, part):
            build.call(body, [part_arguments, part_shape, steps, data])
    build.ret_void()
    return claiming


@contextmanager
def _claims(build: ir.IRBuilder, counter: ir.Value, pair: ir.Value,
            part: ir.Value) -> Iterator[None]:
    """Builds a loop that claims parts of the iterations from the first to the last of `pair`, and
    stores the first and the last iteration of each in `part`, for the code of the `with` block.
    """
    last = _load(build, pair, ir.IntType(64)(1))
    length = build.sub(build.add(last, last.type(CLAIMS)), build.load(pair))
    size = build.sdiv(length, last.type(CLAIMS))
    claim, run, done = (build.append_basic_block(name) for name in ("claim", "run", "done"))
    build.branch(claim)
    build.position_at_end(claim)
    first = build.atomic_rmw("add", counter, size, "monotonic")
    build.cbranch(build.icmp_signed("<=", first, last), run, done)
    build.position_at_end(run)
    end = build.sub(build.add(first, size), last.type(1))
    build.store(first, part)
    end = build.select(build.icmp_signed("<", end, last), end, last)
    build.store(end, build.gep(part, [last.type(1)]))
    yield
    build.branch(claim)
    build.position_at_end(done)


def _load(build: ir.IRBuilder, array: ir.Value, index: ir.Value) -> ir.Value:
    return build.load(build.gep(array, [index]))


def _copy(build: ir.IRBuilder, array: ir.Value, length: int) -> ir.Value:
    """Returns a copy of an array on the stack."""
    copied = build.alloca(array.type.pointee, length)
    for index in map(ir.IntType(64), range(length)):
        build.store(_load(build, array, index), build.gep(copied, [index]))
    return copied


def _counter(build: ir.IRBuilder, state: ir.Value, thread: ir.Value) -> ir.Value:
    """Returns the address of a thread's counter, which fills a cache line of its own."""
    line = build.add(thread, thread.type(1))
    return build.gep(state, [build.mul(line, thread.type(LINE))])


@contextmanager
def _counting(build: ir.IRBuilder, count: ir.Value) -> Iterator[ir.Value]:
    """Builds a loop over 0 to `count` - 1, which contains the code built in the `with` block."""
    before = build.block
    check, inside, after = (build.append_basic_block(name) for name in ("check", "inside", "after"))
    build.branch(check)
    build.position_at_end(check)
    index = build.phi(count.type)
    index.add_incoming(count.type(0), before)
    build.cbranch(build.icmp_signed("<", index, count), inside, after)
    build.position_at_end(inside)
    yield index
    index.add_incoming(build.add(index, count.type(1)), build.block)
    build.branch(check)
    build.position_at_end(after)
