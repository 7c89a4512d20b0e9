"""Images and clips whose frames can be told apart."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from PIL import Image

from distill.video import VideoWriter

CELLS = 6
"""Bits of the frame number that are drawn into each frame, as black and white blocks."""


def numbered_frame(number: int, size_hw: tuple[int, int]) -> np.ndarray:
    """A frame that says its number: block i of the top half is white when bit i is set."""
    rgb = np.full((*size_hw, 3), 90, np.uint8)
    width = size_hw[1] // CELLS
    for bit in range(CELLS):
        rgb[: size_hw[0] // 2, bit * width : (bit + 1) * width] = 255 * (number >> bit & 1)
    return rgb


def read_number(rgb: np.ndarray) -> int:
    """The number drawn by `numbered_frame`."""
    width = rgb.shape[1] // CELLS
    bits = [rgb[: rgb.shape[0] // 2, bit * width : (bit + 1) * width].mean() > 128 for bit in range(CELLS)]
    return sum(int(bit) << index for index, bit in enumerate(bits))


def make_clip(
    path: Path,
    *,
    num_frames: int = 20,
    size_hw: tuple[int, int] = (48, 96),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    times: Sequence[int] | None = None,
    rotation: int = 0,
    sound: bool = False,
) -> Path:
    """A clip of numbered frames; `times` are in units of 1/1000 s."""
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *size_hw, pix_fmt
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation:
            stream.set_display_rotation(rotation)
        tone = container.add_stream("aac", rate=16000, layout="mono") if sound else None
        for number in range(num_frames):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, size_hw), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone is not None:
            samples = np.sin(np.arange(16000 * num_frames // 25) / 5)[None].astype(np.float32)
            wave = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
            wave.sample_rate, wave.pts = 16000, 0
            container.mux(tone.encode(wave))
            container.mux(tone.encode(None))
    return path


def write_photo(path: Path, size_hw: tuple[int, int], seed: int = 0) -> Path:
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(cv2.resize(coarse, size_hw[::-1], interpolation=cv2.INTER_CUBIC)).save(path)
    return path


def write_clip(path: Path, times: list[int], size_hw: tuple[int, int] = (48, 64), noise: int = 0) -> Path:
    """Frame n is gray at 10 + 10 n, with noise on top; times in milliseconds."""
    random = np.random.default_rng(0)
    with VideoWriter(path, size_hw, time_base=Fraction(1, 1000), rate=Fraction(25), crf=1) as writer:
        for number, time in enumerate(times):
            gray = 10 + 10 * number + random.integers(0, noise + 1, (*size_hw, 3))
            writer.write(np.clip(gray, 0, 255).astype(np.uint8), time)
    return path


def write_stream(
    path: Path,
    numbers: Sequence[int],
    *,
    start_s: float = 0.0,
    sound: bool = False,
    codec: str = "mpeg2video",
    size_hw: tuple[int, int] = (48, 96),
    rate: int = 25,
    aspect: Fraction = Fraction(1),
    interlaced: bool = False,
) -> Path:
    """A recording of numbered frames whose clock begins at `start_s`, by default as broadcast in MPEG."""
    with av.open(str(path), "w", options={"output_ts_offset": str(start_s), "muxdelay": "0"}) as container:
        options = {"flags": "+ildct+ilme"} if interlaced else {}
        stream = container.add_stream(codec, rate=rate, options={"g": "10", "bf": "0", **options})
        stream.height, stream.width, stream.pix_fmt = *size_hw, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        tone = container.add_stream("mp2", rate=32000, layout="mono") if sound else None
        if tone is not None:
            samples = (8000 * np.sin(np.arange(32000 * len(numbers) // rate) / 5))[None].astype(np.int16)
            wave = av.AudioFrame.from_ndarray(samples, format="s16", layout="mono")
            wave.sample_rate, wave.pts = 32000, 0
            voice = [*tone.encode(wave), *tone.encode(None)]
        for number in numbers:
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, size_hw), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if tone is not None:
            container.mux(voice)
    return path


def unknown_sound(clip: Path) -> Path:
    """The clip with sound in a codec that no decoder knows."""
    data = clip.read_bytes()
    at = data.index(b"mp4a", data.index(b"stsd"))
    changed = data[:at] + data[at : at + 200].replace(b"mp4a", b"apac").replace(b"esds", b"dapa") + data[at + 200 :]
    path = clip.with_name("unknown.mp4")
    path.write_bytes(changed)
    return path


def clip_with_sound(
    path: Path, codec: str, rate: int, layout: str, *, form: str | None = None, seconds: float = 1.0, pts: int = 0
) -> Path:
    """One second of frames with a tone of 500 Hz."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        tone = container.add_stream(codec, rate=rate, layout=layout)
        for number in range(25):
            rgb = np.full((48, 64, 3), 8 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))
        wave = np.sin(2 * np.pi * 500 * np.arange(round(rate * seconds)) / rate).astype(np.float32) * 0.5
        channels = av.AudioLayout(layout).nb_channels
        frame = av.AudioFrame.from_ndarray(np.tile(wave, (channels, 1)), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, pts, Fraction(1, rate)
        resampler = av.AudioResampler(format=form or tone.codec_context.format.name, layout=layout, rate=rate)
        for part in resampler.resample(frame):
            container.mux(tone.encode(part))
        container.mux(tone.encode(None))
    return path


def with_matrix(clip: Path, matrix: tuple[int, int, int, int]) -> Path:
    """The clip with another display matrix in the header of its track."""
    data = bytearray(clip.read_bytes())
    at = data.index(b"tkhd") + 44
    a, b, c, d = matrix
    data[at : at + 36] = struct.pack(">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path = clip.with_name("turned.mp4")
    path.write_bytes(data)
    return path
