"""Tests whether a GPU works at all: compares each tile of the matrix products with NumPy, and runs a
training step as a CUDA graph.

`bench.gpu_check` runs each check in a separate process, within a minute.
"""

import time
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from unittest import mock

import numpy as np

from autoconv.arguments.shapes import Window
from autoconv.kernels import device, precision, trace
from autoconv.kernels.cuda import device as device_cuda
from autoconv.kernels.cuda import tiles

from . import reference, workloads
from .equal_work import TOLERANCE_TF32
from .gpu_tests import LET_PASS, LET_PASS_SAYING

# packages whose versions are reported, in addition to those that compile and run kernels
PACKAGES = ("numpy", "torch", "jax", "pytest", "pytest-xdist", "hypothesis")
IMAGES, SIZE, CHANNELS, FILTERS = 3, (11, 7), 12, 20  # channels and filters are multiples of four, but not of a tile
# largest integer in the inputs, small enough that TF32 and float32 represent all products and sums
# exactly
LARGEST = 4
BATCHES = 3  # in the first batch the step is recorded, then launched kernel by kernel, then captured
REPLAYS = 500  # fewer than the launches that a stream can hold, about a thousand


def versions() -> dict[str, str | None]:
    """Returns the versions of all packages involved, None for a missing package, and the location of
    NVVM. Needs no GPU.
    """
    return device_cuda.versions() | {name: _version(name) for name in PACKAGES}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def run(check: str, **options: Any) -> dict[str, Any]:
    """Runs the check "tiles" or "graph". In the result, "wrong" is a list with a sentence for each
    problem. An exception counts as a problem.
    """
    try:
        return {"tiles": each_tile, "graph": graph}[check](**options)
    except Exception as error:
        return {"wrong": [f"{type(error).__name__}: {error}"], "traceback": traceback.format_exc()}


def tile_names() -> list[str]:
    """Returns the names of the tiles of all products."""
    return list(dict.fromkeys(tile.name for several in vars(tiles).values() if isinstance(several, tiles.TileChoices)
                              for tile in (*several.tensor, *several.exact)))


def each_tile(names: Sequence[str] = (), precisions: Sequence[str] = ("tf32", "highest")) -> dict[str, Any]:
    """Runs a convolution and its gradients with each tile, with and without tensor cores. All
    numbers are small integers, so the results must equal NumPy's exactly. All kernels are compiled
    in parallel first.
    """
    target = device.get("cuda")
    pairs = [(mode, name) for mode in precisions for name in names or tile_names()]
    found: dict[str, Any] = {"tiles": [], "wrong": []}
    target.prepare(find_kernels(target, pairs), lambda done, total: None)
    expected = _compute_reference(*_numbers())
    for mode, name in pairs:
        kernels, results = _convolution(target, mode, name)
        wrong = [f"{key} by tile {name}, {mode}: {_difference(array, expected[key])}"
                 for key, array in results.items() if not np.array_equal(array, expected[key])]
        found["tiles"].append({"tile": name, "precision": mode, "kernels": kernels, "right": not wrong})
        found["wrong"] += wrong
    return found


def find_kernels(target: Any, pairs: list[tuple[str, str]]) -> list[tuple[Any, np.dtype]]:
    """Returns the kernels that these pairs (precision, tile) launch, each with its dtype."""
    with (dry := trace.DryRun()).record():
        for mode, name in pairs:
            _convolution(target, mode, name)
    return list(dry.kernels)


def _convolution(target: Any, mode: str, name: str) -> tuple[list[str], dict[str, np.ndarray]]:
    """Runs the convolution with the tile `name`, even if it does not suit the shapes. If
    a matrix product has no tile of this name, the tile "single" is used. Returns the names of the
    kernels that ran, and their results.
    """
    def choose(several: tuple[tiles.Tile, ...], *_: Any) -> int:
        names = [tile.name for tile in several]
        return names.index(name if name in names else "single")

    conv, window, before = target.kernels("conv"), Window(3, 3), precision.get_precision()
    x, w, b, dy = map(target.asarray, _numbers())
    y, dx, dw, db = (target.empty(a.shape, np.float32) for a in (dy, x, w, b))
    dry = isinstance(trace.current(), trace.DryRun)
    precision.set_precision(mode)
    try:
        with mock.patch.object(tiles, "choose", choose), (
                nullcontext() if dry else target.trace().record("products")) as section:
            _products(conv, window, x, w, b, dy, y, dx, dw, db)
    finally:
        precision.set_precision(before)
    if dry:
        return [], {}
    launched = [launch.kernel.name for launch, _ in section.calls]
    return launched, {key: target.numpy(a) for key, a in zip(("y", "dx", "dw", "db"), (y, dx, dw, db))}


def _products(conv: Any, window: Window, x: Any, w: Any, b: Any, dy: Any, y: Any, dx: Any, dw: Any, db: Any) -> None:
    conv.conv2d(x, w, b, y, window)
    conv.conv2d_input_grad(dy, w, dx, window)
    conv.conv2d_weight_grad(x, dy, dw, db, window)


