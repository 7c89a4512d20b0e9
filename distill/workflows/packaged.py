"""Configs that come with distill: the folders of ``configs`` in a checkout, a copy in the package in a wheel."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

_PACKAGE = Path(__file__).resolve().parents[1]


def packaged_configs(folder: Literal["teachers", "runs"]) -> dict[str, Path]:
    """Paths of the packaged configs in a folder, by name."""
    places = (_PACKAGE / "config" / folder, _PACKAGE.parent / "configs" / folder)
    found = next((place for place in places if place.is_dir()), None)
    return {path.stem: path for path in sorted(found.glob("*.yaml"))} if found is not None else {}
