"""The exceptions for errors in a kernel. Their messages name the instruction and the thread."""


class PtxError(Exception):
    """The base class of all errors in a kernel."""


class UnsupportedError(PtxError):
    """An instruction that the emulator does not support, or that autoconv's kernels must not use."""


class AddressError(PtxError):
    """An access outside the kernel's arguments, or at an address that is not a multiple of its width."""


class LimitError(PtxError):
    """A launch that a GPU refuses: too many threads, or too much memory, too many registers or parameters."""


class RaceError(PtxError):
    """Two threads access the same memory, at least one of them writes, and no barrier orders the accesses."""


class DivergenceError(PtxError):
    """Not all required threads reach an instruction: a barrier, or an instruction of a whole warp."""
