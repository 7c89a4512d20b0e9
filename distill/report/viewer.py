"""Viewer of labels in a page: two pictures with a slider between them, zoom, and the real values under the pointer.

A page with galleries needs the style and the script once, and one element for each gallery:

    samples = [label_pictures(photo, label, name="kitchen_04", others={"error": drawn})]
    page = f"<style>{viewer_style()}</style> ... {viewer_gallery(samples)} ... <script>{viewer_script()}</script>"

The pictures are in the gallery's element, so the page shows and prints them without a script. Nothing is loaded from
elsewhere: ``img-src data:`` is all that a content security policy has to allow besides the script and the style.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray
from PIL import Image

from distill.escaping import for_html, for_terminal
from distill.images import encode_jpeg
from distill.labels import Label
from distill.labels.conversions import drop_absent_instances, resample_nearest
from distill.labels.formats import label_format
from distill.tasks import FAR_WARP, TASKS, DepthKind
from distill.visualization.colormaps import draw_confidence
from distill.visualization.label_drawers import DrawingFacts, drawer_of
from distill.visualization.segmentation import class_colors

LONGER_SIDE_PX = 400
"""Of all pictures: 30 labels of one task need 3 to 8 MB."""
_JPEG_QUALITY = 82


def label_pictures(
    photo: UInt8[ndarray, "h w 3"],
    label: Label,
    *,
    name: str = "",
    generated: UInt8[ndarray, "h2 w2 3"] | None = None,
    others: Mapping[str, UInt8[ndarray, "h3 w3 3"]] | None = None,
) -> dict[str, Any]:
    """What the viewer shows of one label, as JSON values; pictures are data URIs of equal size.

    Args:
        photo: RGB.
        label: Any task; it may have another size than the photo.
        name: Of the sample, for its reader.
        generated: Image of the teacher that the label was decoded from.
        others: Further pictures by title, such as a prediction or an error map.
    """
    scale = min(1.0, LONGER_SIDE_PX / max(photo.shape[:2]))
    size_hw = (max(1, round(photo.shape[0] * scale)), max(1, round(photo.shape[1] * scale)))
    small = resample_nearest(label, size_hw)
    facts = DrawingFacts(depth_kind=small.depth_kind or DepthKind.METRIC, classes=small.classes, layers=small.layers)
    drawn = drawer_of(label.task).draw(small.value, small.valid, facts)
    return {
        "name": for_terminal(name),
        "drawing": TASKS[label.task].drawing,
        "width": size_hw[1],
        "height": size_hw[0],
        "photo": _jpeg(_resized(photo, size_hw)),
        "generated": _jpeg(_resized(generated, size_hw)) if generated is not None else "",
        "label": (_png if TASKS[label.task].storage == "ids" else _jpeg)(drawn),
        "others": {for_terminal(title): _jpeg(_resized(rgb, size_hw)) for title, rgb in (others or {}).items()},
        "values": _png(_value_bytes(small)),
        "certainty": _png(np.rint(255 * np.where(small.valid, small.confidence, 0)).astype(np.uint8)),
        "names": _names(small),
        "colors": _colors(small),
        "metric": small.depth_kind in (None, DepthKind.METRIC),
    }


def viewer_gallery(samples: Sequence[Mapping[str, Any]]) -> str:
    """Element with the pictures of all samples, and the viewer of the one that is chosen."""
    facts = [{key: value for key, value in one.items() if key not in _IN_HTML} for one in samples]
    items = "".join(f"<li><button type='button'>{_row(one)}</button></li>" for one in samples)
    data = f"<script type='application/json'>{embed_json(facts)}</script>"
    return f"<div class='viewer-gallery'><ul class='samples'>{items}</ul>{data}</div>" if samples else ""


def viewer_style() -> str:
    """Style of the viewer, to be placed after that of the page."""
    return resources.files("distill.report").joinpath("viewer.css").read_text()


def viewer_script() -> str:
    """Script that fills the galleries of a page, and defines ``distillViewer(element)`` for scripts after it."""
    colors = draw_confidence(np.arange(256, dtype=np.float32)[None] / 255)[0].ravel().tolist()
    script = resources.files("distill.report").joinpath("viewer.js").read_text()
    return script.replace("$confidence_colors", json.dumps(colors, separators=(",", ":"))).replace(
        "$far_warp", repr(float(FAR_WARP))
    )


def embed_json(data: Any) -> str:
    """JSON for the content of a script element, which no text in it can end."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


_IN_HTML = ("photo", "generated", "label", "others")


def _row(one: Mapping[str, Any]) -> str:
    found = {name: (one[name], name) for name in ("photo", "generated", "label") if one[name]}
    found |= {f"other {title}": (uri, title) for title, uri in one["others"].items()}
    images = "".join(
        f"<img loading='lazy' data-view='{for_html(view)}' alt='{for_html(title)}' src='{uri}'>"
        for view, (uri, title) in found.items()
    )
    return f"<span class='row'>{images}</span><small>{for_html(one['name'])}</small>"


def _names(label: Label) -> dict[str, str]:
    """Class by id, of the ids that the map shows."""
    if label.instance_classes:
        return {str(number): name for number, name in drop_absent_instances(label).instance_classes.items()}
    present = np.unique(label.value[label.valid]) if label.classes else ()
    return {str(int(i)): label.classes[int(i)] for i in present if int(i) < len(label.classes)}


def _colors(label: Label) -> dict[str, list[int]]:
    """Color by id, of the classes that the map shows; instances have colors of their own."""
    if label.instance_classes or not label.classes:
        return {}
    table = class_colors(max(len(label.classes), 1))
    return {number: table[int(number)].tolist() for number in _names(label)}


def _value_bytes(label: Label) -> UInt8[ndarray, "h w 3"]:
    """The map as it is stored, in the channels of a picture: 16-bit numbers as R = high, G = low byte."""
    info = TASKS[label.task]
    stored = label_format(label.task).encode_value(label.value, label.valid, info, label.depth_kind)
    if stored.ndim == 3:
        return stored.astype(np.uint8)
    zero = np.zeros_like(stored)
    channels = [stored >> 8, stored & 255, zero] if stored.dtype.itemsize == 2 else [zero, stored, zero]
    return np.stack(channels, axis=-1).astype(np.uint8)


def _resized(rgb: UInt8[ndarray, "h w 3"], size_hw: tuple[int, int]) -> UInt8[ndarray, "h2 w2 3"]:
    return cv2.resize(rgb, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_AREA)


def _jpeg(rgb: UInt8[ndarray, "h w 3"]) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(encode_jpeg(rgb, quality=_JPEG_QUALITY)).decode()}"


def _png(picture: UInt8[ndarray, "h w *c"]) -> str:
    buffer = io.BytesIO()
    # Not `encode_map`, which is made for speed: a page is written once and mailed.
    Image.fromarray(picture).save(buffer, "PNG", compress_level=9)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
