"""Members of a tar by sample: in order for tars that are as they were written, by key for damaged ones."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from distill.errors import DistillError
from distill.files import MAX_FILE_BYTES
from distill.labels.placeholders import is_placeholder
from distill.labels.sample_digest import has_right_digest
from distill.shards import Sample, ShardEntry, iter_sample_files
from distill.tar_files import TarGap, TarMember, TarPiece, iter_pieces


@dataclass(slots=True)
class Group:
    """Members of one sample.

    Attributes:
        sample: Its key and the files that were read.
        pieces: Members by extension.
        repeated: Further members of an extension that is in `pieces`.
        cut: Members that the end of the tar cuts off.
        placeholders: Content of members that stand for labels that the sample lacks.
        is_torn: Whether a damaged header is next to it or in it.
        is_split: Whether members of other samples are between its own.
        is_repeated: Whether an earlier sample of the set has its key.
    """

    sample: Sample
    pieces: dict[str, TarPiece] = field(default_factory=dict[str, TarPiece])
    repeated: list[TarPiece] = field(default_factory=list[TarPiece])
    cut: list[TarPiece] = field(default_factory=list[TarPiece])
    placeholders: dict[str, bytes] = field(default_factory=dict[str, bytes])
    is_torn: bool = False
    is_split: bool = False
    is_repeated: bool = False

    @property
    def span(self) -> tuple[int, int]:
        """First and last byte of its members, headers included."""
        places = [*self.pieces.values(), *self.repeated]
        return min(piece.start for piece in places), max(piece.stop for piece in places) - 1

    def read(self, tar: BinaryIO) -> Group:
        """Read all files into `sample`; of a member that comes twice, the one with which the sample is whole."""
        for piece in self.pieces.values():
            self._read(piece, tar)
        if self.repeated and not has_right_digest(self.sample.key, self.sample.files):
            before = dict(self.sample.files), dict(self.pieces)
            for number, piece in enumerate(self.repeated):
                self._read(piece, tar)
                self.repeated[number] = self.pieces[piece.member.extension]
                self.pieces[piece.member.extension] = piece
            if not has_right_digest(self.sample.key, self.sample.files):
                self.sample.files.clear()
                self.sample.files.update(before[0])
        return self

    def _read(self, piece: TarPiece, tar: BinaryIO) -> None:
        name = piece.member.extension
        self.sample.files.pop(name, None)
        self.placeholders.pop(name, None)
        try:
            if sum(part.member.size for part in self.pieces.values()) > MAX_FILE_BYTES:
                raise tarfile.ReadError("too large")
            data = piece.member.read(tar)
        except (tarfile.TarError, OSError):
            self.cut.append(piece)
            return
        (self.placeholders if is_placeholder(name, data) else self.sample.files)[name] = data


def stream_groups(path: Path) -> Iterator[Group]:
    """The samples of a tar in order, as readers see them: a key that comes again is another sample."""
    group: Group | None = None
    for piece in iter_pieces(path):
        if isinstance(piece, TarGap):
            continue
        if group is None or piece.member.key != group.sample.key or piece.member.extension in group.pieces:
            if group is not None:
                yield group
            group = Group(Sample(piece.member.key, {}))
        group.pieces[piece.member.extension] = piece
    if group is not None:
        yield group


def collect_groups(path: Path) -> tuple[list[Group], list[TarGap]]:
    """(the samples of a damaged tar, with all members of a key; damaged ranges)."""
    groups, gaps = dict[str, Group](), list[TarGap]()
    last: Group | None = None
    is_after_gap = False
    for piece in iter_pieces(path):
        if isinstance(piece, TarGap):
            gaps.append(piece)
            is_after_gap = True
            if last is not None:
                last.is_torn = True
            continue
        group = groups.setdefault(piece.member.key, Group(Sample(piece.member.key, {})))
        group.is_torn |= is_after_gap
        group.is_split |= bool(group.pieces) and group is not last
        if piece.member.extension in group.pieces:
            group.repeated.append(piece)
        else:
            group.pieces[piece.member.extension] = piece
        last, is_after_gap = group, False
    return list(groups.values()), gaps


def states_digests(groups: list[Group], tar: BinaryIO) -> bool:
    """Whether samples of a damaged tar state their digests: then one that does not has lost it."""
    for group in groups:
        piece = group.pieces.get("json")
        if piece is not None and piece.member.size <= MAX_FILE_BYTES:
            tar.seek(piece.member.offset)
            if has_right_digest("", {"json": tar.read(piece.member.size)}) is not None:
                return True
    return False


def scan_tar(path: Path, shard: ShardEntry) -> list[list[TarMember]]:
    """Members of each sample of a tar, in order; only headers are read.

    Raises:
        DistillError: The tar is missing or damaged, or has another number of samples than the manifest states.
    """
    found: list[list[TarMember]] = []
    try:
        for member in iter_sample_files(path):
            if not found or found[-1][0].key != member.key:
                found.append([])
            found[-1].append(member)
    except (OSError, tarfile.TarError) as error:
        raise unreadable_tar(path, error) from error
    if len(found) != shard.samples:
        raise DistillError(
            f"{path}: has {len(found)} samples, and dataset.json states {shard.samples}",
            hint="distill data verify finds the difference",
        )
    return found


def unreadable_tar(path: Path, error: Exception) -> DistillError:
    """The error of a tar that cannot be read, as a sentence."""
    if isinstance(error, FileNotFoundError):
        return DistillError(f"{path}: the shard is missing", hint="copy it again")
    reason = getattr(error, "strerror", None) or str(error).partition("\n")[0]
    return DistillError(
        f"{path}: the shard cannot be read: {reason}", hint="distill data verify --salvage keeps what is whole"
    )
