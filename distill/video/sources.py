"""Anything that gives frames, by the word that names it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from distill.video.decoders import Decoder
from distill.video.frames import Source
from distill.video.live import LiveReader, is_live
from distill.video.reader import VideoReader
from distill.video.sequence import ImageSequence, is_sequence


def open_source(word: str, *, rate: Fraction = Fraction(25), decoder: Decoder = Decoder.THREADS, **live: Any) -> Source:
    """What this word names.

    Args:
        word: A file, a pattern such as ``frames/%06d.png``, an address, or ``/dev/video0``.
        rate: Of numbered pictures.
        decoder: Of a file.
        live: For cameras, as `LiveReader` takes it.

    Raises:
        DistillError: It cannot be read or reached.
    """
    if is_live(word):
        return LiveReader(word, **live)
    if is_sequence(word) and not Path(word).is_file():
        return ImageSequence(word, rate)
    return VideoReader(Path(word), decoder)
