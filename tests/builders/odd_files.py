"""Files as people really have them: damaged, unusual, or something else than their names say."""

from __future__ import annotations

import os
import struct
from fractions import Fraction
from pathlib import Path

from PIL import Image

from tests.builders.videos import make_clip, numbered_frame, unknown_sound, write_photo, write_stream


def write_good_files(folder: Path) -> None:
    """Five clips, `good_N.mp4` of 20 + N frames, every other one with sound, and five photos, `good_N.png`."""
    for number in range(5):
        make_clip(folder / f"good_{number}.mp4", num_frames=20 + number, codec="mpeg4", sound=number % 2 == 0)
        write_photo(folder / f"good_{number}.png", (32, 40), seed=number)


def write_odd_files(folder: Path, scratch: Path) -> None:
    """Sixty files that are damaged, unusual, or something else than their names say."""
    mp4 = make_clip(scratch / "a.mp4", num_frames=4, codec="mpeg4", sound=True).read_bytes()
    ts = write_stream(scratch / "a.ts", range(12), sound=True).read_bytes()
    mkv = make_clip(scratch / "a.mkv", num_frames=4, codec="mpeg4").read_bytes()
    gif = make_clip(scratch / "a.gif", num_frames=4, codec="gif", pix_fmt="rgb8").read_bytes()
    jpeg = write_photo(scratch / "a.jpg", (32, 32)).read_bytes()
    webp = [Image.fromarray(numbered_frame(number, (48, 96))) for number in range(3)]
    webp[0].save(scratch / "a.webp", save_all=True, append_images=webp[1:])
    odd: dict[str, bytes] = {}
    for name, data in {"mp4": mp4, "ts": ts, "mkv": mkv, "gif": gif, "webp": (scratch / "a.webp").read_bytes()}.items():
        for share in (0.1, 0.5, 0.9):
            odd[f"cut_{share}.{name}"] = data[: int(share * len(data))]
        noise = bytearray(data)
        noise[len(data) // 3 :: 11] = bytes(len(noise[len(data) // 3 :: 11]))
        odd[f"noise.{name}"] = bytes(noise)
        odd[f"twice.{name}"] = data + data
        odd[f"after_rubbish.{name}"] = bytes(300) + data
    for suffix in ("mp4", "mkv", "ts", "avi", "h264", "gif", "webm", "jpg"):
        odd[f"empty.{suffix}"] = b""
        odd[f"zeros.{suffix}"] = bytes(5000)
    odd |= {
        "playlist.mp4": b"#EXTM3U\n#EXTINF:1,\n../a.ts\n",
        "concat.mkv": b"ffconcat version 1.0\nfile a.ts\n",
        "photo.mp4": jpeg,
        **dict.fromkeys(("video.jpg", "rec.dav", "12:30:05.mp4", "percent%05d.mp4"), mp4),
        "no_suffix": ts,
        "sound_unknown.mp4": unknown_sound(scratch / "a.mp4").read_bytes(),
        "picture_unknown.mp4": mp4.replace(b"mp4v", b"brxq"),
        "huge.png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + struct.pack(">II", 10**5, 10**5) + bytes(40),
        "phone.heic": b"\0\0\0\x18ftypheic" + bytes(100),
        "text.mov": b"not a film\n" * 50,
        "page.ts": b"<html>" * 100,
    }
    for name, data in odd.items():
        (folder / name).write_bytes(data)
    (Path(os.fsdecode(os.fsencode(folder) + b"/caf\xe9.mp4"))).write_bytes(mp4)
    write_stream(folder / "late.ts", range(12), start_s=54321)
    write_stream(folder / "tv.ts", range(12), aspect=Fraction(64, 45))
    assert len(list(folder.iterdir())) >= 60
