"""`python -m bench.cubins` lists how many GPU registers each CUDA kernel uses. Needs the extra
`cuda`, but no GPU.
"""

from autoconv.kernels.cuda import assembly

COLUMNS = [(dtype, capability) for dtype, several in assembly.CAPABILITIES.items() for capability in several]


def main() -> None:
    """Prints a Markdown table of the registers per kernel. `+N` after a number means N bytes of
    stack, `!N` means N bytes of spilled registers.
    """
    print("| kernel |", " | ".join(f"{dtype} sm_{major}{minor}" for dtype, (major, minor) in COLUMNS), "|")
    print("|---|" + "---|" * len(COLUMNS))
    for name, kernel in sorted(assembly.kernels().items()):
        codes = {}
        for dtype in kernel.dtypes:
            served = assembly.find_capabilities(kernel, dtype)
            codes |= zip([(dtype, capability) for capability in served], assembly.assemble(kernel, dtype, *served))
        print(f"| `{name}` |", " | ".join(_cell(codes.get(column)) for column in COLUMNS), "|")


def _cell(code: assembly.MachineCode | None) -> str:
    if code is None:
        return ""
    return f"{code.registers}{f' +{code.stack}' * bool(code.stack)}{f' !{code.spills}' * bool(code.spills)}"


if __name__ == "__main__":
    main()
