"""`python -m bench.peers.export WORKLOAD WEIGHTS.npz NET.onnx` exports PyTorch's net, with the given
weights and a softmax, to an ONNX file.
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
        # hides the warning that this exporter, which needs no other package, is the older one
        warnings.simplefilter("ignore")
        torch.onnx.export(net, (torch.zeros(2, channels, height, width),), target, dynamo=False,
                          input_names=["images"], output_names=["shares"], dynamic_axes={"images": {0: "batch"}})


if __name__ == "__main__":
    export(*sys.argv[1:])
