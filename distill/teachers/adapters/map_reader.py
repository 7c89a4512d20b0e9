"""Numbers of map files: images bit for bit, ``.npy`` and ``.npz`` without pickle, OpenEXR and HDF5."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from distill.errors import DistillError
from distill.files import read_file
from distill.images import decode_color_map, decode_map, is_lossy
from distill.images.file_format import check_unpacked_size
from distill.teachers.adapters.array_files import EXR, HDF5, read_exr, read_hdf5

_FORMATS = "use PNG, TIFF, .npy, .npz, OpenEXR or HDF5"
_ANNOTATIONS = {".json", ".txt", ".xml", ".csv", ".yaml", ".svg"}
_OTHER_FILES = {
    ".hdr",
    ".mat",
    ".pt",
    ".pth",
    ".pkl",
    ".pickle",
    ".safetensors",
    ".dcm",
    ".nii",
}


def read_map(
    path: Path,
    *,
    array: str = "",
    usual_array: str = "",
    colors: bool = False,
    alpha: bool = False,
    exact: bool = False,
) -> Shaped[ndarray, "h w *c"]:
    """Numbers of a map file, in RGB order if there are three channels, without axes of length one.

    Args:
        path: The file.
        array: Name of the array in an ``.npz``, OpenEXR or HDF5 file; empty: `usual_array`, or its only array.
        usual_array: Its name if the config has none.
        colors: Read a palette image as RGB instead of its indices.
        alpha: Read four channels, R, G, B and alpha.
        exact: Refuse lossy formats, which change ids and depths.

    Raises:
        DistillError: Unreadable, larger than `distill.images.max_pixels`, or not a map.
    """
    suffix = path.suffix.lower()
    if suffix in _ANNOTATIONS:
        raise DistillError(
            f"{path}: holds annotations, not one number per pixel",
            hint="distill data import reads COCO and others; or convert them to images of ids",
        )
    if suffix in _OTHER_FILES:
        raise DistillError(f"{path}: {suffix} files cannot be read", hint="convert it to .npy, .npz or 16-bit PNG")
    try:
        data = read_file(path)
        if suffix in (".npy", ".npz") or data[:6] == b"\x93NUMPY":
            return _numbers(_load(data, array, usual_array, path), path)
        if suffix in EXR:
            return _numbers(read_exr(path, array, usual_array), path)
        if suffix in HDF5:
            return _numbers(read_hdf5(path, data, array, usual_array), path)
        if exact and is_lossy(data, str(path)):
            raise DistillError(
                f"{path}: its format is lossy, which changes numbers near every border",
                hint="store ids and depths as PNG, TIFF or .npy",
            )
        if colors or alpha:
            return decode_color_map(data, str(path), alpha=alpha)
        return decode_map(data, str(path))
    except DistillError:
        raise
    except Exception as error:  # the parsers of arrays and images raise almost anything on damaged files
        reason = getattr(error, "strerror", None) or (str(error) or type(error).__name__).splitlines()[0]
        raise DistillError(f"{path}: the map cannot be read: {reason}", hint=_FORMATS) from error


def _load(data: bytes, array: str, usual_array: str, path: Path) -> Any:
    check_unpacked_size(data)
    loaded = np.load(io.BytesIO(data), allow_pickle=False)
    if isinstance(loaded, ndarray):
        return loaded
    names = list(loaded.files)
    wanted = array or (names[0] if len(names) == 1 else usual_array)
    if wanted not in names:
        raise DistillError(
            f"{path}: holds the arrays {', '.join(names) or 'none'}, not {wanted}",
            hint="name one of them as array in the config",
        )
    return loaded[wanted]


def _numbers(stored: ndarray, path: Path) -> Shaped[ndarray, "h w *c"]:
    """The array as (h, w) or (h, w, c): axes of length one removed, three channels last."""
    if stored.dtype.kind not in "buif":
        raise DistillError(f"{path}: holds {stored.dtype}, not real numbers", hint="store one map per file")
    plain = stored.squeeze().astype(stored.dtype.newbyteorder("="), copy=False)
    if plain.ndim == 3 and plain.shape[0] == 3 and plain.shape[2] != 3:
        plain = plain.transpose(1, 2, 0)
    if plain.ndim == 3 and plain.shape[2] > 4:
        raise DistillError(
            f"{path}: has shape {stored.shape}, one plane per class or photo instead of one map",
            hint="store (h, w), or (h, w, 3) for normals; of scores per class, the id of the largest",
        )
    if plain.ndim not in (2, 3) or not plain.size:
        raise DistillError(
            f"{path}: has shape {stored.shape} instead of (h, w) or (h, w, 3)", hint="store one map per file"
        )
    return plain.astype(np.float32) if plain.dtype == np.float16 else plain
