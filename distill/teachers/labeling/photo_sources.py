"""Photo sources: folders, globs, files, videos and shards as a numbered sequence of photos.

A source lists all its photos and decodes them one at a time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from distill.errors import DistillError, UsageError
from distill.files import read_file
from distill.images import SUFFIXES, Photo, encode_jpeg, read_photo
from distill.inputs import UnreadablePhoto, expand, is_shards, printable, unique_keys, walk
from distill.shards import Sample, read_manifest, read_shard
from distill.video import VideoReader, is_video


@runtime_checkable
class Source(Protocol):
    """Numbered photos."""

    ignored: Sequence[str]
    """Files that are not photos."""

    def __len__(self) -> int:
        """Number of photos; a video may contain fewer frames than it declares."""
        ...

    def identity(self, start: int, stop: int) -> str:
        """Digest of these photos, so that a resumed job detects changes."""
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


class _FilesSource:
    """Photo files."""

    def __init__(
        self,
        files: Sequence[tuple[Path, str]],
        ignored: Sequence[str] = (),
        unreadable: Sequence[UnreadablePhoto] = (),
    ) -> None:
        self.ignored: Sequence[str] = [printable(name) for name in ignored]
        self._unreadable = unreadable
        self._files = [
            _PhotoFile(path, printable(name), key)
            for (path, name), key in zip(files, unique_keys([name for _, name in files]), strict=True)
        ]

    def __len__(self) -> int:
        return len(self._files) + len(self._unreadable)

    def identity(self, start: int, stop: int) -> str:
        digest = hashlib.sha256()
        for folder in self._unreadable[max(start - len(self._files), 0) : max(stop - len(self._files), 0)]:
            digest.update(f"{folder.name}\0{folder.reason}\n".encode(errors="surrogateescape"))
        for file in self._files[start:stop]:
            try:
                size = file.path.stat().st_size
            except OSError:
                size = -1
            digest.update(f"{file.name}\0{file.key}\0{size}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def read(
        self, start: int, stop: int, min_size_hw: tuple[int, int] | None = None
    ) -> Iterator[Photo | UnreadablePhoto]:
        for file in self._files[start:stop]:
            try:
                origin: dict[str, int | float | str] = {"path": str(file.path)}
                data = read_file(file.path)
                yield read_photo(data, key=file.key, name=file.name, origin=origin, min_size_hw=min_size_hw)
            except OSError as error:
                yield UnreadablePhoto(file.name, f"cannot be read: {error.strerror or error}")
            except DistillError as error:
                yield UnreadablePhoto(file.name, str(error).removeprefix(f"{file.name}: "))
        yield from self._unreadable[max(start - len(self._files), 0) : max(stop - len(self._files), 0)]


class _VideoSource:
    """Every n-th frame of a video file."""

    ignored: Sequence[str] = ()

    def __init__(self, path: Path, frame_stride: int, stem: str) -> None:
        self._path, self._frame_stride, self._stem = path, frame_stride, stem
        with VideoReader(path) as reader:
            frames = reader.count()
        self._num = (frames + frame_stride - 1) // frame_stride

    def __len__(self) -> int:
        return self._num

    def identity(self, start: int, stop: int) -> str:
        return f"{self._path.name} {self._path.stat().st_size} every {self._frame_stride}: {start}-{stop}"

    def read(
        self, start: int, stop: int, min_size_hw: tuple[int, int] | None = None
    ) -> Iterator[Photo | UnreadablePhoto]:
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


class _ShardsSource:
    """The photos of existing shards."""

    ignored: Sequence[str] = ()

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self._folder, self._prefix = folder, prefix
        self._shards = read_manifest(folder).shards

    def __len__(self) -> int:
        return sum(shard.samples for shard in self._shards)

    def identity(self, start: int, stop: int) -> str:
        return " ".join(shard.sha256 for shard in self._shards) + f": {start}-{stop}"

    def read(
        self, start: int, stop: int, min_size_hw: tuple[int, int] | None = None
    ) -> Iterator[Photo | UnreadablePhoto]:
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
            key, origin = self._prefix + sample.key, sample.meta.get("origin", {})
            return read_photo(sample.photo, key=key, name=name, origin=origin, min_size_hw=min_size_hw)
        except DistillError as error:
            return UnreadablePhoto(sample.key, str(error))


class _ChainedSource:
    """Several sources, one after the other."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = sources
        self.ignored: Sequence[str] = [name for source in sources for name in source.ignored]

    def __len__(self) -> int:
        return sum(len(source) for source in self._sources)

    def _parts(self, start: int, stop: int) -> Iterator[tuple[Source, int, int]]:
        first = 0
        for source in self._sources:
            low, high = max(start - first, 0), min(stop - first, len(source))
            if low < high:
                yield source, low, high
            first += len(source)

    def identity(self, start: int, stop: int) -> str:
        return "; ".join(source.identity(low, high) for source, low, high in self._parts(start, stop))

    def read(
        self, start: int, stop: int, min_size_hw: tuple[int, int] | None = None
    ) -> Iterator[Photo | UnreadablePhoto]:
        for source, low, high in self._parts(start, stop):
            yield from source.read(low, high, min_size_hw)


def open_source(inputs: Sequence[str], *, frame_stride: int = 1, leave_out: Sequence[Path] = ()) -> Source:
    """The photos in folders (with their subfolders), globs, image files, videos and folders of shards.

    Args:
        inputs: Paths and globs of the command line.
        frame_stride: Use every n-th frame of a video.
        leave_out: Folders to skip: results may be below the photos.

    Raises:
        UsageError: An input does not exist, or there are no photos.
    """
    files: list[tuple[Path, str]] = []
    ignored: list[str] = []
    unreadable: list[UnreadablePhoto] = []
    folders: list[Path] = []
    videos: list[Path] = []
    for path in dict.fromkeys(path for word in inputs for path in expand(word)):
        if path.is_dir() and is_shards(path):
            folders.append(path)
        elif path.is_dir():
            contents = walk(path, leave_out=leave_out)
            files += contents.files
            ignored += contents.ignored
            unreadable += contents.unreadable
        elif is_video(path):
            videos.append(path)
        else:
            files.append((path, path.name))
    files = list(dict.fromkeys(files))
    sources: list[Source] = [_FilesSource(files, ignored, unreadable)] if files or unreadable else []
    # Two sets may have the same keys.
    sources += [_ShardsSource(path, f"s{n}-" if len(folders) > 1 else "") for n, path in enumerate(folders)]
    stems = unique_keys([path.name for path in videos])
    sources += [_VideoSource(path, frame_stride, stem) for path, stem in zip(videos, stems, strict=True)]
    if not sources:
        raise UsageError(
            f"{', '.join(inputs)}: no photos there", hint=f"image suffixes are {', '.join(sorted(SUFFIXES))}"
        )
    return sources[0] if len(sources) == 1 else _ChainedSource(sources)
