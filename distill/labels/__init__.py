"""Label maps: values, formats on disk, instances that overlap, and conversions between sizes and class lists."""

from distill.labels.label import (
    Label,
    decode,
    encode,
    is_beyond_range,
    is_sky,
    normals_face_away,
    read_meta,
    write_meta,
)

__all__ = ["Label", "decode", "encode", "is_beyond_range", "is_sky", "normals_face_away", "read_meta", "write_meta"]
