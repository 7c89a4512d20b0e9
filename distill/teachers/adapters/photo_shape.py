"""Shape of a map against the shape of its photo, or of the network's input."""

from __future__ import annotations

import io

from PIL import Image

from distill.errors import DistillError
from distill.images import Photo

_ORIENTATION = 0x0112


def has_shape_of(size_hw: tuple[int, int], whole_hw: tuple[int, int]) -> bool:
    """Whether a map is a scaled image of this size, up to rounding to whole pixels."""
    (height, width), (whole_height, whole_width) = size_hw, whole_hw
    by_width = abs(height - width * whole_height / whole_width)
    by_height = abs(width - height * whole_width / whole_height)
    return min(by_width, by_height) <= 1


def check_shape(size_hw: tuple[int, int], photo: Photo, where: str) -> None:
    """Raise if a map has another shape than its photo.

    Raises:
        DistillError: It was cropped, padded, stretched or turned.
    """
    if has_shape_of(size_hw, photo.size_hw):
        return
    sizes = f"{size_hw[1]}x{size_hw[0]} px, while {photo.name} has {photo.size_hw[1]}x{photo.size_hw[0]}"
    if has_shape_of(size_hw[::-1], photo.size_hw):
        turned = "as stored, before its EXIF orientation" if _is_turned(photo) else "with height and width swapped"
        raise DistillError(f"{where}: {sizes}: it shows the photo {turned}", hint="turn the map as the photo is shown")
    raise DistillError(
        f"{where}: {sizes}, which is another shape",
        hint="make it again in the photo's shape, or state in resize_mode how the photo was resized: fill, cover or "
        "contain",
    )


def _is_turned(photo: Photo) -> bool:
    try:
        with Image.open(io.BytesIO(photo.data)) as image:
            return int(image.getexif().get(_ORIENTATION, 1)) > 4
    except Exception:  # the photo was decoded before; only the wording depends on this
        return False
