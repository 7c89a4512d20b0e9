"""Read and write photos and label maps: formats by their bytes, bounded sizes, sRGB colors, exact numbers."""

from distill.images.file_format import MIN_SIDE_PX, SUFFIXES, check_pixel_count, max_pixels, open_image
from distill.images.maps import decode_color_map, decode_map, encode_map, is_lossy
from distill.images.photos import (
    Photo,
    convert_to_srgb,
    decode_image,
    decode_rgb,
    encode_jpeg,
    image_size_hw,
    read_photo,
)
from distill.images.rgb import OPAQUE_ALPHA

__all__ = [
    "MIN_SIDE_PX",
    "OPAQUE_ALPHA",
    "SUFFIXES",
    "Photo",
    "check_pixel_count",
    "convert_to_srgb",
    "decode_color_map",
    "decode_image",
    "decode_map",
    "decode_rgb",
    "encode_jpeg",
    "encode_map",
    "image_size_hw",
    "is_lossy",
    "max_pixels",
    "open_image",
    "read_photo",
]
