"""A runner that needs no network."""

from __future__ import annotations

import numpy as np

from distill.export.runners import Outputs, Runner
from distill.spec import DepthSpec, InputSpec, NormalsSpec, SemanticSpec, StudentSpec

CLASSES = ("floor", "wall", "thing")
SPEC = StudentSpec(
    name="fake",
    backbone="none",
    input=InputSpec(size_hw=(32, 32)),
    depth=DepthSpec(),
    normals=NormalsSpec(),
    semantic=SemanticSpec(classes=CLASSES),
)


class FakeRunner(Runner):
    """Reads its answers off the picture: depth is a tenth of the red value in meters, the class is green modulo 3."""

    def __init__(self, spec: StudentSpec = SPEC, engine: str = "fake cpu") -> None:
        super().__init__("fake", engine, spec, 1, None)
        self.batches: list[int] = []

    def _run(self, images: np.ndarray) -> Outputs:
        self.batches.append(len(images))
        red = images[..., 0].astype(np.float32)
        sure = np.full(red.shape, 0.5, np.float32)
        normals = np.stack([red / 510, np.zeros_like(red), np.sqrt(1 - (red / 510) ** 2)], axis=-1)
        outputs = {
            "depth": 0.1 + red / 10,
            "normals": normals,
            "semantic": (images[..., 1] % len(CLASSES)).astype(np.uint8),
        }
        outputs |= {f"{name}_confidence": sure for name in outputs}
        return {name: outputs[name] for name in self.spec.output_names}
