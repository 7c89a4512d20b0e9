"""What licenses allow, as far as a machine should say: a class for each name, and a link to the terms.

A license is written as its usual name (``Apache-2.0``), as a class (``non-commercial``), or as a class with a name
behind it (``restricted (FLUX Kommunity License)``), which is how a name that is not known here says its class. The text
travels with every label. These are facts for sorting, and no legal advice.
"""

from __future__ import annotations

import re
from enum import StrEnum


class LicenseClass(StrEnum):
    """What the terms of a label, or of the model that made it, say about use."""

    COMMERCIAL = "commercial"
    """Commercial use is allowed, with notices at most."""
    RESTRICTED = "restricted"
    """Commercial use is allowed under conditions on what may be done or by whom; read the terms."""
    NON_COMMERCIAL = "non-commercial"
    RESEARCH = "research"
    UNKNOWN = "unknown"
    """Nobody said."""


_ALLOWED_BY: dict[LicenseClass, frozenset[LicenseClass]] = {
    LicenseClass.COMMERCIAL: frozenset({LicenseClass.COMMERCIAL}),
    LicenseClass.RESTRICTED: frozenset({LicenseClass.COMMERCIAL, LicenseClass.RESTRICTED}),
    LicenseClass.NON_COMMERCIAL: frozenset(
        {LicenseClass.COMMERCIAL, LicenseClass.RESTRICTED, LicenseClass.NON_COMMERCIAL}
    ),
    LicenseClass.RESEARCH: frozenset(LicenseClass) - {LicenseClass.UNKNOWN},
    LicenseClass.UNKNOWN: frozenset(LicenseClass),
}
_KNOWN = {
    LicenseClass.COMMERCIAL: (
        r"apache(-2\.0)?|mit|bsd(-[23]-clause)?|isc|zlib|unlicense|cc0(-1\.0)?|cc-by(-sa)?(-\d\.\d)?|public[- ]domain"
    ),
    LicenseClass.NON_COMMERCIAL: r"cc-by-nc(-(sa|nd))?(-\d\.\d)?",
}
_CLASS_FIRST = re.compile(rf"({'|'.join(LicenseClass)})\s*(\(.*\))?", re.IGNORECASE | re.DOTALL)


def license_class(license: str) -> LicenseClass:
    """The class of a license as it is written in configs and labels; unknown when neither name nor class is known."""
    text = license.strip()
    if found := _CLASS_FIRST.fullmatch(text):
        return LicenseClass(found.group(1).lower())
    for kind, names in _KNOWN.items():
        if re.fullmatch(names, re.sub(r"[\s_]+", "-", text), re.IGNORECASE):
            return kind
    return LicenseClass.UNKNOWN


def allows(license: str, required: LicenseClass) -> bool:
    """Whether a label under this license may stand where that much is required.

    ``commercial`` lets nothing else through; ``unknown`` lets everything through; what nobody said satisfies nothing.
    """
    return license_class(license) in _ALLOWED_BY[required]
