"""Copies from the memory of one GPU to that of another, without the host's, where the driver can."""

from functools import cache
from typing import Any

from cuda.bindings import driver as bindings  # type: ignore[import-not-found,unused-ignore]

from . import driver
from .failures import checked
from .internals import cuda
from .runtime import Gpu, pointer

_REFUSED = bindings.CUresult.CUDA_ERROR_PEER_ACCESS_UNSUPPORTED, bindings.CUresult.CUDA_ERROR_TOO_MANY_PEERS
_DOING = "copy from one GPU to another"


def copy(source: Gpu, native: Any, target: Gpu, out: Any) -> bool:
    """out, on the GPU `target`, = `native`, on the GPU `source`: flat arrays of as many bytes.
    False where the driver cannot copy between them.

    The copy goes to the stream of `source`, so the memory it reads is used again only behind it. It
    waits for all that was launched on `target` so far, which may still use the memory that `out`
    got; what is launched there from now on waits for it. The host waits for nothing.
    """
    if not _reaches(source, target):
        return False
    _wait(source, target)
    with source.failures:
        source.enter()
        checked(bindings.cuMemcpyPeerAsync(pointer(out), _context(target), pointer(native), _context(source),
                                           native.size * native.dtype.itemsize, int(source.stream.handle)), _DOING)
    try:
        _wait(target, source)
    except BaseException:
        source.synchronize()  # `out` is nobody's now, so its memory is used again
        raise
    return True


@cache
def _reaches(source: Gpu, target: Gpu) -> bool:
    """Whether the first one writes to the other's memory by itself; from then on it may."""
    if not driver.reaches(source.index, target.index):
        return False
    context = _context(target)
    with source.failures:
        source.enter()
        answer = bindings.cuCtxEnablePeerAccess(context, 0)
        if answer[0] != bindings.CUresult.CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED and answer[0] not in _REFUSED:
            checked(answer, _DOING)
    return answer[0] not in _REFUSED


@cache
def _context(gpu: Gpu) -> Any:
    gpu.enter()
    (context,) = checked(bindings.cuCtxGetCurrent(), _DOING)
    return context


@cache
def _event(gpu: Gpu) -> Any:
    """An event that is recorded again and again: who waits for it waits for what it had recorded at that time."""
    return cuda.event(timing=False)


def _wait(waiting: Gpu, awaited: Gpu) -> None:
    """What is launched on one GPU from now on waits for what was launched on another."""
    with awaited.failures:
        awaited.enter()
        event = _event(awaited)
        event.record(awaited.stream)
    with waiting.failures:
        waiting.enter()
        event.wait(waiting.stream)
