"""Canvas sizes (height, width) of hosted image models.

Google's sizes at 1K; 2K and 4K are twice and four times as long. None has exactly its nominal shape (3:2 is 1.491), so
the photo is resized to the very size, not to the ratio.
"""

from __future__ import annotations

from distill.config.hosted import GeminiConfig, HostedConfig, OpenaiConfig

_GEMINI_1K = {
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
_TIMES = {"1K": 1, "2K": 2, "4K": 4}


def canvas_sizes(config: HostedConfig) -> list[tuple[int, int]]:
    """The sizes among which a photo's canvas is chosen; empty: the photo keeps its own size."""
    if isinstance(config, GeminiConfig) and config.canvas_mode == "exact":
        times = _TIMES[config.image_size]
        return [(height * times, width * times) for height, width in _GEMINI_1K]
    return list(config.sizes_hw) if isinstance(config, OpenaiConfig) else []


def gemini_ratio(canvas_hw: tuple[int, int]) -> str:
    """How Google's API calls the shape of a canvas, such as ``3:2``."""
    for (height, width), name in _GEMINI_1K.items():
        if canvas_hw in [(height * times, width * times) for times in _TIMES.values()]:
            return name
    raise ValueError(f"{canvas_hw} is no canvas of theirs")
