"""Photos in a column of Parquet files and of Hugging Face data sets that were saved to disk (Arrow files)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from distill.errors import DistillError, UsageError
from distill.files import MAX_FILE_BYTES
from distill.images import Photo, read_photo
from distill.inputs import UnreadablePhoto, unique_keys
from distill.optional import require
from distill.teachers.base import Dependencies, PhotoRef

_USUAL_NAMES = ("image", "photo", "img", "picture", "rgb", "jpg", "jpeg", "png", "webp", "bytes")
_MAX_GROUP_BYTES = 8 << 30
"""Parquet: a group of rows is unpacked at once."""
_BATCH = 16


@dataclass(frozen=True, slots=True)
class _Table:
    path: Path
    column: str
    rows: int
    stem: str


class TableSource:
    """The photos of Parquet and Arrow files, one row each, in the order of the files."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Find the column with the photos in each file.

        Raises:
            UsageError: A file cannot be read, or has no such column or several.
        """
        self.ignored: Sequence[str] = ()
        self.left_out: Sequence[str] = ()
        stems = unique_keys([path.name for path in paths])
        self._tables = [_open_table(path, stem) for path, stem in zip(paths, stems, strict=True)]

    def __len__(self) -> int:
        return sum(table.rows for table in self._tables)

    def _place(self, position: int) -> tuple[_Table, int]:
        for table in self._tables:
            if position < table.rows:
                return table, position
            position -= table.rows
        raise IndexError(position)

    def photo(self, position: int) -> PhotoRef:
        """As `Source.photo`."""
        table, row = self._place(position)
        return PhotoRef(f"{table.path.name}#{row}", {"row": row})

    def dependencies(self, position: int) -> Dependencies:
        """As `Source.dependencies`."""
        info = self._place(position)[0].path.stat()
        return Dependencies(f"{info.st_size} {info.st_mtime_ns}")

    def read(
        self, start: int, stop: int, min_size_hw: tuple[int, int] | None = None
    ) -> Iterator[Photo | UnreadablePhoto]:
        """As `Source.read`."""
        first = 0
        for table in self._tables:
            low, high = max(start - first, 0), min(stop - first, table.rows)
            if low < high:
                yield from _read_table(table, low, high, min_size_hw)
            first += table.rows


def _read_table(
    table: _Table, low: int, high: int, min_size_hw: tuple[int, int] | None
) -> Iterator[Photo | UnreadablePhoto]:
    """Rows [low, high); those behind a damaged part as `UnreadablePhoto`."""
    row, reason = low, "the file ends before this row"
    try:
        for data in islice(_cells(table, low), high - low):
            yield _photo(table, row, data, min_size_hw)
            row += 1
    except (OSError, ValueError, MemoryError) as error:
        reason = f"cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    yield from (UnreadablePhoto(f"{table.path.name}#{number}", reason) for number in range(row, high))


def _photo(table: _Table, row: int, data: bytes | None, min_size_hw: tuple[int, int] | None) -> Photo | UnreadablePhoto:
    name = f"{table.path.name}#{row}"
    if not data:
        return UnreadablePhoto(name, "the row has no photo, or only the path of one")
    if len(data) > MAX_FILE_BYTES:
        return UnreadablePhoto(name, f"{len(data) / 1e6:.0f} MB is over the limit of {MAX_FILE_BYTES / 1e6:.0f} MB")
    try:
        origin: dict[str, int | float | str] = {"row": row}
        return read_photo(data, key=f"{table.stem}-{row:08d}", name=name, origin=origin, min_size_hw=min_size_hw)
    except DistillError as error:
        return UnreadablePhoto(name, str(error).removeprefix(f"{name}: "))
    except Exception as error:  # one photo must not end the job
        return UnreadablePhoto(name, f"cannot be decoded: {type(error).__name__}: {error}")


def _open_table(path: Path, stem: str) -> _Table:
    try:
        if path.suffix.lower() == ".parquet":
            file = _parquet(path)
            sizes = [file.metadata.row_group(group).total_byte_size for group in range(file.metadata.num_row_groups)]
            if max(sizes, default=0) > _MAX_GROUP_BYTES:
                raise UsageError(
                    f"{path}: a group of its rows takes {max(sizes) / 1e9:.0f} GB", hint="write it with smaller groups"
                )
            return _Table(path, _photo_column(path, file.schema_arrow), file.metadata.num_rows, stem)
        with _arrow(path) as stream:
            column = _photo_column(path, stream.schema)
            return _Table(path, column, sum(batch.num_rows for batch in stream), stem)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: not a readable {path.suffix.lower().removeprefix('.')} file: {str(error).splitlines()[0]}",
            hint="copy it again",
        ) from error


def _parquet(path: Path) -> Any:
    return require("pyarrow.parquet", extra="parquet", why="read Parquet files").ParquetFile(path)


def _arrow(path: Path) -> Any:
    arrow: Any = require("pyarrow", extra="parquet", why="read Arrow files")
    return require("pyarrow.ipc", extra="parquet", why="read Arrow files").open_stream(arrow.memory_map(str(path)))


def _photo_column(path: Path, schema: Any) -> str:
    """Name of the column with the photos: encoded files, or the ``Image`` feature of `datasets`."""
    stated = _stated_images(schema)
    found = [field.name for field in schema if field.name in stated or _holds_bytes(field.type)]
    usual = [name for name in _USUAL_NAMES if name in found]
    if usual or len(found) == 1:
        return (usual or found)[0]
    if len(stated) == 1:
        return next(iter(stated))
    raise UsageError(
        f"{path}: "
        + (f"the columns {', '.join(found[:10])} hold files" if found else "no column holds photos")
        + ", and none is called image or photo",
        hint="name the column with the photos image",
    )


def _stated_images(schema: Any) -> set[str]:
    """Columns with the ``Image`` feature in the metadata that `datasets` writes."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        names = {name for name, feature in features.items() if feature.get("_type") == "Image"}
        return names & set(schema.names)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return set()


def _holds_bytes(kind: Any) -> bool:
    text = str(kind)
    return text in ("binary", "large_binary") or (text.startswith("struct<") and "bytes: binary" in text)


def _cells(table: _Table, low: int) -> Iterator[bytes | None]:
    """Bytes of the photos from row `low` on; None where a row has none."""
    if table.path.suffix.lower() == ".parquet":
        file, skipped = _parquet(table.path), 0
        groups: list[int] = []
        for group in range(file.metadata.num_row_groups):
            rows = file.metadata.row_group(group).num_rows
            if skipped + rows <= low and not groups:
                skipped += rows
            else:
                groups.append(group)
        yield from _values(file.iter_batches(_BATCH, groups, [table.column]), table.column, low - skipped)
    else:
        with _arrow(table.path) as stream:
            yield from _values(stream, table.column, low)


def _values(batches: Iterator[Any], column: str, skip: int) -> Iterator[bytes | None]:
    for batch in batches:
        if skip >= batch.num_rows:
            skip -= batch.num_rows
            continue
        cells = batch.column(batch.schema.get_field_index(column))
        for number in range(skip, batch.num_rows):
            value = cells[number].as_py()
            data = value.get("bytes") if isinstance(value, dict) else value
            yield data if isinstance(data, bytes) else None
        skip = 0
