"""Copies directly from one GPU to another, bypassing host memory, if the driver supports it."""

from functools import cache
from typing import Any

from cuda.bindings import driver as bindings  # type: ignore[import-not-found,unused-ignore]

from . import driver
from .failures import check_result
from .internals import cuda
from .runtime import Gpu, pointer

_REFUSED = bindings.CUresult.CUDA_ERROR_PEER_ACCESS_UNSUPPORTED, bindings.CUresult.CUDA_ERROR_TOO_MANY_PEERS
_ACTION = "copy from one GPU to another"


def copy(source: Gpu, native: Any, target: Gpu, out: Any) -> bool:
    """Copies the flat array `native` on GPU `source` to the flat array `out` on GPU `target`, which
    has the same size in bytes. Returns False if the driver cannot copy between these GPUs.

    The copy is queued on the stream of `source`, so the memory that it reads is reused only
    afterwards. The copy waits for all earlier launches on `target`, which may still use the memory
    of `out`; later launches on `target` wait for the copy. The host does not wait.
    """
    if not _enable_access(source, target):
        return False
    _wait(source, target)
    with source.failures:
        source.enter()
        check_result(bindings.cuMemcpyPeerAsync(pointer(out), _context(target), pointer(native), _context(source),
                                           native.size * native.dtype.itemsize, int(source.stream.handle)), _ACTION)
    try:
        _wait(target, source)
    except BaseException:
        source.synchronize()  # the caller discards `out`, whose memory is then reused
        raise
    return True


@cache
def _enable_access(source: Gpu, target: Gpu) -> bool:
    """Enables direct access from `source` to the memory of `target`. Returns whether that is
    possible.
    """
    if not driver.can_access(source.index, target.index):
        return False
    context = _context(target)
    with source.failures:
        source.enter()
        answer = bindings.cuCtxEnablePeerAccess(context, 0)
        if answer[0] != bindings.CUresult.CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED and answer[0] not in _REFUSED:
            check_result(answer, _ACTION)
    return answer[0] not in _REFUSED


@cache
def _context(gpu: Gpu) -> Any:
    gpu.enter()
    (context,) = check_result(bindings.cuCtxGetCurrent(), _ACTION)
    return context


@cache
def _event(gpu: Gpu) -> Any:
    """Returns this GPU's event, which is recorded repeatedly. Waiting for it means waiting for its
    most recent recording.
    """
    return cuda.event(timing=False)


def _wait(waiter: Gpu, source: Gpu) -> None:
    """Makes all further launches on `waiter` wait for the earlier launches on `source`."""
    with source.failures:
        source.enter()
        event = _event(source)
        event.record(source.stream)
    with waiter.failures:
        waiter.enter()
        event.wait(waiter.stream)
