"""Videos in and out: every frame, in order, upright, with its own time."""

from __future__ import annotations

import multiprocessing
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from distill.errors import DistillError, UsageError
from distill.video import Decoder, VideoReader, VideoWriter, decoders, is_video
from distill.video.decoders import choose_decoder
from tests.builders.videos import make_clip, numbered_frame, read_number


@pytest.mark.parametrize(
    ("name", "codec", "pix_fmt"),
    [
        ("a.mp4", "libx264", "yuv420p"),  # B-frames: decoded in another order than shown
        ("b.mkv", "libx264", "yuv420p10le"),
        ("c.avi", "mpeg4", "yuv420p"),
        ("d.webm", "libvpx-vp9", "yuv420p"),
        ("e.gif", "gif", "rgb8"),
        ("f.mp4", "libx265", "yuv420p10le"),
        ("g.mov", "prores_ks", "yuv422p10le"),
        ("h.mkv", "ffv1", "yuv444p16le"),
        ("i.ts", "mpeg2video", "yuv420p"),
        ("j.mp4", "libsvtav1", "yuv420p10le"),
    ],
)
def test_every_frame_is_read_in_order(tmp_path: Path, name: str, codec: str, pix_fmt: str) -> None:
    if codec == "libsvtav1":
        # Opened by root, it gives the process that opens it real-time priority, for good: not this process.
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            clip = pool.apply(make_clip, (tmp_path / name,), {"codec": codec, "pix_fmt": pix_fmt})
    else:
        clip = make_clip(tmp_path / name, codec=codec, pix_fmt=pix_fmt)
    reader = VideoReader(clip)
    frames = list(reader.frames())
    assert [read_number(frame.rgb) for frame in frames] == list(range(20))
    assert [frame.index for frame in frames] == list(range(20))
    assert np.allclose(np.diff([frame.pts_s for frame in frames]), 0.04, atol=0.0011)
    assert reader.count() == 20
    assert reader.size_hw == frames[0].rgb.shape[:2] == (48, 96)


