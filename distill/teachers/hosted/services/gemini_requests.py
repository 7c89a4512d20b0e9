"""Image sizes and generation settings of Gemini requests."""

from __future__ import annotations

from typing import Any

from distill.config.hosted import GeminiConfig
from distill.teachers.hosted.services.base import Request

_SIZES_1K = {
    (1024, 1024): "1:1",
    (1264, 848): "2:3",
    (848, 1264): "3:2",
    (1200, 896): "3:4",
    (896, 1200): "4:3",
    (1152, 928): "4:5",
    (928, 1152): "5:4",
    (1376, 768): "9:16",
    (768, 1376): "16:9",
    (672, 1584): "21:9",
}
"""Image sizes (height, width) at 1K with their ratio; 2K and 4K are two and four times as long. None has exactly its
nominal ratio (3:2 is 1.491), so photos are resized to the size and not to the ratio."""
_SCALES = {"1K": 1, "2K": 2, "4K": 4}


def image_sizes(image_size: str) -> list[tuple[int, int]]:
    """All image sizes (height, width) of ``1K``, ``2K`` or ``4K``."""
    scale = _SCALES[image_size]
    return [(height * scale, width * scale) for height, width in _SIZES_1K]


def aspect_ratio(canvas_hw: tuple[int, int]) -> str:
    """Google's name of the ratio of an image size, such as ``3:2``."""
    for (height, width), name in _SIZES_1K.items():
        if canvas_hw in [(height * scale, width * scale) for scale in _SCALES.values()]:
            return name
    raise ValueError(f"{canvas_hw} is not an image size of the Gemini API")


def generation_config(request: Request, config: GeminiConfig) -> dict[str, Any]:
    """Generation settings of a request, as JSON of the REST API."""
    if not request.expects_image:
        return {"temperature": 0.0}
    image = {
        "aspectRatio": aspect_ratio(request.canvas_hw) if request.canvas_hw else None,
        "imageSize": config.image_size,
    }
    settings: dict[str, Any] = {
        "responseModalities": ["IMAGE"],
        "seed": request.wire_seed,
        "temperature": config.temperature,
        "imageConfig": {name: value for name, value in image.items() if value is not None},
        "thinkingConfig": {"thinkingLevel": config.thinking.upper()} if config.thinking else None,
    }
    return {name: value for name, value in settings.items() if value is not None}
