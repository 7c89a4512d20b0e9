"""Ordered parallel map."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from distill.runtime.parallel import map_ordered


@pytest.mark.parametrize("count", [1, 3])
def test_results_are_ordered_and_few_items_are_in_memory(count: int) -> None:
    read: list[int] = []
    gone: list[int] = []

    def items() -> Iterator[int]:
        for number in range(40):
            read.append(number)
            yield number

    for item, result in map_ordered(items(), lambda number: number * number, count):
        assert result == item * item
        gone.append(item)
        assert len(read) - len(gone) <= 2 * count
    assert gone == list(range(40))


def test_two_items_are_processed_at_once() -> None:
    meeting = threading.Barrier(2, timeout=200)
    assert [item for item, _ in map_ordered(range(4), lambda number: meeting.wait() and number, 2)] == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [1, 2])
def test_error_is_raised_at_its_position(count: int) -> None:
    def work(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number

    seen = []
    with pytest.raises(ValueError, match="five"):
        for item, _ in map_ordered(range(100), work, count):
            seen.append(item)
    assert seen == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("count", [1, 3])
def test_source_error_comes_after_the_earlier_results(count: int) -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(4)
            raise OSError("the source ended")
        finally:
            closed.append(True)

    results = []
    with pytest.raises(OSError, match="the source ended"):
        for _, result in map_ordered(items(), lambda number: number * 10, count):
            results.append(result)
    assert results == [0, 10, 20, 30] and closed


def test_closing_the_map_closes_its_source() -> None:
    closed = []

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    mapped = map_ordered(items(), lambda number: number, 2, max_pending=3)
    assert next(mapped) == (0, 0)
    mapped.close()
    assert closed