def _numbers() -> tuple[np.ndarray, ...]:
    """Returns the images, filters, bias and output gradient of the test convolution."""
    random, (high, wide) = np.random.default_rng(0), SIZE
    shapes = ((IMAGES, high + 2, wide + 2, CHANNELS), (3, 3, CHANNELS, FILTERS), (FILTERS,),
              (IMAGES, high, wide, FILTERS))
    return tuple(random.integers(-LARGEST, LARGEST + 1, shape).astype(np.float32) for shape in shapes)


def _compute_reference(x: np.ndarray, w: np.ndarray, b: np.ndarray, dy: np.ndarray) -> dict[str, np.ndarray]:
    """Computes the results of `_convolution` with NumPy."""
    y, dx, dw = np.zeros_like(dy) + b, np.zeros_like(x), np.zeros_like(w)
    for i, j in np.ndindex(3, 3):
        pixels = np.s_[:, i : i + dy.shape[1], j : j + dy.shape[2]]
        y += x[pixels] @ w[i, j]
        dx[pixels] += dy @ w[i, j].T
        dw[i, j] = np.tensordot(x[pixels], dy, ((0, 1, 2), (0, 1, 2)))
    return {"y": y, "dx": dx, "dw": dw, "db": dy.sum(axis=(0, 1, 2))}


def _difference(result: np.ndarray, exact: np.ndarray) -> str:
    wrong = result != exact
    first = tuple(map(int, np.argwhere(wrong)[0]))
    return (f"{wrong.sum()} of {wrong.size} items are wrong, the first at {first}: {result[first]:g} instead of "
            f"{exact[first]:g}")


def graph(workload: str = "lecture", batch_size: int = 64, replays: int = REPLAYS) -> dict[str, Any]:
    """Runs `fit` on three batches, so that the step becomes a CUDA graph, and measures the time of a
    replay of the graph on the GPU and on the host. Warnings are errors, except deprecation warnings
    of packages.
    """
    from .peers.autoconv import OnGpu

    net = workloads.WORKLOADS[workload]
    weights, (images, labels) = workloads.weights(net), workloads.data(net, BATCHES * batch_size)
    with warnings.catch_warnings(), _graphs() as captured:
        warnings.simplefilter("error")
        for category in LET_PASS:
            warnings.simplefilter("default", category)
        warnings.filterwarnings("default", LET_PASS_SAYING)
        peer = OnGpu(net, 1, "train", workloads.SEED)
        peer.load(weights)
        loss = peer.loss(images[:batch_size], labels[:batch_size])
        peer.hold(images, labels, batch_size)
        peer.train(BATCHES)
        own = peer.weights()
        found = {"loss": loss, "expected_loss": reference.loss(net, weights, images[:batch_size], labels[:batch_size]),
                 "unchanged": sum(map(np.array_equal, weights, own)),
                 "finite": all(np.isfinite(a).all() for a in own),
                 "recording": peer.net.recording_report(), "graph": peer.net.graph_report().get("train")}
        if captured:
            found |= _time_replays(captured[-1], replays)
    return found | {"wrong": _list_problems(found)}


@contextmanager
def _graphs() -> Iterator[list[Any]]:
    """Collects the graphs that are captured inside the `with` block."""
    gpu, graphs = device.get("cuda").module("runtime").Gpu, []
    capture = gpu.capture

    def keep_graph(self: Any, *arguments: Any) -> Any:
        graphs.append(capture(self, *arguments))
        return graphs[-1]

    with mock.patch.object(gpu, "capture", keep_graph):
        yield graphs


def _list_problems(result: dict[str, Any]) -> list[str]:
    """Returns a sentence for each problem in the result of the check "graph"."""
    wrong = []
    if not abs(result["loss"] / result["expected_loss"] - 1) <= TOLERANCE_TF32:
        wrong.append(f"The loss of the first batch is {result['loss']:.6f} instead of {result['expected_loss']:.6f}.")
    if result["unchanged"] or not result["finite"]:
        wrong.append(f"After {BATCHES} steps {result['unchanged']} arrays of weights are as they were"
                     f"{'' if result['finite'] else ', and some numbers are not finite'}.")
    wrong += [f"{kind}, {phase} was not recorded: {reason}." for kind, phases in result["recording"].items()
              for phase, reason in phases.items() if reason is not None]
    if result["graph"] is None:
        wrong.append("No CUDA graph was captured.")
    return wrong


def _time_replays(replay: Any, times: int) -> dict[str, Any]:
    """Returns the microseconds per replay in three ways: by the GPU's events, the host's time to
    launch it, and the host's time until all replays are complete.
    """
    target = device.get("cuda")
    target.synchronize()
    start = time.perf_counter()
    for _ in range(times):
        replay()
    launched = time.perf_counter() - start
    target.synchronize()
    done = time.perf_counter() - start
    busy = target.measure_time(replay, times)
    return {"replays": times, "gpu_us": 1e6 * busy, "host_us": 1e6 * launched / times, "wall_us": 1e6 * done / times}
