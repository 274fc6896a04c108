"""Items made in another thread: order, how far ahead, errors, and an end that leaves nothing running."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest

from lipread.ahead import ahead


def counted(made: list[int], closed: list[bool], *, until: int) -> Generator[int]:
    try:
        for number in range(until):
            made.append(number)
            yield number
    finally:
        closed.append(True)


def test_all_items_come_in_order() -> None:
    closed: list[bool] = []
    assert list(ahead(counted([], closed, until=50), size=3)) == list(range(50))
    assert closed == [True]
    assert list(ahead(counted([], [], until=0), size=1)) == []


def test_no_more_than_asked_for_are_made_ahead() -> None:
    made: list[int] = []
    items = ahead(counted(made, [], until=1000), size=4)
    assert next(items) == 0
    time.sleep(0.3)
    assert 4 <= len(made) <= 6  # one is used, four wait, one waits for a place
    items.close()


def test_an_error_comes_out_in_its_place() -> None:
    def breaking() -> Generator[int]:
        yield 1
        raise ValueError("broken tail")

    items = ahead(breaking(), size=5)
    assert next(items) == 1
    with pytest.raises(ValueError, match="broken tail"):
        next(items)


def test_who_stops_listening_stops_the_thread() -> None:
    closed: list[bool] = []
    before = threading.active_count()
    items = ahead(counted([], closed, until=10**9), size=2)
    for _ in range(3):
        next(items)
    items.close()
    assert closed == [True]
    assert threading.active_count() == before


def test_one_after_the_other() -> None:
    """Two in a row, as pictures and sights are, end together."""
    closed: list[bool] = []

    def doubled(numbers: Generator[int]) -> Generator[int]:
        try:
            for number in numbers:
                yield 2 * number
        finally:
            numbers.close()

    items = ahead(doubled(ahead(counted([], closed, until=10**9), size=2)), size=2)
    assert [next(items) for _ in range(4)] == [0, 2, 4, 6]
    items.close()
    assert closed == [True]
