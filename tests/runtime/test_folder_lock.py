"""Outputs that two commands want at once."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from distill.errors import DistillError
from distill.runtime.folder_lock import hold_output

HOST = re.escape(socket.gethostname())


def hold_and_die(path: Path) -> None:
    with hold_output(path, "predict"):
        os._exit(9)


@pytest.mark.parametrize("name", ["out", "out.mp4", "deep/out", "out.v2"])
def test_the_second_one_is_told_who_holds_it(name: str, tmp_path: Path) -> None:
    path, is_file = tmp_path / name, name.endswith(".mp4")
    with (
        hold_output(path, "predict", is_file=is_file),
        pytest.raises(
            DistillError,
            match=rf"out.*: distill predict \(process {os.getpid()} on {HOST}, since .*\) is writing here",
        ),
        hold_output(path, "predict", is_file=is_file),
    ):
        pytest.fail("both hold it")
    with hold_output(path, "predict", is_file=is_file):  # free again
        pass
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_a_dead_process_holds_nothing(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=hold_and_die, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == 9 and list(tmp_path.iterdir())
    with hold_output(tmp_path, "predict"):
        pass


def test_a_worker_that_outlives_a_killed_process_holds_nothing(tmp_path: Path) -> None:
    is_held, holds = os.pipe()
    lives, ends = os.pipe()
    parent = os.fork()
    if parent == 0:
        with hold_output(tmp_path, "train"):
            if os.fork() == 0:  # as a data loader does
                os.close(ends)
                os.write(holds, b"1")
                os.read(lives, 1)  # until the test closes its end
                os._exit(0)
            signal.pause()
    os.close(holds)
    assert os.read(is_held, 1) == b"1"
    with pytest.raises(DistillError, match="is writing here"), hold_output(tmp_path, "train"):
        pytest.fail("both hold it")
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    with hold_output(tmp_path, "train"):
        pass
    for end in (is_held, lives, ends):
        os.close(end)


def test_a_new_folder_without_files_is_removed_again(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    for name in ("new", "old", "used"):
        with hold_output(tmp_path / name, "train"):
            if name == "used":
                (tmp_path / name / "file").touch()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old", "used"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "other").write_text("mine")
    (tmp_path / ".distill.lock").symlink_to(tmp_path / "other")
    with pytest.raises(DistillError, match="cannot be written"), hold_output(tmp_path, "predict"):
        pytest.fail("followed")
    assert (tmp_path / "other").read_text() == "mine"


def test_a_folder_that_cannot_exist_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(DistillError, match=r"cannot be written.*choose another --out"),
        hold_output(tmp_path / "file" / "x", "predict"),
    ):
        pytest.fail("held")


def test_new_folders_without_a_file_are_removed(tmp_path: Path) -> None:
    with hold_output(tmp_path / "run" / "export", "export"):
        assert (tmp_path / "run" / "export").is_dir()
    assert list(tmp_path.iterdir()) == []
