"""Exports PyTorch's net with given weights and a softmax: `python -m bench.peers.export WORKLOAD WEIGHTS.npz NET.onnx`.
"""

import sys
import warnings

import numpy as np
import torch

from ..workloads import WORKLOADS
from .pytorch import Torch


def export(workload: str, weights: str, target: str) -> None:
    peer = Torch(WORKLOADS[workload], 1, "infer", 0)
    with np.load(weights) as arrays:
        peer.load(list(arrays.values()))
    net = torch.nn.Sequential(peer.net, torch.nn.Softmax(dim=1)).eval()
    height, width, channels = peer.workload.input_shape
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that this exporter is the older one: it needs no further package
        torch.onnx.export(net, (torch.zeros(2, channels, height, width),), target, dynamo=False,
                          input_names=["images"], output_names=["shares"], dynamic_axes={"images": {0: "batch"}})


if __name__ == "__main__":
    export(*sys.argv[1:])
