"""Ordered parallel map."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from distill.runtime.parallel import map_ordered


@pytest.mark.parametrize("count", [1, 3])
def test_results_are_ordered_and_few_items_are_in_memory(count: int):
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


def test_two_items_are_processed_at_once():
    meeting = threading.Barrier(2, timeout=20)
    assert [item for item, _ in map_ordered(range(4), lambda number: meeting.wait() and number, 2)] == [0, 1, 2, 3]


@pytest.mark.parametrize("count", [1, 2])
def test_error_is_raised_at_its_position(count: int):
    def work(number: int) -> int:
        if number == 5:
            raise ValueError("five")
        return number

    seen = []
    with pytest.raises(ValueError, match="five"):
        for item, _ in map_ordered(range(100), work, count):
            seen.append(item)
    assert seen == [0, 1, 2, 3, 4]
