"""BLAS threads inside and outside of `one_blas_thread`; cores by affinity and by quota."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg  # noqa: F401 - its library of linear algebra is one of those that are looked at
from threadpoolctl import threadpool_info, threadpool_limits

from distill.runtime import cpu
from distill.runtime.cpu import one_blas_thread
from distill.teachers.registration import estimate as drift
from distill.workflows.label import workers


def blas_threads() -> set[int]:
    return {pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"}


@pytest.fixture
def two_threads() -> Iterator[None]:
    with threadpool_limits(2, user_api="blas"):
        yield


@pytest.mark.usefixtures("two_threads")
def test_one_thread_inside_and_the_old_number_after() -> None:
    assert blas_threads() == {2}
    with pytest.raises(ValueError, match="whatever happens"), one_blas_thread():
        assert blas_threads() == {1}
        with one_blas_thread():
            assert blas_threads() == {1}
        assert blas_threads() == {1}
        raise ValueError("whatever happens")
    assert blas_threads() == {2}


@pytest.mark.usefixtures("two_threads")
def test_registration_uses_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    found = drift._match_stats

    def observed(*values: Any) -> Any:
        seen.append(blas_threads())
        return found(*values)

    monkeypatch.setattr(drift, "_match_stats", observed)
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[30:60, 40:90] = 255
    assert drift.find_drift(picture, picture, (1.0, 1.0)) is not None
    assert seen and set(map(frozenset, seen)) == {frozenset({1})} and blas_threads() == {2}


def in_worker(queue: Any) -> None:
    before = blas_threads()
    workers._start_worker(None, None, multiprocessing.Value("q", 0), 0)
    queue.put((before, blas_threads()))


def test_label_worker_uses_one_thread() -> None:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=in_worker, args=(queue,))
    process.start()
    before, after = queue.get(timeout=200)
    process.join()
    if before == {1}:
        pytest.skip("needs a BLAS library with more than one thread: at least two cores")
    assert after == {1}


def control_groups(root: Path, files: dict[str, str], own: str) -> tuple[Path, Path]:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "own").write_text(own)
    return root, root / "own"


@pytest.mark.parametrize(
    ("files", "own", "quota"),
    [
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"a/b/cpu.max": "max 100000", "a/cpu.max": "200000 100000"}, "0::/a/b\n", 2.0),
        ({"cpu.max": "max 100000"}, "0::/gone\n", None),
        ({"cpu/x/cpu.cfs_quota_us": "50000", "cpu/x/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/x\n", 0.5),
        ({"cpu,cpuacct/cpu.cfs_quota_us": "-1", "cpu,cpuacct/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/\n", None),
        ({}, "9:memory:/x\nnonsense\n\n", None),
        ({"cpu.max": "1000 0"}, "0::/../..\n", None),
    ],
)
def test_the_quota_of_a_container(
    files: dict[str, str], own: str, quota: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, listed = control_groups(tmp_path, files, own)
    assert cpu.cpu_quota(root, listed) == quota
    monkeypatch.setattr(cpu, "_CGROUPS", root)
    monkeypatch.setattr(cpu, "_OWN_CGROUPS", listed)
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(8)))
    assert cpu.usable_cores() == {None: 8, 0.5: 1, 1.5: 2, 2.0: 2}[quota]


@pytest.mark.parametrize(
    ("files", "own", "limit"),
    [
        ({"memory.max": "1048576\n"}, "0::/\n", 1048576),
        ({"a/b/memory.max": "max", "a/memory.max": "2097152"}, "0::/a/b\n", 2097152),
        ({"memory/x/memory.limit_in_bytes": "4096"}, "9:memory:/x\n", 4096),
        ({"memory.max": "max"}, "0::/\n", None),
        ({}, "nonsense\n\n", None),
    ],
)
def test_the_memory_of_a_container(files: dict[str, str], own: str, limit: int | None, tmp_path: Path) -> None:
    total = cpu.usable_memory(tmp_path, tmp_path / "none")
    assert total > 10**8
    assert cpu.usable_memory(*control_groups(tmp_path, files, own)) == (limit or total)
