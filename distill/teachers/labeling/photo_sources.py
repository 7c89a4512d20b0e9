"""Photo sources: folders, globs, files, lists, archives, videos and shards as a numbered sequence of photos.

A source lists all its photos and decodes them one at a time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Protocol, runtime_checkable

from distill.errors import DistillError, UsageError
from distill.files import printable, read_file
from distill.images import SUFFIXES, Photo, max_pixels, read_photo
from distill.inputs import (
    ARCHIVE_SUFFIXES,
    TABLE_SUFFIXES,
    UnreadablePhoto,
    expand,
    is_shards,
    unique_keys,
    walk,
)
from distill.teachers.base import Dependencies, PhotoRef
from distill.teachers.labeling.container_sources import ArchiveSource, ShardsSource, VideoSource
from distill.teachers.labeling.table_source import TableSource
from distill.video import is_video


@runtime_checkable
class Source(Protocol):
    """Numbered photos."""

    ignored: Sequence[str]
    """Files that are not photos."""
    left_out: Sequence[str]
    """Results of earlier runs, and folders of storage systems and recycle bins."""

    def __len__(self) -> int:
        """Number of photos; a video may contain fewer frames than it declares."""
        ...

    def photo(self, position: int) -> PhotoRef:
        """Name and origin of a photo."""
        ...

    def dependencies(self, position: int) -> Dependencies:
        """The file of a photo, or a text that changes with its bytes, so that a resumed job detects changes."""
        ...

    def read(
        self, start: int, stop: int, min_size_hw: tuple[int, int] | None = None
    ) -> Iterator[Photo | UnreadablePhoto]:
        """These photos in order, decoded to at least `min_size_hw`; an unusable one as `UnreadablePhoto`."""
        ...


@dataclass(frozen=True, slots=True)
class _PhotoFile:
    path: Path
    name: str
    """Relative to the given folder."""
    key: str


class FilesSource:
    """Photo files; after them the folders that cannot be read."""

    def __init__(
        self,
        files: Sequence[tuple[Path, str]],
        ignored: Sequence[str] = (),
        left_out: Sequence[str] = (),
        unreadable: Sequence[UnreadablePhoto] = (),
    ) -> None:
        self.ignored: Sequence[str] = [printable(name) for name in ignored]
        self.left_out: Sequence[str] = [printable(name) for name in left_out]
        self._unreadable = unreadable
        self._files = [
            _PhotoFile(path, printable(name), key)
            for (path, name), key in zip(files, unique_keys([name for _, name in files]), strict=True)
        ]

    def __len__(self) -> int:
        return len(self._files) + len(self._unreadable)

    def photo(self, position: int) -> PhotoRef:
        """As `Source.photo`."""
        if position >= len(self._files):
            return PhotoRef(self._unreadable[position - len(self._files)].name, {})
        file = self._files[position]
        return PhotoRef(file.name, {"path": str(file.path)})

    def dependencies(self, position: int) -> Dependencies:
        """As `Source.dependencies`."""
        if position >= len(self._files):
            return Dependencies(self._unreadable[position - len(self._files)].reason)
        return Dependencies(files=(self._files[position].path,))

    def read(
        self, start: int, stop: int, min_size_hw: tuple[int, int] | None = None
    ) -> Iterator[Photo | UnreadablePhoto]:
        """As `Source.read`."""
        for file in self._files[start:stop]:
            yield self._read(file, min_size_hw)
        yield from self._unreadable[max(start - len(self._files), 0) : max(stop - len(self._files), 0)]

    @staticmethod
    def _read(file: _PhotoFile, min_size_hw: tuple[int, int] | None) -> Photo | UnreadablePhoto:
        origin: dict[str, int | float | str] = {"path": str(file.path)}
        try:
            data = read_file(file.path)
            return read_photo(data, key=file.key, name=file.name, origin=origin, min_size_hw=min_size_hw)
        except OSError as error:
            return UnreadablePhoto(file.name, f"cannot be read: {error.strerror or error}")
        except DistillError as error:
            return UnreadablePhoto(file.name, str(error).removeprefix(f"{file.name}: "))
        except Exception as error:  # one photo must not end the job
            return UnreadablePhoto(file.name, f"cannot be decoded: {type(error).__name__}: {error}")


class _ChainedSource:
    """Several sources, one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self._ends = list(accumulate(len(source) for source in sources))
        self.ignored: Sequence[str] = [name for source in sources for name in source.ignored]
        self.left_out: Sequence[str] = [name for source in sources for name in source.left_out]

    def __len__(self) -> int:
        return self._ends[-1]

    def _place(self, position: int) -> tuple[Source, int]:
        """The source of a photo, and its position there."""
        index = bisect_right(self._ends, position)
        return self._sources[index], position - (self._ends[index - 1] if index else 0)

    def photo(self, position: int) -> PhotoRef:
        """As `Source.photo`."""
        source, place = self._place(position)
        return source.photo(place)

    def dependencies(self, position: int) -> Dependencies:
        """As `Source.dependencies`."""
        source, place = self._place(position)
        return source.dependencies(place)

    def read(
        self, start: int, stop: int, min_size_hw: tuple[int, int] | None = None
    ) -> Iterator[Photo | UnreadablePhoto]:
        """As `Source.read`."""
        first = 0
        for source, end in zip(self._sources, self._ends, strict=True):
            low, high = max(start, first), min(stop, end)
            if low < high:
                yield from source.read(low - first, high - first, min_size_hw)
            first = end


