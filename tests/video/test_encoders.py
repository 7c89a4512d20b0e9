"""Encoders: probes, and nothing printed by the libraries below."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from distill.video import VideoCodec, VideoWriter, choose_encoding
from distill.video.encoders import encoder_works


def test_encoders_print_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    encoder_works.cache_clear()
    for codec in VideoCodec:
        encoding = choose_encoding(codec)
        path = tmp_path / f"{codec}.mp4"
        with VideoWriter(path, (48, 64), time_base=Fraction(1, 25), rate=Fraction(25), encoding=encoding) as writer:
            for number in range(3):
                writer.write(np.full((48, 64, 3), 40 * number, np.uint8), number)
    assert capfd.readouterr() == ("", "")


def test_an_encoder_that_is_missing_does_not_work() -> None:
    assert not encoder_works("no_such_encoder") and encoder_works("libx264")
