"""Files: bounded reads, JSON of others, writes that do not follow links."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from distill.errors import DistillError, UsageError
from distill.files import (
    create_file,
    parse_json,
    read_file,
    read_json,
    remove_stale_parts,
    require_new_folder,
    write_atomic,
)


def test_only_regular_files_within_the_limit_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "hole").open("wb") as file:
        file.truncate(20 * 10**9)
    assert read_file(tmp_path / "a", 5) == b"12345"
    for name, message in (
        ("pipe", "regular"),
        ("hole", "over the limit"),
        (".", "regular"),
        ("absent", "No such file"),
    ):
        with pytest.raises(OSError, match=message):
            read_file(tmp_path / name)
    with pytest.raises(OSError, match="over the limit"):
        read_file(tmp_path / "a", 4)
    with pytest.raises(OSError, match="regular"):
        read_file(Path("/dev/zero"))


@pytest.mark.parametrize("text", ["[" * 200_000, "{", '{"a": ' * 100_000, b"\xff\xfe", "9" * 5000, ""])
def test_json_that_cannot_be_parsed_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_json(text)


def test_unpaired_surrogates_become_characters_that_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"a\\ud800": ["\\udfff", "\\ud83d\\ude00"]}')
    assert read_json(tmp_path / "x.json") == {"a?": ["?", "\U0001f600"]}


def test_a_write_does_not_follow_links(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("untouched")
    for name in (f".a.json.{os.getpid()}.part", "a.json"):
        (tmp_path / name).symlink_to(outside)
    write_atomic(tmp_path / "a.json", b"new")
    assert outside.read_text() == "untouched"
    assert (tmp_path / "a.json").read_text() == "new" and not (tmp_path / "a.json").is_symlink()


def test_an_interrupted_write_leaves_the_earlier_file(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"old")
    with pytest.raises(KeyboardInterrupt), create_file(tmp_path / "a") as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["a"] and (tmp_path / "a").read_bytes() == b"old"


def test_private_files_are_for_their_owner_only(tmp_path: Path) -> None:
    write_atomic(tmp_path / "a", b"", private=True)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_a_name_that_is_too_long_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DistillError, match="cannot be written: File name too long"):
        write_atomic(tmp_path / ("x" * 300), b"")


def test_temporary_files_of_killed_processes_are_removed_and_no_others(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    kept = {"spec.json", f".spec.json.{os.getppid()}.part", ".mine.part", ".12.part.txt", f"x.{ended.pid}.part"}
    for name in (*kept, f".spec.json.{ended.pid}.part"):
        (tmp_path / name).touch()
    remove_stale_parts(tmp_path)
    remove_stale_parts(tmp_path / "missing")
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_new_folder_is_empty_or_missing(tmp_path: Path) -> None:
    require_new_folder(tmp_path)
    require_new_folder(tmp_path / "new")
    (tmp_path / "a").touch()
    for place in (tmp_path, tmp_path / "a"):
        with pytest.raises(UsageError, match="not an empty folder"):
            require_new_folder(place)


def test_reading_a_small_file_takes_little_memory(tmp_path: Path) -> None:
    import tracemalloc

    (tmp_path / "x").write_bytes(b"abc")
    tracemalloc.start()
    assert read_file(tmp_path / "x") == b"abc"
    assert tracemalloc.get_traced_memory()[1] < 10_000_000  # not the 512 MB of the limit
    tracemalloc.stop()
