"""Color spaces of images: what a file states about its colors, as an ICC profile and its conversion to sRGB.

Order of precedence as in the PNG specification: cICP, ICC profile, sRGB, gAMA and cHRM; then EXIF.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from distill.errors import DistillError
from distill.images.png_chunks import MAX_METADATA_BYTES, inflate_profile

_HDR = {16: "PQ", 18: "HLG"}
"""HDR transfer characteristics (ITU-T H.273)."""
_SRGB_LIKE = frozenset({1, 2, 6, 13, 14, 15})
"""Transfer characteristics of SDR images in practice: sRGB, BT.709 and unspecified."""
_GAMMA_OF_TRANSFER = {4: 2.2, 5: 2.8, 8: 1.0}
_D65, _DCI = (0.3127, 0.3290), (0.314, 0.351)
_BT709 = (_D65, (0.64, 0.33), (0.30, 0.60), (0.15, 0.06))
_PRIMARIES = {
    1: _BT709,
    2: _BT709,
    4: ((0.310, 0.316), (0.67, 0.33), (0.21, 0.71), (0.14, 0.08)),
    5: (_D65, (0.64, 0.33), (0.29, 0.60), (0.15, 0.06)),
    6: (_D65, (0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),
    7: (_D65, (0.63, 0.34), (0.31, 0.595), (0.155, 0.07)),
    9: (_D65, (0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    11: (_DCI, (0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
    12: (_D65, (0.68, 0.32), (0.265, 0.69), (0.15, 0.06)),
}
"""(white, red, green, blue) in xy by color primaries (ITU-T H.273)."""
_ADOBE_RGB = (_D65, (0.64, 0.33), (0.21, 0.71), (0.15, 0.06))
_ADOBE_GAMMA = 563 / 256
_SRGB_GAMMA = 0.45455
"""``gAMA`` of files with the sRGB curve (PNG specification)."""
_D50 = (0.96422, 1.0, 0.82521)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_SAME_LEVELS = 2
"""A profile that changes no color by more than this is sRGB: variants of it round differently."""
_GRAY_MODES = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16B", "I;16L", "I;16N")
_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}
_EXIF_IFD, _INTEROP_IFD, _COLOR_SPACE = 0x8769, 0xA005, 0xA001

Chromaticities = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class ColorConversion:
    """Conversion of stored colors to sRGB.

    Attributes:
        transform: The conversion; None: the stored values are sRGB values.
        mode: Pillow mode that the transform reads: ``RGB``, ``L``, ``CMYK`` or ``LAB``.
        note: Remark for the user; may be empty.
    """

    transform: Any = None
    mode: str = "RGB"
    note: str = ""


def color_conversion(image: Image.Image, data: bytes, name: str) -> ColorConversion:
    """Conversion of an opened image to sRGB.

    A broken profile is ignored with a note.

    Args:
        image: The image.
        data: Bytes of its file.
        name: Display name.

    Raises:
        DistillError: The image is HDR.
    """
    chunks: dict[bytes, bytes] = image.info.get("png", {})
    stated = chunks.get(b"cICP", b"")[:2]
    profile, is_damaged = image.info.get("icc_profile"), False
    if image.format == "JPEG2000":
        profile = _jp2_profile(data)
    elif image.format in ("AVIF", "HEIF"):
        stated = _nclx(data)
    elif b"iCCP" in chunks and not stated:
        profile = inflate_profile(chunks[b"iCCP"])
        is_damaged = profile is None
    hdr = _HDR.get((stated or _cicp_of(profile or b"") or b"\0\0")[-1])
    if hdr:
        raise DistillError(
            f"{name}: the image is HDR ({hdr}), whose colors have no exact sRGB values", hint="export it as SDR in sRGB"
        )
    if is_damaged:
        return ColorConversion(note="the color profile is damaged and was ignored")
    if stated and not profile:
        profile = _coded_profile(stated[0], stated[-1])
        if profile is None:
            return ColorConversion(note="its color space is unknown and was ignored")
    if profile:
        return _conversion(profile, image)
    if b"gAMA" in chunks or b"cHRM" in chunks:
        return ColorConversion() if b"sRGB" in chunks else _png_conversion(chunks, image)
    return _conversion(_adobe_profile(), image) if _is_adobe_rgb(image) else ColorConversion()


def _conversion(profile: bytes, image: Image.Image) -> ColorConversion:
    if len(profile) > MAX_METADATA_BYTES:
        return ColorConversion(note="the color profile is absurdly large and was ignored")
    try:
        found = _build(profile)
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return ColorConversion(note="the color profile is damaged and was ignored")
    kind = "L" if image.mode in _GRAY_MODES else image.mode if image.mode in ("CMYK", "LAB") else "RGB"
    if found.mode == kind or (found.mode, kind) == ("RGB", "L"):
        return found
    return ColorConversion(note="the color profile is for another kind of image and was ignored")


@lru_cache(maxsize=8)
def _build(profile: bytes) -> ColorConversion:
    opened = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    mode = _MODES.get(opened.profile.xcolor_space.strip())
    if mode is None:
        return ColorConversion(note=f"a color profile for {opened.profile.xcolor_space.strip()} was ignored")
    transform = ImageCms.buildTransform(
        opened,
        ImageCms.createProfile("sRGB"),
        mode,
        "RGB",
        ImageCms.Intent.RELATIVE_COLORIMETRIC,
        ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    return ColorConversion(None if _changes_nothing(transform, mode) else transform, mode)


def _changes_nothing(transform: Any, mode: str) -> bool:
    if mode not in ("RGB", "L"):
        return False
    levels = np.arange(0, 256, 15, dtype=np.uint8) if mode == "RGB" else np.arange(256, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(1, -1, 3) if mode == "RGB" else levels[None]
    converted = np.asarray(ImageCms.applyTransform(Image.fromarray(grid), transform), np.int16)
    return int(np.abs(converted - (grid if mode == "RGB" else grid[..., None])).max()) <= _SAME_LEVELS


def _png_conversion(chunks: dict[bytes, bytes], image: Image.Image) -> ColorConversion:
    """Conversion stated by ``gAMA`` and ``cHRM``."""
    gamma = int.from_bytes(chunks.get(b"gAMA", b"")[:4], "big") / 1e5
    primaries = _BT709
    if len(chunks.get(b"cHRM", b"")) == 32:
        values = [value / 1e5 for value in struct.unpack(">8I", chunks[b"cHRM"])]
        primaries = tuple(zip(values[::2], values[1::2], strict=True))  # type: ignore[assignment]
    if b"gAMA" in chunks and not 0.1 <= gamma <= 5:
        return ColorConversion(note=f"the stated gamma of {gamma:g} is impossible and was ignored")
    is_srgb_curve = b"gAMA" not in chunks or abs(gamma - _SRGB_GAMMA) < 0.005
    try:
        return _conversion(_matrix_profile(primaries, None if is_srgb_curve else 1 / gamma), image)
    except (ValueError, struct.error, np.linalg.LinAlgError):
        return ColorConversion(note="the stated color primaries are impossible and were ignored")


@lru_cache(maxsize=32)
def _coded_profile(primaries: int, transfer: int) -> bytes | None:
    """Profile of two code points of ITU-T H.273; None if they are unknown."""
    if primaries not in _PRIMARIES or transfer not in _SRGB_LIKE | _GAMMA_OF_TRANSFER.keys():
        return None
    return _matrix_profile(_PRIMARIES[primaries], _GAMMA_OF_TRANSFER.get(transfer))


@lru_cache(maxsize=1)
def _adobe_profile() -> bytes:
    return _matrix_profile(_ADOBE_RGB, _ADOBE_GAMMA)


def _matrix_profile(primaries: Chromaticities, gamma: float | None) -> bytes:
    """ICC profile (version 4) of a white point, three primaries and a curve; None: the curve of sRGB.

    Raises:
        ValueError, struct.error, numpy.linalg.LinAlgError: The primaries span no colors.
    """
    if any(not (0 <= x <= 1 and 0 < y <= 1) for x, y in primaries):
        raise ValueError("chromaticities are fractions")
    white, *corners = ([x / y, 1.0, (1 - x - y) / y] for x, y in primaries)
    columns = np.array(corners).T
    to_xyz = columns * np.linalg.solve(columns, white)
    adapt = np.linalg.inv(_BRADFORD) @ np.diag((_BRADFORD @ _D50) / (_BRADFORD @ white)) @ _BRADFORD
    numbers = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045) if gamma is None else (gamma,)
    curve = b"para\0\0\0\0" + struct.pack(">HH", 3 if gamma is None else 0, 0) + _fixed(numbers)
    tags = [(b"wtpt", b"XYZ \0\0\0\0" + _fixed(_D50))]
    tags += [
        (name, b"XYZ \0\0\0\0" + _fixed(column)) for name, column in zip(_COLUMNS, (adapt @ to_xyz).T, strict=True)
    ]
    tags += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    table, body, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, content in tags:
        table += struct.pack(">4sII", name, offset + len(body), len(content))
        body += content
    header = struct.pack(">I4sI4s4s4s", offset + len(body), b"", 0x04200000, b"mntr", b"RGB ", b"XYZ ")
    header += bytes(12) + b"acsp" + bytes(28) + _fixed(_D50)
    return header.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


_COLUMNS = (b"rXYZ", b"gXYZ", b"bXYZ")


def _fixed(values: Any) -> bytes:
    """Numbers as s15Fixed16."""
    return b"".join(struct.pack(">i", round(float(value) * 65536)) for value in values)


def _nclx(data: bytes) -> bytes:
    """Primaries and transfer of an AVIF or HEIC file, one byte each; empty if none are stated."""
    at = data.find(b"colrnclx", 0, 65536)
    found = data[at + 8 : at + 12] if at >= 0 else b""
    return bytes([found[1], found[3]]) if len(found) == 4 and not found[0] and not found[2] else b""


def _jp2_profile(data: bytes) -> bytes | None:
    """ICC profile of a JPEG 2000 file."""
    at = data.find(b"colr\2", 0, 65536)
    return data[at + 7 : at - 4 + int.from_bytes(data[at - 4 : at], "big")] or None if at >= 4 else None


def _cicp_of(profile: bytes) -> bytes:
    """Primaries and transfer that an ICC profile states besides its curves; empty if it does not."""
    at = profile.find(b"cicp\0\0\0\0", 132)
    return profile[at + 8 : at + 10] if 0 <= at <= len(profile) - 10 else b""


def _is_adobe_rgb(image: Image.Image) -> bool:
    """Whether EXIF states Adobe RGB: interoperability index R03 (DCF 2.0), or color space 2 of some cameras."""
    if not image.info.get("exif"):
        return False
    try:
        exif = image.getexif()
        details = exif.get_ifd(_EXIF_IFD)
        stated = details.get(_COLOR_SPACE)
        if stated == 2:
            return True
        index = exif.get_ifd(_INTEROP_IFD).get(1, "") if stated == 0xFFFF and _INTEROP_IFD in details else ""
    except Exception:  # damaged EXIF must not cost the image
        return False
    return str(index).strip("\0 ") == "R03"
