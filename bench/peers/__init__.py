"""The peers: one framework in one configuration each, behind one interface (base.py)."""

from importlib.util import find_spec
from typing import NamedTuple

from .base import INFERENCE, TRAINING, Peer


class Entry(NamedTuple):
    """A peer without its framework: what is known before anything is imported.

    modules: what must be importable; distributions: what is installed for it, besides what those need.
    """

    label: str
    factory: str  # "module:function" in this package
    modules: tuple[str, ...]
    distributions: tuple[str, ...]
    modes: tuple[str, ...] = TRAINING


PEERS = {
    "autoconv": Entry("autoconv", "autoconv:Autoconv", ("autoconv",), ("autoconv",)),
    "torch": Entry("PyTorch", "pytorch:eager", ("torch",), ("torch",)),
    "torch-channels-last": Entry("PyTorch, channels_last", "pytorch:channels_last", ("torch",), ("torch",)),
    "torch-compile": Entry("PyTorch, torch.compile", "pytorch:compiled", ("torch",), ("torch",)),
    "keras": Entry("Keras on TensorFlow", "keras_tf:plain", ("keras", "tensorflow"), ("keras", "tensorflow-cpu")),
    "keras-50": Entry("Keras on TensorFlow, steps_per_execution=50", "keras_tf:fifty_steps", ("keras", "tensorflow"),
                      ("keras", "tensorflow-cpu")),
    "jax": Entry("JAX, jit", "jax_jit:Jax", ("jax", "jaxlib"), ("jax",)),
    "onnxruntime": Entry("ONNX Runtime", "onnx_rt:OnnxRuntime", ("onnxruntime", "onnx", "torch"), ("onnxruntime",),
                         INFERENCE),
}


def missing(name: str) -> tuple[str, ...]:
    """The modules this peer lacks here; empty where it is present."""
    return tuple(module for module in PEERS[name].modules if find_spec(module) is None)


def create(name: str, workload, threads: int, mode: str) -> Peer:
    """The peer itself: imports its framework."""
    from importlib import import_module

    module, _, function = PEERS[name].factory.partition(":")
    return getattr(import_module(f"{__name__}.{module}"), function)(workload, threads, mode)
