"""What can be wrong with a kernel, as exceptions that name the instruction and the thread."""


class PtxError(Exception):
    """A kernel does what it must not."""


class UnsupportedError(PtxError):
    """An instruction that this machine does not know, or that the kernels of this house must not use."""


class AddressError(PtxError):
    """An address outside of what the kernel was given, or out of step with the width of the access."""


class LimitError(PtxError):
    """A launch that a card refuses: of too many threads, or with too much memory, registers or parameters."""


class RaceError(PtxError):
    """Two threads touch the same memory, one of them writing, and nothing puts them in order."""


class DivergenceError(PtxError):
    """Threads that must run an instruction together do not: a barrier, or one that works on a whole warp."""
