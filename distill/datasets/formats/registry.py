"""The formats: one row each, with what it holds and what it cannot hold; its module is imported when it is used."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from types import MappingProxyType

from distill.datasets.formats.base import FormatModule
from distill.errors import UsageError

_PHOTO_LOSS = "names of photos other than the sample's key, provenance, quality, prompts and costs"
_CONFIDENCE_LOSS = "confidence"
_SIZE_LOSS = "maps at another size than the photo: they are stored at the photo's size, nearest neighbor"


_PAIR_LOSSES = (
    _PHOTO_LOSS,
    _CONFIDENCE_LOSS,
    "the size of the photo: images have sides that divide by 32, and at most a megapixel",
    "which pixels are invalid: they become black, or as background",
    "parts of instances that others cover",
)


@dataclass(frozen=True)
class Format:
    """A row.

    Attributes:
        title: For lists.
        holds: Labels that it stores.
        loses: What it cannot hold, one item each.
        module: Module and class that read and write it; a module with a dot is of another package, whose encoders a
            format needs.
        reads: Whether sets can be imported from it.
    """

    title: str
    holds: str
    loses: tuple[str, ...]
    module: str
    reads: bool = True

    def load(self) -> FormatModule:
        """Import the module."""
        module, _, name = self.module.partition(":")
        path = module if "." in module else f"distill.datasets.formats.{module}"
        found: FormatModule = getattr(import_module(path), name)()
        return found


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "coco": Format(
            "COCO instances (annotations/instances.json)",
            "instances, with the parts that others cover, as run lengths",
            (
                _PHOTO_LOSS,
                _CONFIDENCE_LOSS,
                _SIZE_LOSS,
                "pixels without an instance label (ignore): they become background",
                "numbers of instances: they are counted from 1",
            ),
            "coco:CocoInstances",
        ),
        "coco-panoptic": Format(
            "COCO panoptic (annotations/panoptic.json and PNGs)",
            "semantic classes and what is visible of the instances, as one map",
            (
                _PHOTO_LOSS,
                _CONFIDENCE_LOSS,
                _SIZE_LOSS,
                "parts of instances that others cover",
                "the semantic class of a pixel whose instance has another class: that of the instance is stored",
                "the difference between background and ignore in the instance map where there is no class",
                "numbers of instances: they are counted from 1",
            ),
            "panoptic:CocoPanoptic",
        ),
        "indexed-png": Format(
            "PNG of class ids with a palette, and classes.txt (layout of VOC, ADE20K and Cityscapes)",
            "semantic classes",
            (_PHOTO_LOSS, _CONFIDENCE_LOSS, _SIZE_LOSS),
            "indexed:IndexedPng",
        ),
        "yolo": Format(
            "YOLO segmentation (labels/train/*.txt, data.yaml)",
            "instances as one polygon each",
            (
                _PHOTO_LOSS,
                _CONFIDENCE_LOSS,
                "holes, and the parts of one instance: lines of one pixel join them",
                "pixels without an instance label (ignore): they become background",
                "numbers of instances: they are counted from 1",
            ),
            "yolo:YoloSegments",
        ),
        "yolo-semantic": Format(
            "Ultralytics semantic segmentation (masks/train/*.png, data.yaml)",
            "semantic classes",
            (_PHOTO_LOSS, _CONFIDENCE_LOSS, _SIZE_LOSS),
            "yolo:YoloSemantic",
        ),
        "yolo-depth": Format(
            "Ultralytics depth (depth/train/*.png, data.yaml with depth_scale)",
            "metric depth",
            (
                _PHOTO_LOSS,
                _CONFIDENCE_LOSS,
                _SIZE_LOSS,
                "depth finer than 1/depth_scale m, and beyond 65535/depth_scale m (it becomes invalid)",
            ),
            "yolo:YoloDepth",
        ),
        "depth-png": Format(
            "16-bit depth PNG (depth/*.png; 256 levels per meter as KITTI, 1000 as NYU, TUM and ScanNet)",
            "metric depth",
            (
                _PHOTO_LOSS,
                _CONFIDENCE_LOSS,
                _SIZE_LOSS,
                "depth finer than 1/depth_scale m, and beyond 65535/depth_scale m (it becomes invalid)",
            ),
            "depth_png:DepthPng",
        ),
        "cvat": Format(
            "CVAT for images 1.1 (cvat.zip of annotations.xml and images/)",
            "instances, with the parts that others cover, as masks",
            (
                _PHOTO_LOSS,
                _CONFIDENCE_LOSS,
                _SIZE_LOSS,
                "pixels without an instance label (ignore): they become background",
                "numbers of instances: they are counted from 1",
            ),
            "cvat:Cvat",
        ),
        "fiftyone": Format(
            "FiftyOneDataset (metadata.json, samples.json, data/, fields/; only exported)",
            "segmentations, heat maps, instances, qualities, licenses",
            (
                "provenance other than teachers and licenses, prompts and costs",
                _CONFIDENCE_LOSS,
                "depth in meters: heat maps have the levels of the shards",
                "pixels without an instance label (ignore): they become background",
            ),
            "fiftyone:FiftyOne",
            reads=False,
        ),
        "parquet": Format(
            "Hugging Face data set (parquet with image columns, for load_dataset; needs the extra parquet)",
            "all files of all samples, byte by byte",
            (),
            "parquet:Parquet",
        ),
        "edit-pairs": Format(
            "photos, prompts and target images for trainers of image editors (imagefolder with metadata.jsonl and the "
            "columns of diffusers' InstructPix2Pix; only exported)",
            "all labels with at least 80 % valid pixels, encoded as generated images with drawn colors and wordings",
            _PAIR_LOSSES,
            "distill.teachers.tuning.edit_pairs:EditPairs",
            reads=False,
        ),
        "edit-pair-folders": Format(
            "the same as control/*.png, target/*.png and target/*.txt (ai-toolkit, musubi-tuner; only exported)",
            "all labels with at least 80 % valid pixels, encoded as generated images with drawn colors and wordings",
            _PAIR_LOSSES,
            "distill.teachers.tuning.edit_pairs:EditPairFolders",
            reads=False,
        ),
    }
)


def find_format(name: str) -> Format:
    """A format by name.

    Raises:
        UsageError: There is none; names the nearest one.
    """
    if name not in FORMATS:
        near = difflib.get_close_matches(name, FORMATS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the formats are {', '.join(FORMATS)}"
        raise UsageError(f"there is no format {name!r}", hint=hint)
    return FORMATS[name]
