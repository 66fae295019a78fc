"""Draws a net's filters, feature maps, mistakes and influential pixels, and filters pictures.

`filters`, `feature_maps`, `confusion`, `curves`, `grad_cam`, `occlusion`, `saliency`,
`feature_visualisation`, `draw_receptive_field` and `embedding` return matplotlib figures (extra
`plots`). `kernels`, `activations`, `confusion_matrix`, `grad_cam_map`, `occlusion_map`,
`saliency_map`, `exciting_inputs`, `receptive_field` and `principal_components` return the same
values as arrays or numbers. `explain` shows how a net computed one number.
"""

import sys

from ..arguments import modules
from .explaining import Explanation, explain
from .features import exciting_inputs, principal_components
from .figures import (
    confusion,
    curves,
    draw_receptive_field,
    embedding,
    feature_maps,
    feature_visualisation,
    filters,
    grad_cam,
    occlusion,
    saliency,
)
from .image_kernels import KERNELS, convolve, filter
from .influence import grad_cam_map, occlusion_map, saliency_map
from .inside import Activation, activations, class_scores, kernels
from .receptive import ReceptiveField, receptive_field
from .results import confusion_matrix, precision_recall, worst_mistakes

__all__ = ["KERNELS", "Activation", "Explanation", "ReceptiveField", "activations", "class_scores", "confusion",
           "confusion_matrix", "convolve", "curves", "draw_receptive_field", "embedding",
           "exciting_inputs", "explain", "feature_maps", "feature_visualisation", "filter", "filters",
           "grad_cam", "grad_cam_map", "kernels", "occlusion", "occlusion_map", "precision_recall",
           "principal_components", "receptive_field", "saliency", "saliency_map", "worst_mistakes"]

modules.suggest(sys.modules[__name__])
