"""Which stream is decoded, and which frames."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest
from av.stream import Disposition

from distill.errors import DistillError, UsageError
from distill.video import Decoder, VideoReader
from tests.builders.videos import make_clip, numbered_frame, read_number, write_clip, write_stream


def with_cover(path: Path, *, film: bool) -> Path:
    """An MP4 whose first picture is a cover, with a film behind it or only with sound."""
    with av.open(str(path), "w") as container:
        cover = container.add_stream("mjpeg", rate=25)
        cover.height, cover.width, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        stream = container.add_stream("mpeg4", rate=25) if film else container.add_stream("aac", rate=16000)
        if isinstance(stream, av.VideoStream):
            stream.height, stream.width, stream.pix_fmt = 48, 96, "yuv420p"
        image = av.VideoFrame.from_ndarray(numbered_frame(63, (64, 64)), format="rgb24")
        packets = [*cover.encode(image), *cover.encode(None)]
        for number in range(5 if film else 0):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, (48, 96)), format="rgb24")
            packets += stream.encode(frame)
        container.mux([*packets, *stream.encode(None)])
    return path


def test_a_cover_is_no_video(tmp_path: Path) -> None:
    reader = VideoReader(with_cover(tmp_path / "film.mp4", film=True))
    assert [read_number(frame.rgb) for frame in reader.frames()] == list(range(5)) and reader.size_hw == (48, 96)
    with pytest.raises(DistillError, match=r"no video stream, only a cover image"):
        VideoReader(with_cover(tmp_path / "song.mp4", film=False))


@pytest.mark.parametrize("codec", ["mpeg2video", "mpeg1video"])
def test_no_frame_is_lost_where_the_size_changes(codec: str, tmp_path: Path) -> None:
    parts = [
        write_stream(tmp_path / f"{number}.ts", range(10 * number, 10 * number + 10), codec=codec, size_hw=size_hw)
        for number, size_hw in enumerate([(48, 96), (96, 192), (48, 96)])
    ]
    path = tmp_path / "a.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    for decoder in (Decoder.THREADS, Decoder.SINGLE):
        reader = VideoReader(path, decoder)
        assert [read_number(frame.rgb) for frame in reader.frames()] == list(range(30))
        assert any("size of the picture changes, first at frame 10" in note for note in reader.notes)


def test_frames_that_an_edit_list_hides_are_not_missing(tmp_path: Path) -> None:
    """Packets before the start of a clip that was cut without encoding it again are needed, but not shown."""
    path = tmp_path / "a.mp4"
    with av.open(str(make_clip(tmp_path / "whole.mp4"))) as source, av.open(str(path), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is None or packet.pts is None:
                continue
            cut = round(Fraction(1, 5) / packet.time_base)
            packet.pts, packet.dts = packet.pts - cut, packet.dts - cut
            packet.stream = stream
            target.mux(packet)
    reader = VideoReader(path)
    numbers = [read_number(frame.rgb) for frame in reader.frames()]
    assert 15 <= len(numbers) < 20 and numbers[-1] == 19 and reader.notes == ()


def test_a_stream_without_times_has_the_given_rate(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mjpeg", num_frames=6, codec="mjpeg", pix_fmt="yuvj420p")
    reader = VideoReader(path)
    assert reader.rate == 25 and "25 frames/s were taken (--rate)" in reader.notes[0]
    slow = VideoReader(path, rate=Fraction(10))
    assert [round(frame.play_s, 6) for frame in slow.frames()] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert slow.rate == 10 and slow.fingerprint != reader.fingerprint
    stated = VideoReader(make_clip(tmp_path / "a.m2v", num_frames=6, codec="mpeg2video"), rate=Fraction(10))
    assert stated.rate == 25 and stated.notes == ()


def test_a_folder_or_a_pipe_is_not_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a regular file"):
        VideoReader(tmp_path)


def test_damaged_pictures_are_noted(tmp_path: Path) -> None:
    """Where FFmpeg fills the hole in a picture without an error."""
    path = write_clip(tmp_path / "a.mp4", list(range(0, 400, 40)), (96, 192), noise=60)
    data = path.read_bytes()
    assert list(VideoReader(path).frames()) and not VideoReader(path).notes
    middle, noted = data.index(b"mdat") + 3000, 0
    for at in range(middle, len(data) - 200, (len(data) - middle) // 8):
        path.write_bytes(data[:at] + b"\xaa" * 100 + data[at + 100 :])
        try:
            reader = VideoReader(path)
            count = len(list(reader.frames()))
        except DistillError as error:
            assert "damaged" in error.message
        else:
            noted += count == 10 and any("pictures of" in note and "damaged" in note for note in reader.notes)
    assert noted
