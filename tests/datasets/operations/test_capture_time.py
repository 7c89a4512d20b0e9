"""Times in names and in EXIF data."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from distill.datasets.operations.capture_time import time_of_exif, time_of_name
from tests.builders.images import saved

MOMENT = datetime(2024, 1, 31, 23, 58, 59, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("IMG_20240131_235859.jpg", MOMENT),
        ("a/2024-01-31T23-58-59.250.png", MOMENT + 0.25),
        ("2024-01-31 23.58.59.jpg", MOMENT),
        ("2024-01-31/front.jpg", datetime(2024, 1, 31, tzinfo=UTC).timestamp()),
        ("20230101_000000/20240131_235859.jpg", MOMENT),
        ("1305031102.175304.png", 1305031102.175304),
        ("cam0/1403636579763555584.png", 1403636579.763555584),
        ("photo_0001.jpg", None),
        ("20241399_000000.jpg", None),
        ("20230231.jpg", None),
        ("123456789012345678901.jpg", None),
    ],
)
def test_times_in_names(name: str, seconds: float | None) -> None:
    assert time_of_name(name) == (None if seconds is None else pytest.approx(seconds, abs=1e-3))


def test_times_in_exif_data() -> None:
    picture, exif = Image.fromarray(np.zeros((8, 8, 3), np.uint8)), Image.Exif()
    exif.get_ifd(0x8769).update({0x9003: "2024:01:31 23:58:59", 0x9291: "25"})
    assert time_of_exif(saved(picture, "JPEG", exif=exif), "a.jpg") == pytest.approx(MOMENT + 0.25)
    assert time_of_exif(saved(picture, "JPEG"), "a.jpg") is None
    assert time_of_exif(b"no image", "a.jpg") is None
