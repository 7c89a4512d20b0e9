"""Fields and conditions over samples, which are true, false or unknown."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["number", "text", "choice", "names"]
Value = Callable[[Any], Any]
Condition = Callable[[Any], bool | None]
"""True, False, or None where it is unknown."""
DESCRIPTIONS: Mapping[Kind, str] = {
    "number": "a number",
    "text": "a text",
    "choice": "one of several names",
    "names": "a list of names",
}


@dataclass(frozen=True)
class Field:
    """A field of the expression.

    Attributes:
        kind: Of its values.
        read: Its value for a sample; None where the sample has none.
        choices: Names that can occur; empty: any.
        spelling: Brings a name into the form of `choices`.
    """

    kind: Kind
    read: Value
    choices: Collection[str] = ()
    spelling: Callable[[str], str] = str


def nearest(name: str, known: Iterable[str]) -> str:
    """Hint that names the most similar known names, or all of them."""
    listed = list(known)
    near = difflib.get_close_matches(name, listed, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(listed[:40])}"


def all_of(parts: list[Condition], *, stop: bool) -> Condition:
    """``and`` (stop at False) or ``or`` (stop at True) with unknown values."""

    def evaluate(sample: Any) -> bool | None:
        unknown = False
        for part in parts:
            found = part(sample)
            if found is stop:
                return stop
            unknown = unknown or found is None
        return None if unknown else not stop

    return evaluate


def negated_if(negated: bool, condition: Condition) -> Condition:
    """The opposite of a condition; what is unknown stays so."""
    if not negated:
        return condition
    return lambda sample: None if (found := condition(sample)) is None else not found
