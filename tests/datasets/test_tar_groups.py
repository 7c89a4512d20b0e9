"""Members of a tar by sample."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from distill.datasets.tar_groups import collect_groups, states_digests, stream_groups
from distill.labels.sample_digest import with_digest

FILES = with_digest("a", {"jpg": b"photo", "depth.png": b"map", "json": b'{"n": 1}'})


def write(path: Path, members: list[tuple[str, bytes]]) -> Path:
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_members_of_a_key_are_gathered_wherever_they_are(tmp_path: Path) -> None:
    a = [(f"a.{name}", data) for name, data in FILES.items()]
    path = write(tmp_path / "a.tar", [a[0], ("b.jpg", b"other"), *a[1:]])
    (first, second), gaps = collect_groups(path)
    assert not gaps and first.is_split and not second.is_split and list(first.pieces) == list(FILES)
    with path.open("rb") as tar:
        assert first.read(tar).sample.files == FILES
        assert states_digests([second, first], tar) and not states_digests([second], tar)
    assert [group.sample.key for group in stream_groups(path)] == ["a", "b", "a"]
    assert first.span == (0, 4 * 1024 - 1)


def test_of_a_member_that_comes_twice_the_right_one_is_used(tmp_path: Path) -> None:
    a = [(f"a.{name}", data) for name, data in FILES.items()]
    for members in ([("a.jpg", b"wrong"), *a], [*a, ("a.jpg", b"wrong")]):
        path = write(tmp_path / "a.tar", members)
        (group,), _ = collect_groups(path)
        with path.open("rb") as tar:
            assert group.read(tar).sample.files == FILES
            (piece,) = group.repeated
            assert piece.member.read(tar) == b"wrong"


def test_a_cut_member_is_listed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", [("a.jpg", b"x" * 3000)])
    path.write_bytes(path.read_bytes()[:2000])
    (group,), _ = collect_groups(path)
    with path.open("rb") as tar:
        group.read(tar)
    assert [piece.member.name for piece in group.cut] == ["a.jpg"] and not group.sample.files
