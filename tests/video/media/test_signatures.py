"""Videos, animations and photos by their bytes, whatever their names are."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from distill.video import is_video, open_video
from distill.video.media.signatures import MediaKind, kind_of_bytes, media_kind
from tests.builders.videos import make_clip, numbered_frame, read_number, write_stream

CONTAINERS = {
    "mp4": "mpeg4", "mov": "mpeg4", "mkv": "mpeg4", "avi": "mpeg4", "ts": "mpeg2video", "flv": "flv1", "wmv": "wmv2",
    "vob": "mpeg2video", "mpg": "mpeg1video", "ogv": "libtheora", "webm": "libvpx", "h264": "libx264",
    "hevc": "libx265", "m2v": "mpeg2video", "ivf": "libvpx", "y4m": "rawvideo", "nut": "mpeg4", "gif": "gif",
}  # fmt: skip


@pytest.mark.parametrize("suffix", [suffix for suffix, codec in CONTAINERS.items() if codec in av.codecs_available])
@pytest.mark.parametrize("name", ["upload", "rec.dav", "x.jpg"])
def test_a_video_is_one_under_any_name(suffix: str, name: str, tmp_path: Path) -> None:
    form = {"gif": "rgb8"}.get(suffix, "yuv420p")
    clip = make_clip(tmp_path / f"clip.{suffix}", num_frames=6, codec=CONTAINERS[suffix], pix_fmt=form)
    path = clip.rename(tmp_path / name)
    assert is_video(path)
    if name == "upload":
        numbers = [read_number(frame.rgb) for frame in open_video(str(path)).frames()]
        assert numbers == list(range(6))


@pytest.mark.parametrize("suffix", ["webp", "png", "avif"])
def test_an_animation_is_read_as_a_video(suffix: str, tmp_path: Path) -> None:
    images = [Image.fromarray(numbered_frame(number, (48, 96))) for number in range(6)]
    durations = [100, 40, 40, 500, 40, 2000]
    for name in (f"a.{suffix}", f"b.{suffix}.jpg"):
        images[0].save(tmp_path / name, suffix, save_all=True, append_images=images[1:], duration=durations)
        assert is_video(tmp_path / name)
        frames = list(open_video(str(tmp_path / name)).frames())
        assert [read_number(frame.rgb) for frame in frames] == list(range(6))
        assert [round(1000 * frame.play_s) for frame in frames] == [0, 100, 140, 180, 680, 720]
    images[0].save(tmp_path / "still", suffix)
    assert not is_video(tmp_path / "still") and media_kind(tmp_path / "still") is MediaKind.PHOTO


def test_transparent_frames_are_over_white(tmp_path: Path) -> None:
    clear = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    clear.save(tmp_path / "a.png", save_all=True, append_images=[Image.new("RGBA", (16, 16), (0, 0, 255, 255))])
    first, second = open_video(str(tmp_path / "a.png")).frames()
    assert first.rgb.min() == 255 and tuple(second.rgb[0, 0]) == (0, 0, 255)


def test_photos_and_other_files_are_no_videos(tmp_path: Path) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for suffix in ("jpg", "png", "bmp", "tiff", "webp", "gif", "avif", "jp2"):
        noise.save(tmp_path / f"a.{suffix}")
        assert not is_video(tmp_path / f"a.{suffix}"), suffix
        (tmp_path / f"a.{suffix}").rename(tmp_path / "renamed.mp4")
        assert not is_video(tmp_path / "renamed.mp4"), suffix  # the bytes decide
    for data in (b"", b"\0" * 4096, b"hello\n" * 700, b"PK\3\4" + bytes(900), b"\x47" * 10, bytes(range(256)) * 16):
        assert kind_of_bytes(data) is MediaKind.UNKNOWN
    assert is_video(tmp_path / "missing.mp4") and not is_video(tmp_path / "missing.jpg")


def test_raw_pictures_are_a_video_by_their_suffix(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "a.mjpeg", num_frames=5, codec="mjpeg", pix_fmt="yuvj420p")
    assert is_video(clip) and sum(1 for _ in open_video(str(clip)).frames()) == 5


def test_a_transport_stream_may_begin_anywhere(tmp_path: Path) -> None:
    data = write_stream(tmp_path / "a.ts", range(30)).read_bytes()
    assert kind_of_bytes(data[100:4196]) is MediaKind.VIDEO
    packets = b"".join(bytes(4) + data[at : at + 188] for at in range(0, 188 * 20, 188))
    assert kind_of_bytes(packets) is MediaKind.VIDEO
