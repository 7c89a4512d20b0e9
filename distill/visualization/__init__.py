"""Drawings of label maps with fixed color ranges, so that two images can be compared by eye.

Depth has one color per distance in every scene, normals the colors of generated images, classes fixed colors. Sky and
invalid pixels have colors that no value has.
"""

from __future__ import annotations

from distill.visualization.colormaps import draw_confidence, draw_depth, draw_error, draw_normals, overlay
from distill.visualization.legends import add_caption, add_class_legend, add_depth_bar, add_scale_bar, contact_sheet
from distill.visualization.segmentation import class_colors, draw_instances, draw_semantic

__all__ = [
    "add_caption",
    "add_class_legend",
    "add_depth_bar",
    "add_scale_bar",
    "class_colors",
    "contact_sheet",
    "draw_confidence",
    "draw_depth",
    "draw_error",
    "draw_instances",
    "draw_normals",
    "draw_semantic",
    "overlay",
]