def test_a_range_of_frames_is_exact(tmp_path: Path) -> None:
    reader = VideoReader(make_clip(tmp_path / "a.mp4"))
    assert [read_number(frame.rgb) for frame in reader.frames(3, 17, 5)] == [3, 8, 13]
    assert [frame.index for frame in reader.frames(18)] == [18, 19]
    with pytest.raises(UsageError, match="at least 1"):
        list(reader.frames(step=0))


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_is_applied(tmp_path: Path, rotation: int) -> None:
    path = make_clip(tmp_path / "a.mp4", num_frames=3, rotation=rotation)
    reader = VideoReader(path)
    ours = next(reader.frames()).rgb
    capture = cv2.VideoCapture(str(path))
    read, theirs = capture.read()
    capture.release()
    assert read and ours.shape == theirs.shape and ours.shape[:2] == reader.size_hw
    assert np.abs(ours.astype(int) - theirs[..., ::-1]).mean() < 2.0
    half_hw = (reader.height // 2, reader.width // 2)
    small = next(reader.frames(size_hw=half_hw)).rgb
    assert small.shape[:2] == half_hw
    assert np.abs(small.astype(int) - cv2.resize(ours, half_hw[::-1], interpolation=cv2.INTER_AREA)).mean() < 3.0


def test_times_of_a_variable_rate_survive_reading_and_writing(tmp_path: Path) -> None:
    times = [0, 33, 66, 200, 300, 333, 1000, 1033, 1500, 1501]
    reader = VideoReader(make_clip(tmp_path / "a.mkv", num_frames=10, times=times))
    assert [round(frame.pts_s * 1000) for frame in reader.frames()] == times
    out = tmp_path / "b.mp4"
    with VideoWriter(out, reader.size_hw, time_base=reader.time_base, rate=reader.rate) as writer:
        for frame in reader.frames():
            writer.write(frame.rgb, frame.pts)
    again = list(VideoReader(out).frames())
    assert [round(frame.pts_s * 1000) for frame in again] == times
    assert [read_number(frame.rgb) for frame in again] == list(range(10))


def test_odd_sizes_are_padded_and_colors_stay(tmp_path: Path) -> None:
    out = tmp_path / "a.mp4"
    colors = np.array([(200, 30, 40), (30, 180, 60), (40, 50, 220), (120, 120, 120)], np.uint8)
    rgb = np.repeat(np.repeat(colors.reshape(2, 2, 3), 16, 0), 16, 1)[:31, :31]
    with VideoWriter(out, (31, 31), time_base=Fraction(1, 25), rate=Fraction(25), crf=5) as writer:
        for number in range(3):
            writer.write(rgb, number)
    reader = VideoReader(out)
    assert reader.size_hw == (32, 32)
    seen = next(reader.frames()).rgb
    # If this fails by more, the color matrix that is written differs from the tagged one.
    assert np.abs(seen[8::16, 8::16].astype(int) - rgb[8::16, 8::16]).max() <= 6
    with av.open(str(out)) as container:
        assert container.streams.video[0].pix_fmt == "yuv420p"


def test_a_truncated_file_gives_its_frames_then_an_error(tmp_path: Path) -> None:
    data = make_clip(tmp_path / "a.mp4", num_frames=60, size_hw=(96, 192)).read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(data[: len(data) * 2 // 3])
    seen = []
    with pytest.raises(DistillError, match=r"cut\.mp4.*cut off: \d+ frames of 60 stated"):
        for frame in VideoReader(cut).frames():
            seen.append(read_number(frame.rgb))
    assert 5 < len(seen) < 60
    assert seen == list(range(len(seen)))


def test_damaged_files_raise_a_readable_error(tmp_path: Path) -> None:
    empty, text, voice = tmp_path / "empty.mp4", tmp_path / "text.mp4", tmp_path / "voice.mp4"
    empty.write_bytes(b"")
    text.write_text("not a film\n" * 50)
    with av.open(str(voice), "w") as container:
        tone = container.add_stream("aac", rate=16000, layout="mono")
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        wave.sample_rate = 16000
        container.mux(tone.encode(wave))
        container.mux(tone.encode(None))
    for path, what in (
        (empty, "empty"),
        (text, "not a readable video"),
        (voice, "only audio"),
        (tmp_path / "no.mp4", "no such"),
    ):
        with pytest.raises(DistillError, match=rf"{path.name}: .*{what}"):
            VideoReader(path)


def test_an_unfinished_video_leaves_no_file(tmp_path: Path) -> None:
    out = tmp_path / "a.mp4"
    with (
        pytest.raises(ZeroDivisionError),
        VideoWriter(out, (16, 16), time_base=Fraction(1, 25), rate=Fraction(25)) as w,
    ):
        w.write(np.zeros((16, 16, 3), np.uint8), 0)
        raise ZeroDivisionError
    with (
        pytest.raises(DistillError, match="no frames"),
        VideoWriter(out, (16, 16), time_base=Fraction(1, 25), rate=Fraction(25)),
    ):
        pass
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match=r"\.mp4"):
        VideoWriter(tmp_path / "a.txt", (16, 16), time_base=Fraction(1, 25), rate=Fraction(25))


def test_only_an_animated_gif_is_a_video(tmp_path: Path) -> None:
    still = tmp_path / "still.gif"
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(still)
    assert not is_video(still)
    assert is_video(make_clip(tmp_path / "moving.gif", num_frames=3, codec="gif", pix_fmt="rgb8"))
    assert is_video(Path("x.MKV")) and not is_video(Path("x.jpg"))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.8])
