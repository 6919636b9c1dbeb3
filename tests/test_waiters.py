"""So many threads wait for the bucket, and no more: the others have something else to do."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from media_api import waiters
from media_api.exceptions import StorageUnavailable
from media_api.waiters import Waiters


@pytest.fixture
def two() -> Waiters:
    two = Waiters()
    two.limit(2)
    return two


@contextmanager
def stuck(two: Waiters) -> Iterator[None]:
    """As many as may wait do, for as long as the block lasts."""
    over, asking = threading.Event(), threading.Barrier(3)

    def ask() -> None:
        with two.one_more():
            asking.wait()
            over.wait()

    with ThreadPoolExecutor(2) as pool:
        asked = [pool.submit(ask) for _ in range(2)]
        asking.wait()
        try:
            yield
        finally:
            over.set()
    assert [one.result() for one in asked] == [None, None]


def refused_after(two: Waiters) -> float:
    began = time.monotonic()
    with pytest.raises(StorageUnavailable), two.one_more():
        raise AssertionError("nobody left")
    return time.monotonic() - began


def test_of_a_bucket_that_answers_nobody_notices(two: Waiters) -> None:
    def ask(_: int) -> int:
        with two.one_more():
            time.sleep(0.001)
        return 1

    with ThreadPoolExecutor(16) as pool:
        assert sum(pool.map(ask, range(400))) == 400


def test_where_it_is_stuck_only_the_first_waits_in_vain(two: Waiters) -> None:
    with stuck(two):
        assert refused_after(two) >= waiters.PATIENCE
        assert max(refused_after(two) for _ in range(10)) < waiters.PATIENCE / 2
    with stuck(two):  # they were answered, so one too many has patience again
        assert refused_after(two) >= waiters.PATIENCE


def test_a_place_is_given_back_by_who_failed(two: Waiters) -> None:
    for _ in range(5):
        with pytest.raises(ZeroDivisionError), two.one_more():
            raise ZeroDivisionError
