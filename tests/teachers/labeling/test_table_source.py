"""Photos in Parquet and Arrow files."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from distill.errors import UsageError
from distill.images import Photo
from distill.inputs import UnreadablePhoto
from distill.teachers.labeling.photo_sources import open_source

pa: Any = pytest.importorskip("pyarrow", reason="needs pyarrow: pip install 'distill[parquet]'")
pq: Any = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install 'distill[parquet]'")


def photo(number: int, suffix: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 10, 3), number, np.uint8)).save(buffer, suffix)
    return buffer.getvalue()


def write(path: Path, rows: list[Any], column: str = "image", groups: int = 3, **columns: list[Any]) -> Path:
    table = pa.table({**columns, column: rows})
    if path.suffix == ".parquet":
        pq.write_table(table, path, row_group_size=groups)
    else:
        with pa.ipc.new_stream(path, table.schema) as stream:
            stream.write_table(table, max_chunksize=groups)
    return path


def levels(read: list[Photo | UnreadablePhoto]) -> list[int | str]:
    return [int(one.rgb[0, 0, 0]) if isinstance(one, Photo) else one.reason for one in read]


@pytest.mark.parametrize("suffix", [".parquet", ".arrow"])
def test_any_range_of_rows(tmp_path: Path, suffix: str) -> None:
    cells = [{"bytes": photo(number), "path": f"{number}.png"} for number in range(10)]
    write(tmp_path / f"train-0{suffix}", cells[:7])
    write(tmp_path / f"train-1{suffix}", cells[7:])
    source = open_source([str(tmp_path)])
    assert len(source) == 10 and source.photo(8).name == f"train-1{suffix}#1"
    for start in range(10):
        for stop in range(start, 11):
            assert levels(list(source.read(start, stop))) == list(range(start, stop))
    keys = [one.key for one in source.read(0, 10) if isinstance(one, Photo)]
    assert keys[0] == "train-0-00000000" and len(set(keys)) == 10


def test_plain_bytes_and_rows_without_a_photo(tmp_path: Path) -> None:
    cells = [photo(1, "JPEG"), None, b"no photo", b"", photo(4)]
    source = open_source([str(write(tmp_path / "a.parquet", cells, column="jpg", caption=["x"] * 5))])
    read = list(source.read(0, 5))
    assert [isinstance(one, Photo) for one in read] == [True, False, False, False, True]
    assert "only the path" in str(levels(read)[1])


def test_the_column_is_the_stated_one(tmp_path: Path) -> None:
    cells = [{"bytes": photo(7), "path": None}]
    table = pa.table({"scan": cells, "mask": [{"bytes": photo(0), "path": None}]})
    with pytest.raises(UsageError, match="the columns scan, mask hold files, and none is called image"):
        pq.write_table(table, tmp_path / "a.parquet")
        open_source([str(tmp_path / "a.parquet")])
    info = json.dumps({"info": {"features": {"scan": {"_type": "Image"}}}})
    pq.write_table(table.replace_schema_metadata({"huggingface": info}), tmp_path / "a.parquet")
    assert levels(list(open_source([str(tmp_path / "a.parquet")]).read(0, 1))) == [7]
    named = pa.table({"image": cells, "mask": [{"bytes": photo(0), "path": None}]})
    pq.write_table(named, tmp_path / "a.parquet")
    assert levels(list(open_source([str(tmp_path / "a.parquet")]).read(0, 1))) == [7]


def test_files_that_are_no_tables_of_photos(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.parquet: no column holds photos"):
        open_source([str(write(tmp_path / "a.parquet", ["x"], column="text"))])
    for name in ("b.parquet", "b.arrow"):
        (tmp_path / name).write_bytes(b"PAR1 nonsense")
        with pytest.raises(UsageError, match=rf"{name}: not a readable"):
            open_source([str(tmp_path / name)])


def test_a_damaged_part_costs_its_rows_only(tmp_path: Path) -> None:
    noise = [np.random.default_rng(number).bytes(3000) for number in range(6)]
    path = write(tmp_path / "a.parquet", [photo(number) + extra for number, extra in enumerate(noise)], groups=2)
    data = bytearray(path.read_bytes())
    place = data.find(noise[4][:64])
    data[place - 400 : place - 200] = b"\xff" * 200
    path.write_bytes(data)
    read = list(open_source([str(path)]).read(0, 6))
    assert len(read) == 6 and levels(read)[:4] == [0, 1, 2, 3]


def test_folders_with_photos_leave_tables_alone(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", [photo(1)])
    (tmp_path / "x.png").write_bytes(photo(3))
    source = open_source([str(tmp_path)])
    assert len(source) == 1 and list(source.ignored) == ["a.parquet"]
