"""Licence classes out of names."""

from __future__ import annotations

import pytest

from distill.licences import LicenceClass, allows, licence_class


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Apache-2.0", LicenceClass.COMMERCIAL),
        ("mit", LicenceClass.COMMERCIAL),
        ("CC BY 4.0", LicenceClass.COMMERCIAL),
        ("CC0-1.0", LicenceClass.COMMERCIAL),
        ("CC-BY-NC-4.0", LicenceClass.NON_COMMERCIAL),
        ("CC BY-NC-SA 4.0", LicenceClass.NON_COMMERCIAL),
        ("Non-Commercial", LicenceClass.NON_COMMERCIAL),
        ("restricted (SAM License)", LicenceClass.RESTRICTED),
        ("research (ImageNet)", LicenceClass.RESEARCH),
        ("commercial", LicenceClass.COMMERCIAL),
        ("commercially useless", LicenceClass.UNKNOWN),
        ("MIT-like", LicenceClass.UNKNOWN),
        ("", LicenceClass.UNKNOWN),
    ],
)
def test_names_and_classes_are_known(text: str, kind: LicenceClass):
    assert licence_class(text) is kind


def test_what_nobody_said_satisfies_nothing():
    assert [required for required in LicenceClass if allows("my own words", required)] == [LicenceClass.UNKNOWN]


def test_only_commercial_satisfies_commercial():
    kinds = [kind for kind in LicenceClass if allows(str(kind), LicenceClass.COMMERCIAL)]
    assert kinds == [LicenceClass.COMMERCIAL]
