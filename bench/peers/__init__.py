"""Lists the peers. Each peer is one framework in one configuration; all have the interface in base.py."""

from importlib import import_module
from importlib.util import find_spec
from shutil import which
from typing import NamedTuple

from ..workloads import PHOTO_NETS, Workload
from .base import INFERENCE, TRAINING, Peer


class Entry(NamedTuple):
    """A peer's description, which needs no import of its framework.

    modules: modules that must be importable. programs: programs that must be on the PATH.
    distributions: distributions to install, apart from their dependencies. lacks: workloads with
    layers that the framework does not support. usual: whether "all" includes the peer.
    """

    label: str
    factory: str  # "module:function", called with (workload, threads, mode, seed)
    modules: tuple[str, ...]
    distributions: tuple[str, ...]
    modes: tuple[str, ...] = TRAINING
    device: str = "cpu"
    lacks: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    usual: bool = True


PEERS = {
    "autoconv": Entry("autoconv", "bench.peers.autoconv:Autoconv", ("autoconv",), ("autoconv",)),
    "torch": Entry("PyTorch", "bench.peers.pytorch:eager", ("torch",), ("torch",)),
    "torch-channels-last": Entry("PyTorch, channels_last", "bench.peers.pytorch:channels_last", ("torch",), ("torch",)),
    "torch-compile": Entry("PyTorch, torch.compile", "bench.peers.pytorch:torch_compile", ("torch",), ("torch",)),
    "keras": Entry("Keras on TensorFlow", "bench.peers.keras_tf:plain",
                   ("keras", "tensorflow"), ("keras", "tensorflow-cpu")),
    "keras-50": Entry("Keras on TensorFlow, 50 steps a call", "bench.peers.keras_tf:fifty_steps",
                      ("keras", "tensorflow"), ("keras", "tensorflow-cpu")),
    "jax": Entry("JAX, jit", "bench.peers.jax_jit:Jax", ("jax", "jaxlib"), ("jax",)),
    "onnxruntime": Entry("ONNX Runtime", "bench.peers.onnx_rt:OnnxRuntime",
                         ("onnxruntime", "onnx", "torch"), ("onnxruntime",), INFERENCE),
    "openvino": Entry("OpenVINO", "bench.peers.openvino_cpu:OpenVino", ("openvino", "torch", "onnx"), ("openvino",),
                      INFERENCE),
    "mnn": Entry("MNN", "bench.peers.mnn_cpu:Mnn", ("MNN", "torch", "onnx"), ("mnn",), INFERENCE),
    "tinygrad": Entry("tinygrad", "bench.peers.tinygrad_cpu:Tinygrad", ("tinygrad",), ("tinygrad",),
                      lacks=PHOTO_NETS, programs=("clang",), usual=False),
    "mygrad": Entry("MyGrad", "bench.peers.mygrad_np:MyGrad", ("mygrad",), ("mygrad",),
                    # not supported: strides that leave a row over, and depthwise layers
                    lacks=("resnet20", "mobile", *PHOTO_NETS), usual=False),
    "autoconv-cuda": Entry("autoconv", "bench.peers.autoconv:OnGpu", ("autoconv", "numba_cuda"), ("autoconv",),
                           device="cuda"),
    "torch-cuda": Entry("PyTorch, channels_last, TF32", "bench.peers.pytorch_cuda:Eager", ("torch",), ("torch",),
                        device="cuda"),
    "torch-cuda-graph": Entry("PyTorch, a step as one CUDA graph", "bench.peers.pytorch_cuda:CudaGraph", ("torch",),
                              ("torch",), device="cuda"),
    "jax-cuda": Entry("JAX, jit", "bench.peers.jax_cuda:JaxOnGpu", ("jax", "jaxlib"), ("jax",), device="cuda"),
    "jax-cuda-50": Entry("JAX, jit, 50 steps a call", "bench.peers.jax_cuda:fifty_steps", ("jax", "jaxlib"), ("jax",),
                         device="cuda"),
    # listed last, because it takes the longest to get ready
    "torch-cuda-compile": Entry("PyTorch, torch.compile(mode='reduce-overhead')",
                                "bench.peers.pytorch_cuda:TorchCompile", ("torch",), ("torch",), device="cuda"),
}


def list_peers(device: str) -> dict[str, Entry]:
    """Returns the peers for a device, "cpu" or "cuda"."""
    return {name: entry for name, entry in PEERS.items() if entry.device == device}


def missing(name: str) -> tuple[str, ...]:
    """Returns the modules and programs that a peer needs and that are missing here."""
    entry = PEERS[name]
    modules = (module for module in entry.modules if find_spec(module) is None)
    return (*modules, *(program for program in entry.programs if which(program) is None))


def able(name: str, mode: str, workload: str) -> bool:
    """Returns whether a peer can be timed in this mode on this net."""
    entry = PEERS[name]
    return mode in entry.modes and workload not in entry.lacks


def label(name: str) -> str:
    """Returns a peer's display name."""
    return PEERS[name].label if name in PEERS else name


def create(factory: str, workload: Workload, threads: int, mode: str, seed: int) -> Peer:
    """Creates a peer, and imports its framework. factory: "module:function"."""
    module, _, function = factory.partition(":")
    return getattr(import_module(module), function)(workload, threads, mode, seed)
