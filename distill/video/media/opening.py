"""Open media files with FFmpeg: the one place where its errors become sentences, and where paths become addresses.

A path reaches FFmpeg as an absolute ``file:`` address, so that no name is read as a protocol (``12:30.mp4``,
``concat:a|b``). Only formats that read a single file are allowed: playlists, concat scripts and image patterns under
the name of a video would open files next to it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
from PIL import UnidentifiedImageError

from distill.errors import DistillError
from distill.files import read_head

FORMATS = (
    "mov,matroska,avi,mpegts,mpeg,mpegvideo,flv,live_flv,kux,asf,asf_o,ogg,gif,apng,h264,hevc,vvc,av1,obu,ivf,m4v,h261,"
    "h263,mjpeg,mpjpeg,jpeg_pipe,mjpeg_2000,smjpeg,yuv4mpegpipe,dhav,dv,mxf,gxf,lxf,nut,nuv,nsv,rm,wtv,ty,pva,vc1,vc1test,"
    "cavsvideo,avs2,avs3,dirac,dnxhd,evc,amv,swf,roq,bink,smk,flic,rpl,siff,4xm,ipu,cine,ingenient,film_cpk,vivo,viv"
)
"""FFmpeg's demuxers of single files; a demuxer is allowed if one of its names is listed."""
PLAYLIST_SUFFIXES = frozenset({".m3u8", ".m3u"})
_PLAYLIST = b"#EXTM3U"
_MAX_PLAYLIST_BYTES = 4 * 1024 * 1024
_MAX_DEPTH = 3
"""A master playlist lists playlists, which list segments."""
_URI = re.compile(r'URI="([^"]*)"')


@contextmanager
def media_errors(name: object, what: str, hint: str = "copy or encode it again") -> Iterator[None]:
    """Turn every error of the media library into a `DistillError` about one file.

    PyAV raises subclasses of OSError, ValueError, EOFError, MemoryError and others, depending on where a file is
    damaged; the block must therefore contain calls of the library only.
    """
    try:
        yield
    except DistillError:
        raise
    except Exception as error:
        raise DistillError(f"{name}: {what}: {reason(error)}", hint=hint) from error


def reason(error: BaseException) -> str:
    """Message of a media error without its number and file name."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, UnidentifiedImageError):  # its text is the path
        return "incomplete, or not an image"
    text = getattr(error, "strerror", None) or (str(error).splitlines() or [""])[0]
    return text[0].lower() + text[1:] if text else type(error).__name__


def open_input(path: Path, **options: Any) -> Any:
    """Open a media file for reading with FFmpeg; errors of PyAV are not translated.

    Raises:
        DistillError: A playlist that names files elsewhere.
    """
    formats, kind = FORMATS, None
    if is_playlist(path):
        check_playlist(path)
        formats, kind = f"hls,{FORMATS}", "hls"
    container_options = {"protocol_whitelist": "file", "format_whitelist": formats}
    with file_url(path) as url:
        return av.open(url, format=kind, metadata_errors="replace", container_options=container_options, **options)


@contextmanager
def file_url(path: Path) -> Iterator[str]:
    """Address of a file for FFmpeg, which takes UTF-8 only; names in other bytes go through the folder's descriptor.

    Raises:
        OSError: The folder cannot be opened.
    """
    absolute = os.path.abspath(path)  # noqa: PTH100  (resolve() would follow links)
    try:
        absolute.encode()
    except UnicodeEncodeError:
        pass
    else:
        yield f"file:{absolute}"
        return
    descriptor = os.open(path if path.is_file() else path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield f"file:/proc/self/fd/{descriptor}" + ("" if path.is_file() else f"/{path.name}")
    finally:
        os.close(descriptor)


def is_playlist(path: Path) -> bool:
    """Whether a file is an HLS playlist by its name and its first bytes."""
    if path.suffix.lower() not in PLAYLIST_SUFFIXES:
        return False
    try:
        return read_head(path, len(_PLAYLIST) + 3).removeprefix(b"\xef\xbb\xbf").startswith(_PLAYLIST)
    except OSError:
        return False


def check_playlist(path: Path, depth: int = 0) -> None:
    """Check that a playlist and the playlists in it name files in their own folder or below it only.

    Raises:
        DistillError: One names a file elsewhere.
    """
    with path.open("rb") as file:
        text = file.read(_MAX_PLAYLIST_BYTES).decode("utf-8-sig", errors="replace")
    lines = [line.strip() for line in text.splitlines()]
    entries = [line for line in lines if line and not line.startswith("#")]
    entries += [entry for line in lines if line.startswith("#") for entry in _URI.findall(line)]
    for entry in entries:
        parts = re.split(r"[/\\]", entry)
        if ":" in parts[0] or not parts[0] or ".." in parts or "%" in entry:
            raise DistillError(
                f"{path}: this playlist names {entry[:80]!r}, which is not a file in its own folder",
                hint="download the segments next to the playlist, or give the address of the stream",
            )
        nested = path.parent / entry
        if nested.suffix.lower() in PLAYLIST_SUFFIXES and nested.is_file() and depth < _MAX_DEPTH:
            check_playlist(nested, depth + 1)
