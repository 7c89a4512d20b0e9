"""Opening of media files: every error becomes a sentence, no name is a protocol, no playlist opens other files."""

from __future__ import annotations

import builtins
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import pytest

from distill.errors import DistillError
from distill.video import VideoReader, audio, decoders, join_videos, muxing
from distill.video.media import opening
from tests.builders.videos import make_clip, read_number, write_stream

_OTHERS = (ValueError, EOFError, OSError, MemoryError, RuntimeError, KeyError, AttributeError, TypeError, IndexError)


def library_errors() -> Iterator[Exception]:
    """One instance of every exception of the media library, and of the types that Python code in it raises."""
    for name in sorted(dir(av.error)):
        kind = getattr(av.error, name)
        if isinstance(kind, type) and issubclass(kind, av.FFmpegError):
            yield kind(22, f"{name} was raised", "file:/secret/name")
    yield from (kind("a reason") for kind in _OTHERS)
    yield UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed")
    yield UnicodeDecodeError("utf-8", b"\xe9", 0, 1, "invalid start byte")
    yield AssertionError()


ERRORS = list(library_errors())
IDS = [f"{type(error).__module__}.{type(error).__name__}" for error in ERRORS]


class Container:
    """A container whose packets end with an error."""

    def __init__(self, container: Any, error: Exception) -> None:
        self._container, self._error = container, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *error: object) -> None:
        self._container.close()

    def demux(self, *streams: Any) -> Iterator[Any]:
        for number, packet in enumerate(self._container.demux(*streams)):
            if number == 5:
                raise self._error
            yield packet


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("clip") / "a.mp4", num_frames=8, codec="mpeg4", sound=True)


def test_the_library_has_the_errors_that_are_tried() -> None:
    assert len(ERRORS) > 50 and {"HTTPNotFoundError", "InvalidDataError"} <= {type(error).__name__ for error in ERRORS}


@pytest.mark.parametrize("error", ERRORS, ids=IDS)
def test_every_error_while_opening_is_a_sentence(error: Exception, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: object, **options: object) -> Any:
        raise error

    monkeypatch.setattr(decoders, "open_input", broken)
    with pytest.raises(DistillError, match=r"a\.mp4: not a readable video: .+") as found:
        VideoReader(clip)
    assert "secret" not in found.value.message and found.value.hint


@pytest.mark.parametrize("error", ERRORS, ids=IDS)
def test_every_error_while_reading_keeps_the_frames(
    error: Exception, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = VideoReader(clip)
    opened = opening.open_input
    monkeypatch.setattr(decoders, "open_input", lambda path, **options: Container(opened(path, **options), error))
    seen = []
    with pytest.raises(DistillError, match=r"a\.mp4: the video is damaged.*: \d frames"):
        for frame in reader.frames():
            seen.append(read_number(frame.rgb))
    assert len(seen) >= 3 and seen == list(range(len(seen)))


@pytest.mark.parametrize("error", ERRORS, ids=IDS)
def test_no_error_of_the_sound_costs_the_picture(
    error: Exception, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **options: object) -> Any:
        raise error

    monkeypatch.setattr(muxing, "AudioTrack", broken)
    part = write_stream(tmp_path / "part.nut", range(4), codec="mpeg4")
    if isinstance(error, OSError) and error.errno in muxing.DISK_ERRORS:
        pytest.skip("a full disk is an error of the whole job")
    note = join_videos([part], tmp_path / "out.mp4", audio_from=clip)
    assert "the sound was left out" in note and VideoReader(tmp_path / "out.mp4").count() == 4
    monkeypatch.setattr(audio, "open_input", broken)
    assert "the sound was left out" in join_videos([part], tmp_path / "out.mp4", audio_from=clip)


NAMES = [
    "12:30:05.mp4",
    "concat:a.mp4",
    "file:a.mp4",
    "a%20b%04d.mp4",
    "http:x.mp4",
    "-i.mp4",
    "a b;$(x)|'.mp4",
    "?#.mp4",
]


@pytest.mark.parametrize("name", NAMES)
def test_no_name_is_a_protocol(name: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(clip, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    assert VideoReader(Path(name)).count() == 8  # relative, in the working folder
    part = write_stream(tmp_path / "part.nut", range(4), codec="mpeg4")
    join_videos([part], Path("out:" + name), audio_from=Path(name))
    assert VideoReader(Path("out:" + name)).count() == 4


def test_names_of_other_bytes_are_read_and_written(clip: Path, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/caf\xe9"
    os.mkdir(folder)  # noqa: PTH102
    path = Path(os.fsdecode(folder + b"/\xff.mp4"))
    shutil.copy(clip, path)
    reader = VideoReader(path)
    assert reader.count() == 8 and "\udcff" not in reader.name
    part = write_stream(tmp_path / "part.nut", range(4), codec="mpeg4")
    out = path.with_name(os.fsdecode(b"out\xe9.mp4"))
    join_videos([part], out, audio_from=path)
    assert VideoReader(out).count() == 4 and len(list(out.parent.iterdir())) == 2


@contextmanager
def segments(folder: Path, lines: str, name: str) -> Iterator[Path]:
    write_stream(folder / "near.ts", range(8))
    path = folder / name
    path.write_text(lines)
    yield path


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.32,\n{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize("name", ["x.mp4", "x.ts", "x", "x.avi"])
@pytest.mark.parametrize(
    "text", [PLAYLIST.format("near.ts"), "ffconcat version 1.0\nfile near.ts\n", "v=0\nm=video 1 RTP/AVP 96\n"]
)
def test_a_script_under_the_name_of_a_video_opens_nothing(name: str, text: str, tmp_path: Path) -> None:
    with segments(tmp_path, text, name) as path, pytest.raises(DistillError, match="not a readable video"):
        VideoReader(path)


def test_a_playlist_by_its_name_reads_its_own_folder_only(tmp_path: Path) -> None:
    with segments(tmp_path, PLAYLIST.format("near.ts"), "x.m3u8") as path:
        assert VideoReader(path).count() == 8
    inner = tmp_path / "inner"
    inner.mkdir()
    for entry in ("../near.ts", str(tmp_path / "near.ts"), "file:near.ts", "http://127.0.0.1:1/a.ts", "%2e%2e/near.ts"):
        with (
            segments(inner, PLAYLIST.format(entry), "x.m3u8") as path,
            pytest.raises(DistillError, match="this playlist"),
        ):
            VideoReader(path)
    (inner / "deep.m3u8").write_text(PLAYLIST.format("../near.ts"))
    master = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\ndeep.m3u8\n"
    with segments(inner, master, "x.m3u8") as path, pytest.raises(DistillError, match=r"names '\.\./near\.ts'"):
        VideoReader(path)


def test_reasons_are_short_and_plain() -> None:
    assert opening.reason(builtins.MemoryError()) == "not enough memory"
    assert opening.reason(ValueError("First line.\nSecond line.")) == "first line."
    assert opening.reason(KeyError()) == "KeyError"
