"""Checks of the tars of a set: digests, damaged headers, members that come twice, and the samples in them."""

from __future__ import annotations

import errno
import hashlib
import re
import stat
import tarfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from distill.datasets.listing import planned_tars
from distill.datasets.sample_checks import SampleFault, check_content, locate_damage, png_damage
from distill.datasets.tar_groups import Group, collect_groups, states_digests, stream_groups
from distill.datasets.verify_report import MAX_FAULTS, Fault, VerifyReport
from distill.files import open_regular
from distill.labels.sample_digest import has_right_digest, has_right_manifest_digest
from distill.runtime.cpu import usable_cores
from distill.runtime.parallel import map_ordered
from distill.runtime.progress import Reporter
from distill.shards import MANIFEST, Manifest, Sample, ShardEntry, file_sha256
from distill.tar_files import TarPiece

_CHECKSUM = slice(148, 156)
_CHECKSUM_FORM = re.compile(rb"[0-7]{6}\0 ")
"""Of a tar header; readers accept others, writers of this package make no others."""


class Verification:
    """State of a verification.

    Attributes:
        is_trusted: Whether the manifest is as it was written.
        is_intact: Whether the last tar has its digest and all its samples are whole.
    """

    def __init__(self, folder: Path, manifest: Manifest, *, quick: bool) -> None:
        self.folder, self.manifest, self.quick = folder, manifest, quick
        self._faults: list[Fault] = []
        self._num_faults = self._damaged = self._bytes = self._read_shards = self._unsealed = 0
        self.is_trusted = has_right_manifest_digest((folder / MANIFEST).read_bytes()) is not False
        self._keys, self.is_intact = set[int](), False
        self._states_digests = False

    def shards(self, reporter: Reporter) -> Iterator[ShardEntry]:
        """Tars of the set, with progress; files that do not belong to it are faults."""
        if not self.is_trusted:
            self._add(Fault(MANIFEST, "its content is not what was written (manifest_sha256)"))
        names = [shard.name for shard in self.manifest.shards]
        for name in (name for name, count in Counter(names).items() if count > 1):
            self._add(Fault(MANIFEST, f"states {name} twice"))
        planned, stated = planned_tars(self.folder), set(names)
        for path in sorted(self.folder.glob("*.tar")):
            if path.name in planned - stated:
                self._unsealed += 1
            elif path.name not in stated:
                self._add(Fault(path.name, f"is not in {MANIFEST}: it does not belong to the set"))
        total = sum(shard.bytes for shard in self.manifest.shards)
        with reporter.progress("verify, MB", round(total / 1e6)) as progress:
            for shard in self.manifest.shards:
                yield shard
                progress.advance(round(shard.bytes / 1e6))

    def whole_samples(self, shard: ShardEntry, *, needed: bool = False) -> Iterator[Sample]:
        """Samples of a tar without a fault; the faults of others, and of the tar, are recorded.

        Args:
            shard: The tar.
            needed: Whether the samples of an intact tar are needed in a quick verification.
        """
        path = self.folder / shard.name
        try:
            info = path.stat()
            if not stat.S_ISREG(info.st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            size = info.st_size
            sha256 = file_sha256(path)
        except OSError as error:
            reason = "missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
            self._add(Fault(shard.name, reason))
            self._damaged += shard.samples
            return
        self._bytes += size
        self._read_shards += 1
        self.is_intact = is_same = sha256 == shard.sha256 and size == shard.bytes
        if is_same and self.quick and not needed:
            return
        before, found, whole = self._num_faults, 0, 0
        for sample, faults in self._examined(path, proven=is_same):
            found += 1
            if faults:
                self.is_intact = False
            else:
                whole += 1
                yield sample
        if found != shard.samples:
            self._add(Fault(shard.name, f"has {found} samples, {MANIFEST} states {shard.samples}"))
        self._damaged += max(shard.samples, found) - whole
        if not is_same and self._num_faults == before:
            self._add(
                Fault(
                    shard.name,
                    f"all samples are whole, but its size ({size} bytes) or SHA-256 is not that in {MANIFEST} "
                    f"({shard.bytes} bytes): the tar or the manifest was replaced",
                )
            )

    def _examined(self, path: Path, *, proven: bool) -> Iterator[tuple[Sample, list[SampleFault]]]:
        """(sample, its faults) for all samples of a tar.

        Args:
            path: The tar.
            proven: Whether its digest is right; otherwise that of each sample is compared.
        """
        with open_regular(path) as file:
            groups = stream_groups(path) if proven else self._damaged_groups(path, file)
            read = (self._closed(group.read(file)) for group in groups)
            for group, faults in map_ordered(read, lambda group: self._faults_of(group, proven), usable_cores()):
                if not proven:
                    self._check_frames(path.name, group, file)
                for fault in faults:
                    self._add_sample_fault(path.name, group, fault)
                yield group.sample, faults

    def _damaged_groups(self, path: Path, file: BinaryIO) -> Iterator[Group]:
        """Samples of a tar whose digest is wrong; damaged headers are recorded."""
        groups, gaps = collect_groups(path)
        for gap in gaps:
            reason = "a damaged header: what follows it cannot be named, up to the next whole header"
            self._add(Fault(path.name, reason, first_byte=gap.start, last_byte=gap.stop - 1))
        self._states_digests = states_digests(groups, file)
        groups.reverse()
        while groups:
            yield groups.pop()  # and forget it: its files are read into it

    def _closed(self, group: Group) -> Group:
        """The group, marked if its key came before."""
        # 64 bits of a digest take a tenth of the memory of the key.
        key = group.sample.key.casefold().encode(errors="surrogateescape")
        number = int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")
        group.is_repeated = number in self._keys
        self._keys.add(number)
        return group

    def _faults_of(self, group: Group, proven: bool) -> list[SampleFault]:
        sample = group.sample
        twice = [SampleFault("", "the key comes twice")] if group.is_repeated else []
        twice += [SampleFault(piece.member.extension, "cut off: the tar ends before it does") for piece in group.cut]
        is_right = None if proven else has_right_digest(sample.key, sample.files)
        if is_right is False or (not is_right and not proven and (group.is_torn or self._states_digests)):
            return [*twice, *locate_damage(sample)]
        if self.quick and (proven or is_right):
            return twice
        # A sample that cannot be proven whole is decoded also in a quick verification.
        return [*twice, *check_content(sample, self.manifest, trusted=self.is_trusted)]

    def _check_frames(self, name: str, group: Group, file: BinaryIO) -> None:
        """Record what no sample shows: repeated members, and changed bytes of headers, padding and placeholders."""
        for piece in group.repeated:
            self._add_member(name, piece, "the member comes twice", piece.start, piece.stop)
        if group.is_split:
            self._add(Fault(name, "its files are not next to each other", group.sample.key, "", *group.span))
        for extension, data in group.placeholders.items():
            if damage := png_damage(extension, data):
                self._add_sample_fault(name, group, damage)
        for piece in (*group.pieces.values(), *group.repeated):
            start, end = piece.member.offset - tarfile.BLOCKSIZE, piece.member.offset + piece.member.size
            file.seek(start)
            if not _CHECKSUM_FORM.fullmatch(file.read(tarfile.BLOCKSIZE)[_CHECKSUM]):
                self._add_member(name, piece, "its header is damaged", start, piece.member.offset)
            file.seek(end)
            if any(file.read(piece.stop - end)):
                self._add_member(name, piece, "the padding after it is not zero", end, piece.stop)

    def _add_member(self, shard: str, piece: TarPiece, reason: str, start: int, stop: int) -> None:
        self._add(Fault(shard, reason, piece.member.key, piece.member.name, start, stop - 1))

    def _add_sample_fault(self, shard: str, group: Group, fault: SampleFault) -> None:
        piece = group.pieces.get(fault.file)
        if piece is None:
            member = f"{group.sample.key}.{fault.file}" if fault.file else ""
            self._add(Fault(shard, fault.reason, group.sample.key, member, *group.span))
            return
        first, last = fault.span or (0, max(piece.member.size - 1, 0))
        start = piece.member.offset
        self._add(Fault(shard, fault.reason, group.sample.key, piece.member.name, start + first, start + last))

    def _add(self, fault: Fault) -> None:
        self._num_faults += 1
        if len(self._faults) < MAX_FAULTS:
            self._faults.append(fault)

    def report(self, salvaged: Path | None = None, kept: int = 0, *, planned: bool = False) -> VerifyReport:
        """The outcome so far."""
        return VerifyReport(
            self.folder,
            self.quick,
            self._read_shards,
            self.manifest.samples,
            self._bytes,
            self._num_faults,
            tuple(self._faults),
            self._damaged,
            salvaged,
            kept,
            planned,
            self._unsealed,
        )
