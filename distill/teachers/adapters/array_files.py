"""Maps in OpenEXR and HDF5 files; both packages are optional."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from distill.errors import DistillError
from distill.images.file_format import check_pixel_count
from distill.optional import require

EXR = (".exr",)
HDF5 = (".h5", ".hdf5", ".he5")
_MAX_CHANNELS = 64


def read_exr(path: Path, array: str = "", usual_array: str = "") -> Shaped[ndarray, "h w *c"]:
    """Channels of an OpenEXR file: those named R, G, B or X, Y, Z in this order, or its only one.

    Args:
        path: The file.
        array: Name of one channel, or of a layer of three; empty: `usual_array` if there is one, or no layer.
        usual_array: Its name if the config has none.

    Raises:
        DistillError: Damaged, too large, or without these channels.
    """
    library: Any = require("OpenEXR", extra="exr", why="read .exr files")
    try:
        with library.File(str(path), header_only=True) as file:
            header = file.header()
            low, high = (corner.tolist() for corner in header["dataWindow"])
            names = [channel.name for channel in header["channels"]]
        check_pixel_count((high[0] - low[0] + 1, high[1] - low[1] + 1), str(path))
        wanted = _channel_names(names, array or usual_array) or _channel_names(names, "")
        if not wanted or len(names) > _MAX_CHANNELS or (array and wanted == _channel_names(names, "") != [array]):
            listed = ", ".join(names[:12]) or "none"
            raise DistillError(
                f"{path}: holds the channels {listed}, which are no map{f' named {array}' if array else ''}",
                hint="name one of them, or a layer, as array in the config",
            )
        with library.File(str(path), separate_channels=True) as file:
            channels = file.channels()
            planes = [np.asarray(channels[name].pixels) for name in wanted]
    except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise DistillError(
            f"{path}: the OpenEXR file is damaged or not readable: {_first_line(error)}", hint="write it again, or PNG"
        ) from error
    if len({plane.shape for plane in planes}) > 1:
        raise DistillError(f"{path}: its channels differ in size", hint="store channels without subsampling")
    return planes[0] if len(planes) == 1 else np.stack(planes, -1)


def _channel_names(names: list[str], layer: str) -> list[str]:
    if layer in names:
        return [layer]
    prefix = f"{layer}." if layer else ""
    for group in ("RGB", "XYZ", "rgb", "xyz"):
        if all(prefix + letter in names for letter in group):
            return [prefix + letter for letter in group]
    inside = [name for name in names if name.startswith(prefix) and name.removeprefix(prefix) not in ("A", "a")]
    return inside if len(inside) == 1 else []


def read_hdf5(path: Path, data: bytes, array: str = "", usual_array: str = "") -> Any:
    """One data set of an HDF5 file.

    Args:
        path: The file, for errors.
        data: Its bytes.
        array: Path of the data set; empty: `usual_array`, or the only one at the top.
        usual_array: Its name if the config has none.

    Raises:
        DistillError: Damaged, too large, without this data set, or its values are in another file.
    """
    library: Any = require("h5py", extra="hdf5", why="read HDF5 files")
    try:
        with library.File(io.BytesIO(data), "r") as file:
            names = list(file)[:1000]
            wanted = array or (names[0] if len(names) == 1 else usual_array)
            found = _own_data_set(library, file, wanted)
            if found is None:
                raise DistillError(
                    f"{path}: holds {', '.join(names[:12]) or 'nothing'}, and no data set {wanted} of its own",
                    hint="name a data set as array in the config; values in other files are not read",
                )
            height, width = (*found.shape, 1, 1)[:2]
            check_pixel_count((int(width), int(height)), str(path))
            if found.size > 4 * height * width:
                raise DistillError(f"{path}: has shape {found.shape}, more than one map", hint="store one map per file")
            return found[()]
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise DistillError(
            f"{path}: the HDF5 file is damaged or not readable: {_first_line(error)}", hint="copy it again"
        ) from error


def _own_data_set(library: Any, file: Any, wanted: str) -> Any:
    """The data set, unless it or a group on the way is kept in another file."""
    found = file
    for part in wanted.strip("/").split("/"):
        link = found.get(part, getlink=True) if hasattr(found, "get") else None
        if not isinstance(link, library.HardLink):
            return None
        found = found[part]
    is_own = isinstance(found, library.Dataset) and not found.is_virtual and not found.external
    return found if is_own else None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0][:200]
