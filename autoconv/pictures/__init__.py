"""Draws a net's filters, feature maps, mistakes and influential pixels, and filters pictures.

`filters`, `feature_maps`, `confusion`, `curves`, `grad_cam`, `occlusion` and `saliency` return
matplotlib figures (extra `plots`). `kernels`, `activations`, `confusion_matrix`, `grad_cam_map`,
`occlusion_map` and `saliency_map` return the same values as arrays.
"""

import sys

from ..arguments import modules
from .figures import confusion, curves, feature_maps, filters, grad_cam, occlusion, saliency
from .image_kernels import KERNELS, convolve, filter
from .influence import grad_cam_map, occlusion_map, saliency_map
from .inside import Activation, activations, class_scores, kernels
from .results import confusion_matrix, precision_recall, worst_mistakes

__all__ = ["KERNELS", "Activation", "activations", "class_scores", "confusion", "confusion_matrix",
           "convolve", "curves", "feature_maps", "filter", "filters", "grad_cam", "grad_cam_map", "kernels",
           "occlusion", "occlusion_map", "precision_recall", "saliency", "saliency_map", "worst_mistakes"]

modules.suggest(sys.modules[__name__])