def _packed_sources(paths: Sequence[Path]) -> list[Source]:
    """Sources of archives and of tables, without those that have no photos."""
    tables = [path for path in paths if path.suffix.lower() in TABLE_SUFFIXES]
    archives = [path for path in paths if path not in tables]
    sources = ([ArchiveSource(archives)] if archives else []) + ([TableSource(tables)] if tables else [])
    return [source for source in sources if len(source)]


def open_source(inputs: Sequence[str], *, frame_stride: int = 1, leave_out: Sequence[Path] = ()) -> Source:
    """The photos in folders (with their subfolders), globs, image files, lists, archives, videos and shards.

    A folder without a photo, but with tars, zips or tables, stands for the photos in these.

    Args:
        inputs: Paths and globs of the command line.
        frame_stride: Use every n-th frame of a video.
        leave_out: Folders to skip: results may be below the photos.

    Raises:
        UsageError: An input does not exist, or there are no photos.
    """
    max_pixels()  # a value that is not a number is one error, not one per photo
    files: dict[Path, str] = {}
    ignored: list[str] = []
    left_out: list[str] = []
    unreadable: list[UnreadablePhoto] = []
    folders: dict[Path, None] = {}
    videos: dict[Path, None] = {}
    archives: dict[Path, None] = {}
    for word in dict.fromkeys(inputs):
        expansion = expand(word)
        left_out += expansion.left_out
        for path, name in expansion.files:
            if path.is_dir() and is_shards(path):
                folders[path] = None
            elif path.is_dir():
                contents = walk(path, leave_out=leave_out)
                for file, relative in contents.files:
                    files.setdefault(file, relative)
                archives |= dict.fromkeys(file for file, _ in contents.archives if not contents.files)
                ignored += contents.ignored
                ignored += [relative for _, relative in contents.archives] if contents.files else []
                left_out += contents.left_out
                unreadable += contents.unreadable
            elif path.suffix.lower() in ARCHIVE_SUFFIXES | TABLE_SUFFIXES:
                archives[path] = None
            elif is_video(path):
                videos[path] = None
            else:
                files.setdefault(path, name)
    sources: list[Source] = []
    if files or unreadable:
        sources.append(FilesSource(list(files.items()), ignored, left_out, unreadable))
    packed = _packed_sources(list(archives))
    if packed and not sources:
        packed[0].ignored, packed[0].left_out = [*ignored, *packed[0].ignored], left_out
    sources += packed
    # Two sets may have the same keys.
    sources += [ShardsSource(path, f"s{n}-" if len(folders) > 1 else "") for n, path in enumerate(folders)]
    stems = unique_keys([path.name for path in videos])
    sources += [VideoSource(path, frame_stride, stem) for path, stem in zip(videos, stems, strict=True)]
    if not sources:
        more = f"; {len(left_out)} results of earlier runs and system folders are left out" if left_out else ""
        raise UsageError(
            f"{', '.join(inputs)}: no photos there{more}", hint=f"image suffixes are {', '.join(sorted(SUFFIXES))}"
        )
    return sources[0] if len(sources) == 1 else _ChainedSource(sources)
