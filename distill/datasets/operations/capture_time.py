"""Time at which a photo was taken, from its name or its EXIF data."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from distill.datasets.shard_set import SampleInfo, ShardSet
from distill.errors import DistillError, UsageError
from distill.images import open_image

_DATE = re.compile(
    r"(?<!\d)(?P<year>19\d\d|20\d\d)[-_.:]?(?P<month>0[1-9]|1[0-2])[-_.:]?(?P<day>0[1-9]|[12]\d|3[01])"
    r"(?:[-_T .]?(?P<hour>[01]\d|2[0-3])[-_.:h]?(?P<minute>[0-5]\d)[-_.:m]?(?P<second>[0-5]\d)"
    r"(?:[-_.,]?(?P<fraction>\d{1,6}))?)?(?!\d)"
)
"""Such as 20240131_235959, 2024-01-31T23-59-59.250 and 2024-01-31."""
_UNIX = re.compile(r"(?<!\d)(?P<seconds>1\d{9})(?:\.(?P<fraction>\d{1,9})|(?P<more>\d{3}|\d{6}|\d{9}))?(?!\d)")
"""Seconds since 1970, with a fraction, or in milli-, micro- or nanoseconds: 2001 to 2033."""
_FRAME = re.compile(r"#(\d+)$")
_MAX_FRAMES = 1e9
_EXIF_POINTER, _ORIGINAL, _DIGITIZED, _SUBSECONDS = 0x8769, 0x9003, 0x9004, 0x9291


def capture_time(source: ShardSet, info: SampleInfo) -> float:
    """Seconds since 1970, in the clock of the camera; frames of a video follow each other.

    Raises:
        UsageError: Neither the name nor the photo states a time.
    """
    name = str(info.meta.get("name") or info.key)
    found = time_of_name(name)
    if found is None:
        found = time_of_exif(source[info.position].photo, name)
    if found is None:
        raise UsageError(
            f"{source.folder}: sample {info.key}: neither its name {name} nor its EXIF data states a time",
            hint="split by clip or folder, or put the time into the names, such as 20240131_235959.jpg",
        )
    frame = _FRAME.search(name)
    return found + (int(frame[1]) / _MAX_FRAMES if frame else 0.0)


def time_of_name(name: str) -> float | None:
    """The time in a name; the last one of several."""
    for match in reversed(list(_DATE.finditer(name))):
        parts = {key: int(value or 0) for key, value in match.groupdict().items() if key != "fraction"}
        try:
            moment = datetime(*parts.values(), tzinfo=UTC)  # type: ignore[misc,arg-type]
        except ValueError:  # the 31st of February
            continue
        return moment.timestamp() + float(f"0.{match['fraction'] or 0}")
    for match in reversed(list(_UNIX.finditer(name))):
        return int(match["seconds"]) + float(f"0.{match['fraction'] or match['more'] or 0}")
    return None


def time_of_exif(data: bytes, name: str) -> float | None:
    """The time at which a photo was taken, as its EXIF data states it."""
    try:
        with open_image(data, name) as image:
            tags = image.getexif().get_ifd(_EXIF_POINTER)
    except DistillError:
        return None
    for tag in (_ORIGINAL, _DIGITIZED):
        try:
            moment = datetime.strptime(str(tags.get(tag, ""))[:19], "%Y:%m:%d %H:%M:%S").replace(tzinfo=UTC)
        except ValueError:
            continue
        fraction = re.match(r"\d{1,6}", str(tags.get(_SUBSECONDS, "")))
        return moment.timestamp() + (float(f"0.{fraction[0]}") if fraction else 0.0)
    return None
