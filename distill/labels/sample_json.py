"""The json of a sample with the same keys and types in every sample, for loaders that infer columns from a few samples.

Where a key does not apply, its text is empty, its number is -1, and a list of instances or phrases has one such row;
entries that only some samples have are one text, ``details``, which is json itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from distill.files import parse_json
from distill.tasks import TASKS, Task

_DETAILS = "details"
_NO_ROW: Final[Mapping[str, Any]] = {
    "instances": {"id": -1, "class": "", "pixels": -1, "visible_pixels": -1, "covered": ""},
    "referring": "",
}
"""Row of a list that would be empty, by the name of the list."""
_LISTS: Final = {"instances": "instance_classes", "referring": "referring"}
"""These lists to the class list of their task."""
_PARTS = ("color_validity", "registration", "edge_alignment", "cross_task", "agreement", "content")
_REGISTRATION: Final[Mapping[str, Any]] = {
    "accepted": False,
    "aspect": -1.0,
    "reason": "",
    "residual_px": -1.0,
    "score": -1.0,
    "shift_px": [0.0, 0.0],
    "zoom": -1.0,
}
_RECORD: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("task", "teacher", "license", "terms", "model", "prompt", "prompt_hash", "class"), ""),
    **dict.fromkeys(("answer", "answer_format"), ""),
    **dict.fromkeys(("cost_usd", "confidence", "valid_fraction", "quality", "expected_error"), -1.0),
    "quality_parts": dict.fromkeys(_PARTS, -1.0),
    "registration": _REGISTRATION,
}
_SAMPLE: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("name", "photo_sha256", "photo_hash", "photo_format", "depth_kind"), ""),
    "size_hw": [-1, -1],
    "origin": {"frame": -1, "scene": -1, "seed": -1},
}


def to_uniform(meta: Mapping[str, Any], tasks: Sequence[Task]) -> dict[str, Any]:
    """The values of a sample's json, with all keys; lists have a row where one of `tasks` fills them."""
    lists = {TASKS[task].class_list for task in tasks}
    values = _filled(meta, _SAMPLE, ("records", *_LISTS))
    values["records"] = [_filled(row, _RECORD) for row in meta.get("records") or [{}]]
    for name, class_list in _LISTS.items():
        rows = meta.get(name) or []
        values[name] = rows or ([_NO_ROW[name]] if class_list in lists else [])
    return values


def from_uniform(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values without what does not apply; the inverse of `to_uniform`. Values of other programs stay as they are."""
    meta = _emptied(values, _SAMPLE)
    if isinstance(values.get("records"), list):
        rows = [_emptied(row, _RECORD) if isinstance(row, dict) else row for row in values["records"]]
        meta["records"] = [row for row in rows if row != {}]
    for name, row in _NO_ROW.items():
        if isinstance(values.get(name), list):
            meta[name] = [one for one in values[name] if one != row]
    return meta


def _filled(given: Mapping[str, Any], template: Mapping[str, Any], others: Sequence[str] = ()) -> dict[str, Any]:
    """Values by the template; what it does not name, or names with another type, is in ``details``."""
    values: dict[str, Any] = {}
    named = (*template, *others)
    rest = {name: value for name, value in given.items() if name not in named and value not in (None, "", [], {})}
    for name, default in template.items():
        value = given.get(name)
        fits = _as_type(value, default)
        values[name] = default if fits is None else fits
        if fits is None and value is not None:
            rest[name] = value
    values[_DETAILS] = json.dumps(rest, sort_keys=True, ensure_ascii=False) if rest else ""
    return values


def _as_type(value: Any, default: Any) -> Any:
    """The value in the type of the default; None if it does not fit."""
    if isinstance(default, dict):
        if not isinstance(value, dict) or set(value) - set(default):
            return None
        parts = {name: one if value.get(name) is None else _as_type(value[name], one) for name, one in default.items()}
        return None if None in parts.values() else parts
    if isinstance(default, list):
        is_alike = isinstance(value, list | tuple) and len(value) == len(default)
        items = [_as_type(one, kind) for one, kind in zip(value, default, strict=True)] if is_alike else [None]
        return None if None in items else items
    if isinstance(default, float) and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    return value if type(value) is type(default) else None


def _emptied(values: Mapping[str, Any], template: Mapping[str, Any]) -> dict[str, Any]:
    """Values that differ from the template, with those of ``details``."""
    found = {name: value for name, value in values.items() if name not in template or value != template[name]}
    for name in ("quality_parts", "origin"):
        if isinstance(found.get(name), dict) and isinstance(template.get(name), dict):
            found[name] = {key: one for key, one in found[name].items() if one != template[name].get(key)}
    details = found.pop(_DETAILS, "")
    try:
        more = parse_json(details) if details else {}
    except (ValueError, TypeError):
        more = None
    if isinstance(more, dict):
        return found | more
    return found | {_DETAILS: details}