def test_a_truncated_matroska_file_is_detected(tmp_path: Path, share: float) -> None:
    """FFmpeg reports no error for such a file; only its stated length does."""
    whole = tmp_path / "whole.mkv"
    with VideoWriter(whole, (48, 64), time_base=Fraction(1, 25), rate=Fraction(25)) as writer:
        for number in range(100):
            noise = np.random.default_rng(number).integers(0, 256, (48, 64, 3), dtype=np.uint8)
            writer.write(noise, number)
    with VideoReader(whole) as reader:
        assert sum(1 for _ in reader.frames()) == 100
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: int(share * whole.stat().st_size)])
    found = []
    with pytest.raises(DistillError, match="cut off"), VideoReader(cut) as reader:
        for frame in reader.frames():
            found.append(frame.index)
    assert 0 < len(found) < 100


COLORS = np.array([(200, 30, 40), (30, 180, 60), (40, 50, 220), (120, 120, 120)], np.uint8)


def colored_clip(path: Path, size_hw: tuple[int, int], tags: dict[str, int], convert: dict, pix_fmt: str) -> Path:
    """Three frames of four squares, tagged and converted as given."""
    rgb = np.repeat(np.repeat(COLORS.reshape(2, 2, 3), size_hw[0] // 2, 0), size_hw[1] // 2, 1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = *size_hw, pix_fmt
        for name, value in tags.items():
            setattr(stream.codec_context, name, value)
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(format=pix_fmt, **convert)
            frame.pts = number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("rows", "tags", "convert", "pix_fmt"),
    [
        (64, {"colorspace": 1, "color_range": 1}, {"dst_colorspace": 1, "dst_color_range": 1}, "yuv420p"),
        (64, {"colorspace": 1, "color_range": 2}, {"dst_colorspace": 1, "dst_color_range": 2}, "yuvj420p"),
        (64, {"colorspace": 5, "color_range": 2}, {"dst_colorspace": 5, "dst_color_range": 2}, "yuv420p10le"),
        (64, {}, {"dst_colorspace": 5, "dst_color_range": 1}, "yuv420p"),
        (720, {}, {"dst_colorspace": 1, "dst_color_range": 1}, "yuv420p"),
    ],
    ids=["709", "709 full", "601 full 10 bit", "SD says nothing", "HD says nothing"],
)
def test_colors_are_right(tmp_path: Path, rows: int, tags: dict, convert: dict, pix_fmt: str) -> None:
    path = colored_clip(tmp_path / "a.mkv", (rows, 64), tags, convert, pix_fmt)
    seen = next(VideoReader(path).frames()).rgb
    found = seen[rows // 4 :: rows // 2, 16::32].reshape(4, 3)
    # If this fails by more, matrix or range are not those of the file.
    assert np.abs(found.astype(int) - COLORS).max() <= 5


@pytest.mark.parametrize(("transfer", "white"), [(16, 0.58), (18, 0.75)])
def test_hdr_is_tone_mapped_and_noted(tmp_path: Path, transfer: int, white: float) -> None:
    """Reference white (203 nits) is at 58 % of a PQ signal and 75 % of an HLG signal (ITU-R BT.2408)."""
    path = tmp_path / "a.mkv"
    levels = np.linspace(0, 1, 16)
    signal = np.rint(np.repeat(np.append(levels, white), 16) * 65535).astype(np.uint16)
    rgb = np.repeat(np.repeat(signal[None], 64, 0)[..., None], 3, 2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=25, options={"crf": "1", "x265-params": "log-level=none"})
        stream.height, stream.width, stream.pix_fmt = 64, rgb.shape[1], "yuv420p10le"
        context = stream.codec_context
        context.color_trc, context.colorspace, context.color_primaries, context.color_range = transfer, 9, 9, 1
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb48le")
        container.mux(stream.encode(frame.reformat(format="yuv420p10le", dst_colorspace=9, dst_color_range=1)))
        container.mux(stream.encode(None))
    reader = VideoReader(path)
    gray = next(reader.frames()).rgb[32, 8::16]
    assert "HDR" in reader.notes[0] and "tone-mapped" in reader.notes[0]
    assert np.ptp(gray, axis=-1).max() <= 4  # gray stays gray
    ramp = gray[:-1, 0].astype(int)
    assert ramp[0] <= 2 and (np.diff(ramp) >= 0).all() and ramp[-1] >= 250
    assert 200 <= gray[-1, 0] <= 245  # SDR white is below white, for highlights


def test_interlaced_frames_are_deinterlaced_one_for_one(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "interlaced=1"})
        stream.height, stream.width, stream.pix_fmt = 64, 96, "yuv420p"
        for number in range(20):
            frame = av.VideoFrame.from_ndarray(numbered_frame(number, (64, 96)), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    reader = VideoReader(path)
    assert any("interlaced" in note for note in reader.notes)
    frames = list(reader.frames())
    assert [read_number(frame.rgb) for frame in frames] == list(range(20))
    assert np.allclose(np.diff([frame.pts_s for frame in frames]), 0.04, atol=0.002)


def test_a_clip_that_starts_late_keeps_its_times(tmp_path: Path) -> None:
    times = [5000, 5040, 5080, 5200]
    reader = VideoReader(make_clip(tmp_path / "a.mkv", num_frames=4, times=times))
    assert [round(frame.pts_s * 1000) for frame in reader.frames()] == times


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_numbers_survive_rotation_and_odd_sizes(tmp_path: Path, rotation: int) -> None:
    path = make_clip(tmp_path / "a.mkv", codec="ffv1", pix_fmt="yuv444p", size_hw=(49, 97), rotation=rotation)
    to_upright_rgb = [np.rot90(frame.rgb, -rotation // 90) for frame in VideoReader(path).frames()]
    assert [read_number(rgb) for rgb in to_upright_rgb] == list(range(20))


def test_one_core_gives_the_same_frames(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4")
    both = [[frame.rgb for frame in VideoReader(path, who).frames()] for who in (Decoder.THREADS, Decoder.SINGLE)]
    assert len(both[0]) == len(both[1]) == 20
    assert all(np.array_equal(one, other) for one, other in zip(*both, strict=True))


def test_a_short_video_is_not_probed(tmp_path: Path) -> None:
    assert VideoReader(make_clip(tmp_path / "a.mp4"), Decoder.AUTO).decoder is Decoder.THREADS


def test_a_gpu_decoder_is_taken_only_where_it_is_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_clip(tmp_path / "a.mp4")
    monkeypatch.setattr(decoders, "_has_nvdec", lambda: True)
    assert choose_decoder(path, 300) in (Decoder.THREADS, Decoder.NVDEC)  # a driver that does not work loses
    seconds = {Decoder.THREADS: 1.0, Decoder.NVDEC: 0.5}
    monkeypatch.setattr(decoders, "_seconds", lambda path, decoder: seconds[decoder])
    assert choose_decoder(path, 300) is Decoder.NVDEC
    assert choose_decoder(path, 299) is Decoder.THREADS
    seconds[Decoder.NVDEC] = 0.95
    assert choose_decoder(path, None) is Decoder.THREADS


@pytest.mark.skipif(decoders._has_nvdec(), reason="needs a machine without an NVIDIA driver")
def test_a_missing_gpu_decoder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="NVDEC cannot decode it here"):
        VideoReader(make_clip(tmp_path / "a.mp4"), Decoder.NVDEC)
    (tmp_path / "b.mp4").write_text("no video")
    with pytest.raises(DistillError, match="not a readable video"):
        VideoReader(tmp_path / "b.mp4", Decoder.NVDEC)


@pytest.mark.gpu
@pytest.mark.skipif(not decoders._has_nvdec(), reason="needs an NVIDIA driver")
def test_a_gpu_decoder_gives_the_same_frames(tmp_path: Path) -> None:
    path = make_clip(tmp_path / "a.mp4", size_hw=(144, 192))
    both = [[frame.rgb for frame in VideoReader(path, who).frames()] for who in (Decoder.THREADS, Decoder.NVDEC)]
    assert [read_number(rgb) for rgb in both[1]] == list(range(20))
    assert max(np.abs(one.astype(int) - other).max() for one, other in zip(*both, strict=True)) <= 2
