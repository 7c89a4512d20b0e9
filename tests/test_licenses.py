"""License classes out of names."""

from __future__ import annotations

import pytest

from distill.licenses import LicenseClass, allows, license_class


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Apache-2.0", LicenseClass.COMMERCIAL),
        ("mit", LicenseClass.COMMERCIAL),
        ("CC BY 4.0", LicenseClass.COMMERCIAL),
        ("CC0-1.0", LicenseClass.COMMERCIAL),
        ("CC-BY-NC-4.0", LicenseClass.NON_COMMERCIAL),
        ("CC BY-NC-SA 4.0", LicenseClass.NON_COMMERCIAL),
        ("Non-Commercial", LicenseClass.NON_COMMERCIAL),
        ("restricted (SAM License)", LicenseClass.RESTRICTED),
        ("research (ImageNet)", LicenseClass.RESEARCH),
        ("commercial", LicenseClass.COMMERCIAL),
        ("commercially useless", LicenseClass.UNKNOWN),
        ("MIT-like", LicenseClass.UNKNOWN),
        ("", LicenseClass.UNKNOWN),
    ],
)
def test_names_and_classes_are_known(text: str, kind: LicenseClass) -> None:
    assert license_class(text) is kind


def test_what_nobody_said_satisfies_nothing() -> None:
    assert [required for required in LicenseClass if allows("my own words", required)] == [LicenseClass.UNKNOWN]


def test_only_commercial_satisfies_commercial() -> None:
    kinds = [kind for kind in LicenseClass if allows(str(kind), LicenseClass.COMMERCIAL)]
    assert kinds == [LicenseClass.COMMERCIAL]
