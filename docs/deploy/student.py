"""Run an exported student with numpy and onnxruntime only (Pillow reads photos): python student.py MODEL.onnx PHOTO.

Writes one file per task of the student, such as PHOTO.depth.npy.
"""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime


class Student:
    """Exported student: uint8 RGB of any size to final values at that size; all processing is in the graph."""

    def __init__(self, path: str, threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(path, options, providers=onnxruntime.get_available_providers())
        self.spec = json.loads(self.session.get_modelmeta().custom_metadata_map["distill.spec"])
        self.names = [output.name for output in self.session.get_outputs()]

    def __call__(self, rgb: np.ndarray) -> dict[str, np.ndarray]:
        """Maps by name for one image (h, w, 3) or a batch (b, h, w, 3)."""
        batch = rgb if rgb.ndim == 4 else rgb[None]
        found = self.session.run(self.names, {self.spec["input"]["name"]: np.ascontiguousarray(batch)})
        return {name: value if rgb.ndim == 4 else value[0] for name, value in zip(self.names, found, strict=True)}


def read_photo(path: str) -> np.ndarray:
    """Read 8-bit sRGB as the exporter does: EXIF orientation applied, 16 bits scaled to 8, alpha over white."""
    from PIL import Image, ImageCms, ImageOps

    with Image.open(path) as opened:
        photo = ImageOps.exif_transpose(opened)
        profile = photo.info.get("icc_profile")
        if photo.mode.startswith("I"):
            return np.rint(np.asarray(photo).clip(0, 65535) / 257).astype(np.uint8)[..., None].repeat(3, axis=2)
        alpha = None
        if photo.mode in ("RGBA", "LA", "PA") or "transparency" in photo.info:
            photo = photo.convert("RGBA")
            alpha = photo.getchannel("A").point([*range(250), *[255] * 6])
        rgb = photo.convert("RGB")
        if profile and photo.mode in ("RGB", "RGBA"):
            srgb = ImageCms.createProfile("sRGB")
            rgb = ImageCms.profileToProfile(rgb, ImageCms.ImageCmsProfile(io.BytesIO(profile)), srgb)
        return np.asarray(rgb if alpha is None else Image.composite(rgb, Image.new("RGB", rgb.size, "white"), alpha))


if __name__ == "__main__":
    student = Student(sys.argv[1])
    for name, value in student(read_photo(sys.argv[2])).items():
        if not name.endswith("_confidence"):
            np.save(Path(sys.argv[2]).with_suffix(f".{name}.npy"), value)
            print(name, value.dtype, value.shape, f"{value.min():.3f} to {value.max():.3f}")
