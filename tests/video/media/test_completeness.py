"""Truncated files are found by their structure; whole ones with odd durations are not called damaged."""

from __future__ import annotations

import io
import itertools
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from distill.errors import DistillError
from distill.video import VideoReader
from distill.video.media.completeness import is_truncated
from tests.builders.videos import make_clip, numbered_frame, write_stream


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mkv", "mpeg4"),
        ("a.flv", "flv1"),
        ("a.gif", "gif"),
        ("a.webm", "libvpx"),
        ("a.avi", "mpeg4"),
        ("a.mp4", "mpeg4"),
    ],
)
def test_structure(name: str, codec: str, tmp_path: Path) -> None:
    form = "rgb8" if codec == "gif" else "yuv420p"
    clip = make_clip(tmp_path / name, num_frames=10, codec=codec, pix_fmt=form)
    kind = {"mkv": "matroska", "webm": "matroska", "mp4": "mov"}.get(clip.suffix[1:], clip.suffix[1:])
    assert not is_truncated(clip, kind) and VideoReader(clip).count() == 10
    data = clip.read_bytes()
    for share in (0.5, 0.7, 0.99):
        clip.write_bytes(data[: int(share * len(data))])
        assert is_truncated(clip, kind), share
        with pytest.raises(DistillError, match=r"damaged or cut off: \d+ frames|not a readable|no frame"):
            VideoReader(clip).count()


@pytest.mark.parametrize("suffix", ["mkv", "mp4", "mov"])
def test_a_last_frame_that_stands_long_is_whole(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"a.{suffix}"
    times = [0, 200, 300, 1300, 1400, 2000, 10000]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        packets = []
        for number, time in enumerate(times[:-1]):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), 30 * number, np.uint8), format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 1000)
            packets += stream.encode(frame)
        for packet, (now, after) in zip([*packets, *stream.encode(None)], itertools.pairwise(times), strict=True):
            packet.duration = after - now
            container.mux_one(packet)
    reader = VideoReader(path)
    frames = list(reader.frames())
    assert len(frames) == 6 and float(frames[-1].duration * reader.time_base) == pytest.approx(8.0, abs=0.01)


def test_lost_packets_are_damage_and_joins_are_not(tmp_path: Path) -> None:
    data = write_stream(tmp_path / "a.ts", range(30)).read_bytes()
    middle = len(data) // 188 // 2 * 188
    (tmp_path / "b.ts").write_bytes(data[:middle] + data[middle + 3 * 188 :])
    with pytest.raises(DistillError, match="damaged or cut off"):
        list(VideoReader(tmp_path / "b.ts").frames())
    (tmp_path / "c.ts").write_bytes(data + data)
    assert VideoReader(tmp_path / "c.ts").count() == 60


@pytest.mark.parametrize("nested", [False, True], ids=["sizes", "no size of clusters"])
def test_a_recording_to_a_pipe_that_was_cut_off(nested: bool, tmp_path: Path) -> None:
    """Its segment states no size, and that of some recorders none for its clusters either."""
    written = io.BytesIO()
    written.seekable = lambda: False  # type: ignore[method-assign]
    with av.open(written, "w", format="matroska") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 48, "yuv420p"
        for number in range(10):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, (48, 96)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    data, path = written.getvalue(), tmp_path / "a.mkv"
    if nested:
        at = data.index(b"\x1f\x43\xb6\x75") + 4
        size_bytes = 9 - data[at].bit_length()
        data = data[:at] + b"\x01" + 7 * b"\xff" + data[at + size_bytes :]
    path.write_bytes(data)
    assert not is_truncated(path, "matroska,webm") and VideoReader(path).count() == 10
    for cut in range(600, len(data), 97):
        path.write_bytes(data[:cut])
        assert is_truncated(path, "matroska,webm"), cut


def test_rubbish_behind_a_whole_file_is_no_damage(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", num_frames=10, codec="mpeg4")
    for rubbish in (b"garbage" * 100, bytes(5000), b"\0\0\xff\xfffree"):
        path.write_bytes(path.read_bytes() + rubbish)
        assert not is_truncated(path, "mov,mp4") and VideoReader(path).count() == 10
