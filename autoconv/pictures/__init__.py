"""Draws a net's filters, feature maps, mistakes and influential pixels, and filters pictures.

`filters`, `feature_maps`, `confusion`, `curves`, `occlusion` and `saliency` return matplotlib
figures (extra `plots`). `kernels`, `activations`, `confusion_matrix`, `occlusion_map` and
`saliency_map` return the same values as arrays. `explain` shows how a net computed one number.
"""

import sys

from ..arguments import modules
from .explaining import Explanation, explain
from .figures import confusion, curves, feature_maps, filters, occlusion, saliency
from .image_kernels import KERNELS, convolve, filter
from .influence import occlusion_map, saliency_map
from .inside import Activation, activations, class_scores, kernels
from .results import confusion_matrix, precision_recall, worst_mistakes

__all__ = ["KERNELS", "Activation", "Explanation", "activations", "class_scores", "confusion", "confusion_matrix",
           "convolve", "curves", "explain", "feature_maps", "filter", "filters", "kernels", "occlusion",
           "occlusion_map", "precision_recall", "saliency", "saliency_map", "worst_mistakes"]

modules.suggest(sys.modules[__name__])
