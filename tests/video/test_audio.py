"""Sound never costs the picture: rates, layouts and codecs are converted, or left out with a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from distill.video import Ending, join_videos
from distill.video.audio import choose_audio
from tests.builders.videos import clip_with_sound, make_clip, unknown_sound, write_stream

FRAMES = 25


def joined(source: Path, out: Path, **ending: object) -> tuple[str, float, str]:
    """(note, seconds of sound, codec); the frequency of the tone is checked."""
    part = write_stream(out.with_suffix(".nut"), range(FRAMES), codec="mpeg4")
    note = join_videos([part], out, audio_from=source, ending=Ending(0.04, 1.0, **ending))
    with av.open(str(out)) as container:
        assert sum(1 for packet in container.demux(video=0) if packet.size) == FRAMES
        if not container.streams.audio:
            return note, 0.0, ""
    with av.open(str(out)) as container:
        codec, wave = container.streams.audio[0].codec_context.name, mono_wave(container)
    spectrum = np.abs(np.fft.rfft(wave))
    assert abs(np.argmax(spectrum) * 8000 / len(wave) - 500) < 10  # neither faster nor slower
    return note, len(wave) / 8000, codec


def mono_wave(container: Any) -> np.ndarray:
    """The sound at 8000 Hz."""
    resampler = av.AudioResampler(format="fltp", layout="mono", rate=8000)
    frames = [part for frame in container.decode(audio=0) for part in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in [*frames, *resampler.resample(None)]])


SOUNDS = [
    ("a.mov", "pcm_s24le", 192000, "stereo"),
    ("b.mkv", "pcm_s16le", 8000, "mono"),
    ("c.mkv", "pcm_f32le", 44100, "6.1"),
    ("d.mkv", "flac", 96000, "stereo"),
    ("e.mkv", "pcm_u8", 11025, "mono"),
    ("f.avi", "pcm_s16le", 22050, "stereo"),
    ("g.mkv", "pcm_s16le", 6000, "mono"),
    ("h.mkv", "ac3", 48000, "5.1(side)"),
    ("i.ts", "mp2", 48000, "stereo"),
    ("j.mkv", "pcm_s16le", 16000, "quad"),
    ("k.mkv", "libopus", 48000, "mono"),
    ("l.mov", "pcm_alaw", 8000, "mono"),
    ("m.mkv", "pcm_s16le", 48000, "hexagonal"),
    ("n.mp4", "aac", 44100, "stereo"),
]


@pytest.mark.parametrize(("name", "codec", "rate", "layout"), SOUNDS)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_sound_is_kept(name: str, codec: str, rate: int, layout: str, suffix: str, tmp_path: Path) -> None:
    source = clip_with_sound(tmp_path / name, codec, rate, layout)
    note, seconds, _ = joined(source, tmp_path / f"out{suffix}")
    assert not note and seconds == pytest.approx(1.0, abs=0.12)


def test_sound_longer_than_the_picture_is_not_cut_unless_the_picture_is(tmp_path: Path) -> None:
    source = clip_with_sound(tmp_path / "a.mkv", "pcm_s16le", 16000, "mono", seconds=3.0)
    assert joined(source, tmp_path / "b.mp4")[1] == pytest.approx(3.0, abs=0.15)
    assert joined(source, tmp_path / "c.mp4", whole=False)[1] == pytest.approx(1.0, abs=0.2)


def test_late_sound_stays_in_step(tmp_path: Path) -> None:
    source = clip_with_sound(tmp_path / "a.mkv", "pcm_s16le", 16000, "mono", seconds=0.5, pts=8000)
    part = write_stream(tmp_path / "a.nut", range(FRAMES), codec="mpeg4")
    for suffix in ("mp4", "mkv", "mov"):
        join_videos([part], tmp_path / f"o.{suffix}", audio_from=source, ending=Ending(0.04, 1.0))
        with av.open(str(tmp_path / f"o.{suffix}")) as container:
            first = next(container.decode(audio=0))
        assert float(first.time) == pytest.approx(0.5, abs=0.07), suffix


def test_sound_that_changes_rate_and_layout_is_kept(tmp_path: Path) -> None:
    first = write_stream(tmp_path / "a.ts", range(25), sound=True).read_bytes()
    with av.open(str(tmp_path / "b.ts"), "w", options={"output_ts_offset": "1.0", "muxdelay": "0"}) as container:
        stream = container.add_stream("mpeg2video", rate=25)
        stream.height, stream.width, stream.pix_fmt = 48, 96, "yuv420p"
        tone = container.add_stream("mp2", rate=48000, layout="stereo")
        for _ in range(25):
            rgb = np.zeros((48, 96, 3), np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode(None))
        wave = av.AudioFrame.from_ndarray(np.zeros((1, 96000), np.int16), format="s16", layout="stereo")
        wave.sample_rate, wave.pts = 48000, 0
        container.mux([*tone.encode(wave), *tone.encode(None)])
    both = tmp_path / "c.ts"
    both.write_bytes(first + (tmp_path / "b.ts").read_bytes())
    part = write_stream(tmp_path / "p.nut", range(50), codec="mpeg4")
    assert join_videos([part], tmp_path / "o.mp4", audio_from=both, ending=Ending(0.04, 2.0)) == ""
    with av.open(str(tmp_path / "o.mp4")) as container:
        frames = list(container.decode(audio=0))
    assert {frame.sample_rate for frame in frames} == {32000}
    assert sum(frame.samples for frame in frames) / 32000 == pytest.approx(2.0, abs=0.15)


def test_sound_without_a_decoder_is_left_out(tmp_path: Path) -> None:
    source = unknown_sound(make_clip(tmp_path / "a.mp4", codec="mpeg4", sound=True))
    note, seconds, _ = joined(source, tmp_path / "o.mp4")
    assert "the sound was left out" in note and "no decoder" in note and seconds == 0


def test_a_file_without_sound_needs_no_note(tmp_path: Path) -> None:
    source = make_clip(tmp_path / "a.mp4", codec="mpeg4")
    assert choose_audio(source, "mp4").index is None and choose_audio(source, "mp4").note == ""
    assert "left out" in choose_audio(tmp_path / "missing.mp4", "mp4").note


def test_damaged_sound_ends_and_the_picture_does_not(tmp_path: Path) -> None:
    source = clip_with_sound(tmp_path / "a.mkv", "flac", 48000, "mono")
    data = bytearray(source.read_bytes())
    data[len(data) // 2 :: 7] = bytes(len(data[len(data) // 2 :: 7]))
    source.write_bytes(data)
    part = write_stream(tmp_path / "p.nut", range(FRAMES), codec="mpeg4")
    join_videos([part], tmp_path / "o.mp4", audio_from=source, ending=Ending(0.04, 1.0))
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert sum(1 for packet in container.demux(video=0) if packet.size) == FRAMES


@pytest.mark.parametrize("suffix", ["mp4", "mov"])
def test_hevc_has_the_tag_of_apple(suffix: str, tmp_path: Path) -> None:
    part = write_stream(tmp_path / "p.nut", range(4), codec="libx265")
    join_videos([part], tmp_path / f"o.{suffix}")
    with av.open(str(tmp_path / f"o.{suffix}")) as container:
        assert container.streams.video[0].codec_context.codec_tag == "hvc1"
