"""BLAS threads inside and outside of `one_blas_thread`."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import scipy.linalg  # noqa: F401 - its library of linear algebra is one of those that are looked at
from threadpoolctl import threadpool_info, threadpool_limits

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
    monkeypatch.setattr(drift, "measure_smooth", lambda *_: seen.append(blas_threads()))
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[30:60, 40:90] = 255
    assert drift.find_drift(picture, picture, (1.0, 1.0)) is not None
    assert seen == [{1}] and blas_threads() == {2}


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
