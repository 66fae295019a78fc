"""Runs a parallel loop with few iterations in the calling thread.

Distributing a loop to all threads, and waiting for the last of them, costs a microsecond, and much
more if other programs are running. Many kernels of a small net do less work than that.
"""

from llvmlite import ir

WRAPPER, LAUNCH = "parallel.gufunc.wrapper", "numba_parallel_for"  # Numba's names


def keep_few_rounds(module: ir.Module, few: int) -> None:
    """Changes a loop that Numba distributes to its threads so that it first checks whether it has
    more than `few` iterations.

    The module is the one in which Numba wraps the loop: launch(body, arguments, shape, ...), which
    makes each thread call body(arguments, shape, steps, data). shape[0] is the number of threads.
    arguments[0] contains the first and the last iteration of each thread. If there are fewer
    iterations than threads, the last of these pairs are (1, 0). The original wrapper also takes
    Python's lock for a moment, unnecessarily: kernels run without it.
    """
    launch = module.globals.get(LAUNCH)
    if module.name != WRAPPER or launch is None:
        return
    wrapper = next(function for function in module.functions if function.blocks)
    call = next(i for block in wrapper.blocks for i in block.instructions if getattr(i, "callee", None) is launch)
    body, threads = call.args[0].operands[0], call.args[-1].callee
    wrapper.blocks.clear()
    number, (arguments, shape, *_) = call.args[-1].type, wrapper.args

    ask, here, everywhere = (wrapper.append_basic_block(name) for name in ("ask", "here", "everywhere"))
    build = ir.IRBuilder(wrapper.append_basic_block("entry"))
    wrapper.blocks.insert(0, wrapper.blocks.pop())
    count, one = build.load(shape), number(1)
    build.cbranch(build.icmp_signed(">", count, one), ask, here)

    build.position_at_end(ask)
    rounds = build.bitcast(build.load(arguments), number.as_pointer())

    def read(place: ir.Value) -> ir.Value:
        return build.load(build.gep(rounds, [place]))

    if few > 1:
        last = read(build.sub(build.add(count, count), one))
        many = build.icmp_signed(">=", build.sub(last, read(number(0))), number(few))
    else:
        many = build.icmp_signed("<=", read(number(2)), read(number(3)))
    build.cbranch(many, everywhere, here)

    build.position_at_end(here)
    build.call(body, wrapper.args)
    build.ret_void()

    build.position_at_end(everywhere)
    given = [build.bitcast(value, call.args[0].type) for value in (body, *wrapper.args)]
    build.call(launch, [*given, *call.args[5:7], build.call(threads, [])])
    build.ret_void()
