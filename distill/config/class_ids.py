"""Class lists of configs, and stored ids or names to the ids of a class list."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any

import numpy as np
from jaxtyping import Bool, Int, Int16, UInt8
from numpy import ndarray
from pydantic import BeforeValidator

from distill.errors import DistillError
from distill.tasks import IGNORE_SEMANTIC, MAX_CLASSES

IGNORE = "ignore"
"""Target of stored classes that are no class of the list."""
OTHERS = "*"
"""Key of `remap` for every stored id that nothing else names."""
_UNKNOWN = -1
_MOST_VOID = 0.5
"""Ids outside a complete remap are ignored up to this share of the pixels."""
_QUOTES = "put it in quotes"


def _class_name(value: Any) -> str:
    if isinstance(value, bool):
        raise ValueError(f"YAML reads yes, no, on, off, true and false as truth values; {_QUOTES} if it is a name")
    if value is None:
        raise ValueError(f"YAML reads null, ~ and an empty value as nothing; {_QUOTES} if it is a name")
    if not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is not a name; {_QUOTES}")
    return str(value).strip()


def _class_names(value: Any) -> Any:
    return [_class_name(name) for name in value] if isinstance(value, list | tuple) else value


ClassNames = Annotated[tuple[str, ...], BeforeValidator(_class_names)]
"""Names of classes; YAML's truth values and nulls are refused, numbers become text."""


def _id_or_name(key: Any) -> int | str:
    if isinstance(key, float) and key.is_integer():
        return int(key)
    name = key if isinstance(key, int) and not isinstance(key, bool) else _class_name(key)
    return int(name) if isinstance(name, str) and name.removeprefix("-").isdecimal() else name


def _remap(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    found: dict[int | str, str] = {}
    for key, target in value.items():
        stored = _id_or_name(key)
        if stored in found:
            raise ValueError(f"{stored!r} is given twice")
        found[stored] = _class_name(target)
    return found


Remap = Annotated[dict[int | str, str], BeforeValidator(_remap)]
"""Stored id or stored name to a class, or to ``ignore``; ``"7"`` is 7, and ``"*"`` is every id that has no entry."""


def spread_class_mapping(values: Any) -> Any:
    """Config values whose ``classes`` are a mapping of ids and names, with a list and a remap instead."""
    classes = values.get("classes") if isinstance(values, Mapping) else None
    if not isinstance(classes, Mapping):
        return values
    is_by_name = all(isinstance(held, int) and not isinstance(held, bool) for held in classes.values())
    by_id = {held: name for name, held in classes.items()} if is_by_name else dict(classes)
    names = list(dict.fromkeys(name for name in by_id.values() if name != IGNORE))
    return {**values, "classes": names, "remap": {**by_id, **(values.get("remap") or {})}}


def check_targets(classes: Sequence[str], remap: Mapping[int | str, str]) -> None:
    """Raise ValueError for a class list that is too long or has duplicates, or a target class that is not in it."""
    if len(classes) > MAX_CLASSES:
        raise ValueError(f"{len(classes)} classes, more than {MAX_CLASSES}: ids are stored in 8 bits")
    if len(set(classes)) != len(classes):
        raise ValueError("a class is named twice")
    for key, target in remap.items():
        if target != IGNORE and target not in classes:
            raise ValueError(f"remap {key!r}: {target!r} is not among the classes {_few(classes)}")


def check_sources(stored: Sequence[str], remap: Mapping[int | str, str]) -> None:
    """Raise ValueError for a name in `remap` that is not stored."""
    for key in remap:
        if isinstance(key, str) and key not in (OTHERS, *stored):
            raise ValueError(f"remap {key!r}: no stored class has this name, only {_few(stored)}")


def check_stored(classes: Sequence[str], stored: Sequence[str], remap: Mapping[int | str, str]) -> None:
    """Raise ValueError for stored names that lead to no class, while no stored id leads to some class."""
    targets = {remap.get(name, name) for name in stored} | set(remap.values())
    named = {*classes, *remap, "", IGNORE}
    lost, missed = [name for name in stored if name not in named], [name for name in classes if name not in targets]
    if lost and missed and OTHERS not in remap:
        raise ValueError(
            f"stored class {_few(lost)} leads to none of the classes, and nothing stored leads to {_few(missed)}; "
            "use one spelling, or name both in remap"
        )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:40]) + (f" and {len(names) - 40} more" if len(names) > 40 else "")


