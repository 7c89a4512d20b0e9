"""Photo sources inside of other files: videos, folders of shards, tars and zips."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from distill.errors import DistillError, UsageError
from distill.files import MAX_FILE_BYTES, printable
from distill.images import Photo, encode_jpeg, read_photo
from distill.inputs import PHOTO_SUFFIXES, UnreadablePhoto, unique_keys
from distill.inputs.own_files import is_system_folder
from distill.shards import MANIFEST, Sample, read_manifest, read_shard
from distill.teachers.base import Dependencies, PhotoRef
from distill.video import VideoReader

_ORIGIN = ("frame", "scene", "seed")
"""Keys of the origin of a sample that are passed on."""
_MANY = 100_000
"""Samples of a shard, above which its size is checked first."""


class VideoSource:
    """Every n-th frame of a video file."""

    ignored: Sequence[str] = ()
    left_out: Sequence[str] = ()

    def __init__(self, path: Path, frame_stride: int, stem: str) -> None:
        self._path, self._frame_stride, self._stem = path, frame_stride, stem
        with VideoReader(path) as reader:
            frames = reader.count()
        self._num = (frames + frame_stride - 1) // frame_stride

    def __len__(self) -> int:
        return self._num

    def photo(self, position: int) -> PhotoRef:
        """As `Source.photo`."""
        frame = position * self._frame_stride
        return PhotoRef(f"{self._path.name}#{frame}", {"path": str(self._path), "frame": frame})

    def dependencies(self, position: int) -> Dependencies:
        """As `Source.dependencies`."""
        return Dependencies(_file_state(self._path))

    def read(
        self, start: int, stop: int, min_size_hw: tuple[int, int] | None = None
    ) -> Iterator[Photo | UnreadablePhoto]:
        """As `Source.read`."""
        name = self._path.name
        try:
            with VideoReader(self._path) as reader:
                for frame in reader.frames(start * self._frame_stride, stop * self._frame_stride, self._frame_stride):
                    yield read_photo(
                        encode_jpeg(frame.rgb),
                        key=f"{self._stem}-{frame.index:08d}",
                        name=f"{name}#{frame.index}",
                        origin={"path": str(self._path), "frame": frame.index},
                    )
        except DistillError as error:
            yield UnreadablePhoto(name, str(error).removeprefix(f"{self._path}: "))
        except Exception as error:  # one video must not end the job
            yield UnreadablePhoto(name, f"cannot be decoded: {type(error).__name__}: {error}")


class ShardsSource:
    """The photos of existing shards."""

    ignored: Sequence[str] = ()
    left_out: Sequence[str] = ()

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self._folder, self._prefix = folder, prefix
        self._shards = read_manifest(folder).shards
        for shard in self._shards:
            _check_count(folder / shard.name, shard.samples)
        self._places = [(shard.name, shard.sha256, number) for shard in self._shards for number in range(shard.samples)]

    def __len__(self) -> int:
        return len(self._places)

    def photo(self, position: int) -> PhotoRef:
        """As `Source.photo`."""
        shard, _, number = self._places[position]
        return PhotoRef(f"{self._prefix}{shard}#{number}", {"sample": number})

    def dependencies(self, position: int) -> Dependencies:
        """As `Source.dependencies`."""
        return Dependencies(self._places[position][1])

    def read(
        self, start: int, stop: int, min_size_hw: tuple[int, int] | None = None
    ) -> Iterator[Photo | UnreadablePhoto]:
        """As `Source.read`."""
        first = 0
        for shard in self._shards:
            low, high = max(start - first, 0), min(stop - first, shard.samples)
            if low < high:
                yield from self._read_shard(self._folder / shard.name, low, high, min_size_hw)
            first += shard.samples

    def _read_shard(
        self, path: Path, low: int, high: int, min_size_hw: tuple[int, int] | None
    ) -> Iterator[Photo | UnreadablePhoto]:
        """Samples [low, high) of one tar; those behind a damaged one as `UnreadablePhoto`."""
        index = 0
        try:
            for sample in read_shard(path):
                if low <= index < high:
                    yield self._photo(sample, min_size_hw)
                index += 1
                if index == high:
                    return
        except DistillError as error:
            for missing in range(max(index, low), high):
                yield UnreadablePhoto(f"{path.name}#{missing}", str(error))

    def _photo(self, sample: Sample, min_size_hw: tuple[int, int] | None) -> Photo | UnreadablePhoto:
        try:
            name = str(sample.meta.get("name", sample.key))
            stored = sample.meta.get("origin")
            # A path would be of another machine, or lead a teacher to files that are not of this set.
            origin = {
                key: stored[key]
                for key in _ORIGIN
                if isinstance(stored, dict) and isinstance(stored.get(key), int | float | str)
            }
            key = self._prefix + sample.key
            return read_photo(sample.photo, key=key, name=name, origin=origin, min_size_hw=min_size_hw)
        except DistillError as error:
            return UnreadablePhoto(sample.key, str(error))


def _check_count(path: Path, samples: int) -> None:
    """Check that a shard can hold as many samples as the manifest says.

    Raises:
        UsageError: It cannot; a list of absurdly many would fill the memory.
    """
    size = path.stat().st_size if path.is_file() else 0
    if samples > _MANY and samples * tarfile.BLOCKSIZE > size:
        raise UsageError(
            f"{path}: has {size} bytes, too few for the {samples} samples that {MANIFEST} lists",
            hint="copy the set again",
        )


@dataclass(frozen=True, slots=True)
class _Member:
    """One photo of an archive.

    Attributes:
        archive: The tar or zip.
        member: Name in it.
        name: Name in messages: stem of the archive, and the member's name.
        offset: Position of its bytes in a tar; -1 in a zip.
        size: In bytes.
    """

    archive: Path
    member: str
    name: str
    offset: int
    size: int


class ArchiveSource:
    """The photos of plain tars (WebDataset or not) and zips, read without unpacking.

    Other members (captions, json, label maps of a sample that has a photo) are ignored and counted.
    """

    def __init__(self, archives: Sequence[Path]) -> None:
        self.ignored: Sequence[str] = []
        self.left_out: Sequence[str] = []
        self._members: list[_Member] = []
        self._unreadable: list[UnreadablePhoto] = []
        for path in archives:
            members, damage = _members(path)
            photos = _photos(members)
            self._members += photos
            wanted = set(photos)
            self.ignored = [*self.ignored, *(member.name for member in members if member not in wanted)]
            if damage:
                self._unreadable.append(UnreadablePhoto(path.name, damage))
        self._keys = unique_keys([member.name for member in self._members])

    def __len__(self) -> int:
        return len(self._members) + len(self._unreadable)

    def photo(self, position: int) -> PhotoRef:
        """As `Source.photo`."""
        if position >= len(self._members):
            return PhotoRef(self._unreadable[position - len(self._members)].name, {})
        return PhotoRef(self._members[position].name, {})

    def dependencies(self, position: int) -> Dependencies:
        """As `Source.dependencies`."""
        if position >= len(self._members):
            return Dependencies(self._unreadable[position - len(self._members)].reason)
        return Dependencies(_file_state(self._members[position].archive))

    def read(
        self, start: int, stop: int, min_size_hw: tuple[int, int] | None = None
    ) -> Iterator[Photo | UnreadablePhoto]:
        """As `Source.read`."""
        for member, key in zip(self._members[start:stop], self._keys[start:stop], strict=True):
            try:
                yield read_photo(_read_member(member), key=key, name=member.name, min_size_hw=min_size_hw)
            except (OSError, RuntimeError, zipfile.BadZipFile, EOFError) as error:  # RuntimeError: encrypted
                yield UnreadablePhoto(member.name, f"cannot be read: {error}")
            except DistillError as error:
                yield UnreadablePhoto(member.name, str(error).removeprefix(f"{member.name}: "))
        yield from self._unreadable[max(start - len(self._members), 0) : max(stop - len(self._members), 0)]


def _members(path: Path) -> tuple[list[_Member], str]:
    """(regular files of an archive; why the rest cannot be read, or "")."""
    found: list[_Member] = []
    try:
        if path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive:
                for info in archive.infolist():
                    if not info.is_dir():
                        found.append(_member(path, info.filename, -1, info.file_size))
        else:
            with tarfile.open(path, "r:") as tar:
                for member in tar:
                    if member.isfile():
                        found.append(_member(path, member.name, member.offset_data, member.size))
    except FileNotFoundError:
        return found, "no such file"
    except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError) as error:
        return found, f"not a readable {'zip' if path.suffix.lower() == '.zip' else 'tar without compression'}: {error}"
    return found, ""


def _member(path: Path, name: str, offset: int, size: int) -> _Member:
    return _Member(path, name, printable(f"{path.stem}/{PurePosixPath(name).as_posix().lstrip('/')}"), offset, size)


def _photos(members: Sequence[_Member]) -> list[_Member]:
    """The photos among the members: of ``a.jpg``, ``a.depth.png`` and ``a.json``, the first only."""
    wanted = [member for member in members if PurePosixPath(member.member).suffix.lower() in PHOTO_SUFFIXES]
    wanted = [
        member
        for member in wanted
        if not any(is_system_folder(part) for part in PurePosixPath(member.member).parts if part not in (".", ".."))
    ]
    whole = {_sample(member) for member in wanted if PurePosixPath(member.member).name.count(".") == 1}
    return [
        member for member in wanted if PurePosixPath(member.member).name.count(".") == 1 or _sample(member) not in whole
    ]


def _sample(member: _Member) -> str:
    """Key of a member in WebDataset: the path up to the first dot of the file's name."""
    path = PurePosixPath(member.member)
    return str(path.with_name(path.name.partition(".")[0] or path.name))


def _read_member(member: _Member) -> bytes:
    if member.size > MAX_FILE_BYTES:
        raise OSError(f"{member.size / 1e6:.0f} MB is over the limit of {MAX_FILE_BYTES / 1e6:.0f} MB")
    if member.offset < 0:
        with zipfile.ZipFile(member.archive) as archive, archive.open(member.member) as file:
            return file.read(member.size)
    with member.archive.open("rb") as tar:
        tar.seek(member.offset)
        return tar.read(member.size)


def _file_state(path: Path) -> str:
    """Size and time of a file that is too large for a digest."""
    try:
        info = path.stat()
    except OSError:
        return "missing"
    return f"{info.st_size} {info.st_mtime_ns}"
