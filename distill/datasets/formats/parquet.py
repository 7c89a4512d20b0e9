"""Data sets of Hugging Face's `datasets`: parquet files with a column per file of a sample, photos and maps as images.

All bytes are kept: the way back gives the same samples.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import yaml

from distill.datasets.formats.base import ImportedSet, Options
from distill.datasets.formats.reading import read_annotations
from distill.datasets.operations.copying import read_whole
from distill.datasets.operations.sample_edits import task_files
from distill.datasets.shard_set import ShardSet
from distill.errors import DistillError, UsageError
from distill.images.file_format import SUFFIXES
from distill.optional import require
from distill.shards import Manifest, Sample
from distill.tasks import Task

_MANIFEST = "distill.json"
"""The manifest of the set without its shards."""
_FOLDER, _ROWS, _GROUP = "data", 2048, 64
"""Samples in a file, and in a row group: what is in memory at a time."""
_MAX_GROUP_BYTES = 4 << 30


class Parquet:
    """Reads and writes parquet files; needs pyarrow."""

    def write(self, shards: ShardSet, folder: Path, options: Options) -> Mapping[str, int]:
        """Write ``data/train-*.parquet``, a card, and the manifest."""
        arrow, parquet = _pyarrow(), require("pyarrow.parquet", extra="parquet", why="write parquet files")
        names = _map_names(shards.manifest)
        schema = _schema(arrow, names)
        (folder / _FOLDER).mkdir()
        count = -(-len(shards) // _ROWS) or 1
        samples = iter(options.reporter.track(read_whole(shards), "export", len(shards)))
        total = 0
        for number in range(count):
            path = folder / _FOLDER / f"train-{number:05d}-of-{count:05d}.parquet"
            with parquet.ParquetWriter(path, schema, compression="none") as writer:
                part = islice(samples, _ROWS)
                while rows := [_row(sample, names) for sample in islice(part, _GROUP)]:
                    total += len(rows)
                    writer.write_table(arrow.Table.from_pylist(rows, schema=schema))
        (folder / "README.md").write_text(_card(names), encoding="utf-8")
        manifest = shards.manifest.model_dump(mode="json") | {"shards": []}
        (folder / _MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
        return {"photos": total}

    def read(self, path: Path, options: Options) -> ImportedSet:
        """Open a folder that `write` wrote."""
        parquet = require("pyarrow.parquet", extra="parquet", why="read parquet files")
        files = sorted((path / _FOLDER).glob("*.parquet"))
        if not files or not (path / _MANIFEST).is_file():
            raise UsageError(
                f"{path}: has no {_FOLDER}/*.parquet with {_MANIFEST}",
                hint="give a folder that distill data export wrote; distill label reads the photos of other ones",
            )
        try:
            manifest = Manifest.model_validate(read_annotations(path / _MANIFEST))
            total = sum(parquet.ParquetFile(file).metadata.num_rows for file in files)
        except (ValueError, OSError, RuntimeError, TypeError) as error:
            raise DistillError(
                f"{path}: cannot be read: {str(error).splitlines()[0]}", hint="export it again"
            ) from error
        samples = _read(parquet, files, _map_names(manifest), options, total)
        return ImportedSet(samples, total, manifest.tasks, manifest.classes, manifest.instance_classes, source=manifest)


def _pyarrow() -> Any:
    return require("pyarrow", extra="parquet", why="write parquet files")


def _map_names(manifest: Manifest) -> list[str]:
    """Extensions of the maps in a set, such as ``depth.png``."""
    return [name for task in Task if task in manifest.tasks for name in task_files(task)]


def _column(name: str) -> str:
    """``depth.confidence.png`` as a column: ``depth_confidence``."""
    return name.removesuffix(".png").replace(".", "_")


def _schema(arrow: Any, names: list[str]) -> Any:
    image = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    columns = [("key", arrow.string()), ("image", image), *((_column(name), image) for name in names)]
    features: dict[str, Any] = {"key": {"dtype": "string", "_type": "Value"}, "image": {"_type": "Image"}}
    features |= {_column(name): {"_type": "Image"} for name in names}
    features["json"] = {"dtype": "string", "_type": "Value"}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    return arrow.schema([*columns, ("json", arrow.string())], metadata=metadata)


def _row(sample: Sample, names: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"key": sample.key, "json": sample.files.get("json", b"{}").decode()}
    row["image"] = {"bytes": sample.photo, "path": f"{sample.key}.{sample.photo_format}"}
    for name in names:
        data = sample.files.get(name)
        row[_column(name)] = None if data is None else {"bytes": data, "path": f"{sample.key}.{name}"}
    return row


def _card(names: list[str]) -> str:
    features = [{"name": "key", "dtype": "string"}, {"name": "image", "dtype": "image"}]
    features += [{"name": _column(name), "dtype": "image"} for name in names] + [{"name": "json", "dtype": "string"}]
    header = {
        "configs": [
            {"config_name": "default", "data_files": [{"split": "train", "path": f"{_FOLDER}/train-*.parquet"}]}
        ],
        "dataset_info": {"features": features},
    }
    return (
        f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n\n"
        "Label maps are images with the numbers of distill's shards; depth has 16 bits.\n\n"
        "```python\nfrom datasets import load_dataset\n\n"
        'rows = load_dataset("path/of/this/folder", split="train")\n```\n'
    )


def _read(parquet: Any, files: list[Path], names: list[str], options: Options, total: int) -> Iterator[Sample]:
    with options.reporter.progress("import", total) as progress:
        for file in files:
            try:
                opened = parquet.ParquetFile(file)
                for group in range(opened.num_row_groups):
                    if opened.metadata.row_group(group).total_byte_size > _MAX_GROUP_BYTES:
                        raise ValueError(f"row group {group} is larger than {_MAX_GROUP_BYTES >> 30} GB")
                    for row in opened.read_row_group(group).to_pylist():
                        yield _sample(row, names)
                        progress.advance()
            except (ValueError, OSError, LookupError, TypeError, AttributeError, RuntimeError, MemoryError) as error:
                raise DistillError(f"{file}: cannot be read: {error}", hint="export or copy it again") from error


def _sample(row: Mapping[str, Any], names: list[str]) -> Sample:
    suffix = str(row["image"]["path"]).rpartition(".")[2]
    if f".{suffix}" not in SUFFIXES:
        raise ValueError(f"{row['image']['path']!r} is the name of no photo")
    files = {suffix: row["image"]["bytes"], "json": row["json"].encode()}
    for name in names:
        if row.get(_column(name)) is not None:
            files[name] = row[_column(name)]["bytes"]
    return Sample(row["key"], files)
