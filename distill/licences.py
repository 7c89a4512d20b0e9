"""What licences allow, as far as a machine should say: a class for each name, and a link to the terms.

A licence is written as its usual name (``Apache-2.0``), as a class (``non-commercial``), or as a class with a name
behind it (``restricted (FLUX Kommunity License)``), which is how a name that is not known here says its class. The text
travels with every label. These are facts for sorting, and no legal advice.
"""

from __future__ import annotations

import re
from enum import StrEnum


class LicenceClass(StrEnum):
    """What the terms of a label, or of the model that made it, say about use."""

    COMMERCIAL = "commercial"
    """Commercial use is allowed, with notices at most."""
    RESTRICTED = "restricted"
    """Commercial use is allowed under conditions on what may be done or by whom; read the terms."""
    NON_COMMERCIAL = "non-commercial"
    RESEARCH = "research"
    UNKNOWN = "unknown"
    """Nobody said."""


_ALLOWED_BY: dict[LicenceClass, frozenset[LicenceClass]] = {
    LicenceClass.COMMERCIAL: frozenset({LicenceClass.COMMERCIAL}),
    LicenceClass.RESTRICTED: frozenset({LicenceClass.COMMERCIAL, LicenceClass.RESTRICTED}),
    LicenceClass.NON_COMMERCIAL: frozenset(
        {LicenceClass.COMMERCIAL, LicenceClass.RESTRICTED, LicenceClass.NON_COMMERCIAL}
    ),
    LicenceClass.RESEARCH: frozenset(LicenceClass) - {LicenceClass.UNKNOWN},
    LicenceClass.UNKNOWN: frozenset(LicenceClass),
}
_KNOWN = {
    LicenceClass.COMMERCIAL: (
        r"apache(-2\.0)?|mit|bsd(-[23]-clause)?|isc|zlib|unlicense|cc0(-1\.0)?|cc-by(-sa)?(-\d\.\d)?|public[- ]domain"
    ),
    LicenceClass.NON_COMMERCIAL: r"cc-by-nc(-(sa|nd))?(-\d\.\d)?",
}
_CLASS_FIRST = re.compile(rf"({'|'.join(LicenceClass)})\s*(\(.*\))?", re.IGNORECASE | re.DOTALL)


def licence_class(licence: str) -> LicenceClass:
    """The class of a licence as it is written in recipes and labels; unknown when neither name nor class is known."""
    text = licence.strip()
    if found := _CLASS_FIRST.fullmatch(text):
        return LicenceClass(found.group(1).lower())
    for kind, names in _KNOWN.items():
        if re.fullmatch(names, re.sub(r"[\s_]+", "-", text), re.IGNORECASE):
            return kind
    return LicenceClass.UNKNOWN


def allows(licence: str, required: LicenceClass) -> bool:
    """Whether a label under this licence may stand where that much is required.

    ``commercial`` lets nothing else through; ``unknown`` lets everything through; what nobody said satisfies nothing.
    """
    return licence_class(licence) in _ALLOWED_BY[required]
