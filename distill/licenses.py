"""License classes: a coarse class for each license name, for filtering labels. No legal advice.

A license is written as its usual name (``Apache-2.0``), as a class (``non-commercial``), or as a class followed by a
name (``restricted (FLUX Kommunity License)``), which gives an unknown name its class. Every label carries this text.
"""

from __future__ import annotations

import re
from enum import StrEnum


class LicenseClass(StrEnum):
    """Permitted use of a label, by the terms of the label or of the model that made it."""

    COMMERCIAL = "commercial"
    """Commercial use is allowed, with notices at most."""
    RESTRICTED = "restricted"
    """Commercial use is allowed under conditions on the use or the user; read the terms."""
    NON_COMMERCIAL = "non-commercial"
    RESEARCH = "research"
    UNKNOWN = "unknown"
    """No license is stated."""


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
    """The class of a license text; unknown if neither name nor class is known."""
    text = license.strip()
    if found := _CLASS_FIRST.fullmatch(text):
        return LicenseClass(found.group(1).lower())
    for kind, names in _KNOWN.items():
        if re.fullmatch(names, re.sub(r"[\s_]+", "-", text), re.IGNORECASE):
            return kind
    return LicenseClass.UNKNOWN


def allows(license: str, required: LicenseClass) -> bool:
    """Whether a label under this license satisfies a required class.

    ``commercial`` accepts only commercial licenses, ``unknown`` accepts all; a label without a stated license satisfies
    only ``unknown``.
    """
    return license_class(license) in _ALLOWED_BY[required]