@dataclass(frozen=True)
class ClassIds:
    """Stored ids to the ids of a class list: by `remap` (id or name) first, then by equal name.

    Attributes:
        classes: The class list.
        stored: Names of the stored ids, in order; empty: ids are positions in `classes`, except those of classes that
            `remap` gives to another id.
        remap: As in `distill.config.maps.MapConfig.remap`.
    """

    classes: tuple[str, ...]
    stored: tuple[str, ...]
    remap: Mapping[int | str, str]

    @cached_property
    def _targets(self) -> dict[int, int]:
        """Class id, or 255 (ignore), of every stored id that is named."""
        index = {name: position for position, name in enumerate(self.classes)}
        by_id = {key: name for key, name in self.remap.items() if isinstance(key, int) and str(key) not in self.stored}
        moved = set(by_id.values())
        found = {}
        for position, name in enumerate(self.stored or self.classes):
            key = int(name) if name.isdecimal() else name
            if self.stored:
                found[position] = index.get(self.remap.get(key, name), IGNORE_SEMANTIC)
            elif name in self.remap or name not in moved:
                found[position] = index.get(self.remap.get(name, name), IGNORE_SEMANTIC)
        return found | {key: index.get(name, IGNORE_SEMANTIC) for key, name in by_id.items()}

    @property
    def _is_complete(self) -> bool:
        """Whether `remap` gives an id to every class."""
        return set(self.classes) <= {name for key, name in self.remap.items() if isinstance(key, int)}

    def channels(self, count: int) -> tuple[int, ...]:
        """Class id, or 255 (ignore), of each channel of a network with one channel per stored class."""
        return tuple(IGNORE_SEMANTIC if target == _UNKNOWN else int(target) for target in self._table(0, count - 1))

    def _table(self, low: int, high: int) -> Int16[ndarray, " n"]:
        index = {name: position for position, name in enumerate(self.classes)}
        other = index.get(self.remap[OTHERS], IGNORE_SEMANTIC) if OTHERS in self.remap else _UNKNOWN
        table = np.full(high - low + 1, other, np.int16)
        for stored, target in self._targets.items():
            if low <= stored <= high:
                table[stored - low] = target
        return table

    def convert(self, ids: Int[ndarray, "h w"], known: Bool[ndarray, "h w"], where: str) -> UInt8[ndarray, "h w"]:
        """Class ids, 255 where not known or ignored.

        Args:
            ids: Stored ids.
            known: Where they are not listed as invalid.
            where: File or function, for errors.

        Raises:
            DistillError: An id is not named, or 0 and 255 are a mask of the foreground.
        """
        if not known.any():
            return np.full(ids.shape, IGNORE_SEMANTIC, np.uint8)
        value = self._look_up(ids if known.all() else np.where(known, ids, ids[known][0]))
        value[~known] = IGNORE_SEMANTIC
        unknown = value == _UNKNOWN
        if unknown.any():
            self._check_unknown(ids, value, unknown, where)
            value[unknown] = IGNORE_SEMANTIC
        return value.astype(np.uint8)

    def unlisted(self, ids: Int[ndarray, "h w"]) -> tuple[int, ...]:
        """Ids of a converted map that `remap` does not name, while it names an id of every class; 255 aside."""
        if OTHERS in self.remap or not self._is_complete:
            return ()
        return tuple(sorted(set(np.unique(ids).tolist()) - set(self._targets) - {IGNORE_SEMANTIC}))

    def _look_up(self, ids: Int[ndarray, "h w"]) -> Int16[ndarray, "h w"]:
        """Class id of every pixel, -1 where its id is not named."""
        low, high = int(ids.min()), int(ids.max())
        if high - low < 1 << 16:
            return self._table(low, high)[ids.astype(np.int64) - low if low else ids]
        distinct, places = np.unique(ids, return_inverse=True)
        targets = np.concatenate([self._table(int(one), int(one)) for one in distinct])
        return targets[places.reshape(ids.shape)]

    def _check_unknown(
        self, ids: Int[ndarray, "h w"], value: Int16[ndarray, "h w"], unknown: Bool[ndarray, "h w"], where: str
    ) -> None:
        """Raise unless the unknown ids are known to have no class."""
        found, counts = np.unique(ids[unknown], return_counts=True)
        has_class = (value != _UNKNOWN) & (value != IGNORE_SEMANTIC)
        if found.tolist() == [IGNORE_SEMANTIC]:
            if (has_class & (ids != 0)).any():
                return
            name = self.classes[-1] if len(self.classes) == 2 else "CLASS"
            raise DistillError(
                f"{where}: the only id other than 0 is 255 ({unknown.mean():.1%} of the pixels), which is none of "
                f"{self._listed()}",
                hint=f"add remap: {{255: {name}}}, or {{255: ignore}} if these pixels have no class",
            )
        if self._is_complete and unknown.mean() < _MOST_VOID and len(np.unique(value[has_class])) > 1:
            return
        shown = ", ".join(str(one) for one in found[:5].tolist()) + (" ..." if len(found) > 5 else "")
        text = f"{'id' if len(found) == 1 else 'ids'} {shown} ({counts.sum() / ids.size:.1%} of the pixels)"
        raise DistillError(f"{where}: {text}: none of {self._listed()}", hint=self._advice(found.tolist()))

    def _listed(self) -> str:
        names = self.stored or self.classes
        text = f"the {len(names)} {'stored classes' if self.stored else 'classes'}"
        return f"{text} or of remap" if self.remap else text

    def _advice(self, found: Sequence[int]) -> str:
        if found[0] == len(self.stored or self.classes):
            return "if the ids start at 1, write an empty name first in stored_classes; else name these ids in remap"
        if found[0] < 0:
            return f"list {found[0]} in invalid, or name it in remap"
        return f'name them in remap, or add "{OTHERS}": ignore to it'
