"""Random-access index over shards by photo or key."""

from __future__ import annotations

import tarfile
from dataclasses import dataclass, field
from pathlib import Path

from distill.errors import DistillError
from distill.shards import Sample, iter_sample_files, length_fault, read_manifest


@dataclass(slots=True)
class _SampleLocation:
    """Position of a sample's files: extension to (offset, size) in one tar."""

    tar: Path
    files: dict[str, tuple[int, int]] = field(default_factory=dict)


class ShardIndex:
    """Index of a set's tars, about 1 kB a sample; labels are read on request.

    Attributes:
        matched_by_key: Number of samples found by key alone, with other photo bytes.
        read_errors: Shards that could not be read to their end, or were changed, one sentence each.
    """

    def __init__(self, folder: Path) -> None:
        self._locations: dict[str, _SampleLocation] = {}
        self.read_errors: list[str] = []
        for shard in read_manifest(folder).shards:
            fault = length_fault(folder, shard)
            if fault:
                self.read_errors.append(f"{folder / shard.name}: {fault}")
            else:
                self._index(folder / shard.name)
        self._keys_by_photo: dict[str, str] | None = None
        self.matched_by_key = 0

    def find(self, sample: Sample) -> Sample | None:
        """Sample with the same photo bytes, else with the same key, else None."""
        wanted = sample.meta.get("photo_sha256", "")
        found = self._read(sample.key) if sample.key in self._locations else None
        if found is not None and found.meta.get("photo_sha256", "") == wanted:
            return found
        # Keys like 0001 repeat between sets, so the photo comes before the key.
        key = self._key_by_photo().get(wanted)
        if key is not None:
            return self._read(key)
        if found is not None:
            self.matched_by_key += 1
        return found

    def _index(self, path: Path) -> None:
        try:
            for member in iter_sample_files(path):
                location = self._locations.setdefault(member.key, _SampleLocation(path))
                location.files[member.extension] = (member.offset, member.size)
        except (tarfile.TarError, OSError) as error:
            self.read_errors.append(f"{path}: the shard cannot be read: {error}")

    def _key_by_photo(self) -> dict[str, str]:
        if self._keys_by_photo is None:
            self._keys_by_photo = {}
            for key in self._locations:
                try:
                    photo = self._read(key, only="json").meta.get("photo_sha256")
                except DistillError:
                    continue  # found by key only
                if photo:
                    self._keys_by_photo.setdefault(photo, key)
        return self._keys_by_photo

    def _read(self, key: str, *, only: str = "") -> Sample:
        location, files = self._locations[key], {}
        with location.tar.open("rb") as tar:
            for extension, (offset, size) in location.files.items():
                if not only or extension == only:
                    tar.seek(offset)
                    files[extension] = tar.read(size)
        return Sample(key, files)
