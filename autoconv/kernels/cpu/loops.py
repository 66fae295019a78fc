"""Runs a parallel loop with few iterations in the calling thread only.

Distributing a loop to all threads, and waiting for the last of them, takes a microsecond, and much
longer if other programs are running. Many kernels of a small net take less time than that.
"""

from llvmlite import ir

WRAPPER, LAUNCH = "parallel.gufunc.wrapper", "numba_parallel_for"  # names in Numba's code


def add_serial_branch(module: ir.Module, grain: int) -> None:
    """Inserts a branch before a loop that Numba distributes over its threads. If the loop has at
    most `grain` iterations, all of them run in the calling thread.

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

    check, serial, parallel = (wrapper.append_basic_block(name) for name in ("check", "serial", "parallel"))
    build = ir.IRBuilder(wrapper.append_basic_block("entry"))
    wrapper.blocks.insert(0, wrapper.blocks.pop())
    count, one = build.load(shape), number(1)
    build.cbranch(build.icmp_signed(">", count, one), check, serial)

    build.position_at_end(check)
    rounds = build.bitcast(build.load(arguments), number.as_pointer())

    def load_element(index: ir.Value) -> ir.Value:
        return build.load(build.gep(rounds, [index]))

    if grain > 1:
        last = load_element(build.sub(build.add(count, count), one))
        is_long = build.icmp_signed(">=", build.sub(last, load_element(number(0))), number(grain))
    else:
        is_long = build.icmp_signed("<=", load_element(number(2)), load_element(number(3)))
    build.cbranch(is_long, parallel, serial)

    build.position_at_end(serial)
    build.call(body, wrapper.args)
    build.ret_void()

    build.position_at_end(parallel)
    pointers = [build.bitcast(value, call.args[0].type) for value in (body, *wrapper.args)]
    build.call(launch, [*pointers, *call.args[5:7], build.call(threads, [])])
    build.ret_void()
