"""Waiting for the worker's verdict: the database wakes up, half of the threads may wait, and nothing hangs on LISTEN."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.db import OperationalError, connection, connections, transaction

from media_api import verdicts
from media_api.models import Upload, database_now

PLACES = settings.WEB_THREADS // 2

Wait = Callable[..., "Future[float]"]


@pytest.fixture
def staged(alice: User) -> uuid.UUID:
    now = database_now()
    upload = Upload.objects.create(
        owner=alice, name="cat.jpg", size=1, content_type="image/jpeg", state="staged", staged_at=now,
        expires_at=now + timedelta(hours=1),
    )  # fmt: skip
    return upload.id


@pytest.fixture
def wait() -> Iterator[Wait]:
    """Wait in a thread of its own, as a request does; the answer is how many seconds it took."""
    with ThreadPoolExecutor(PLACES + 2) as pool:

        def measured(upload_id: uuid.UUID, seconds: float) -> float:
            started = time.monotonic()
            try:
                verdicts.wait(upload_id, seconds=seconds)
            finally:
                connections.close_all()
            return time.monotonic() - started

        yield lambda upload_id, *, seconds=20.0: pool.submit(measured, upload_id, seconds)


@pytest.fixture
def only_the_database_wakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the row again by the clock."""
    monkeypatch.setattr(verdicts, "SLICE", 30.0)


def listeners() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
            " AND query = %s AND state = 'idle'",
            [f"LISTEN {verdicts.CHANNEL}"],
        )
        return [pid for (pid,) in cursor.fetchall()]


def until(true: Callable[[], object], *, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def all_wait(upload_id: uuid.UUID, count: int) -> None:
    until(lambda: len(verdicts._events.get(str(upload_id), ())) == count)
    until(listeners)


def end(upload_id: uuid.UUID) -> None:
    with transaction.atomic():
        Upload.objects.filter(id=upload_id).delete()
        verdicts.tell(upload_id)


def test_whoever_waits_is_woken_by_the_database(
    staged: uuid.UUID, wait: Wait, only_the_database_wakes: None
) -> None:
    waiting = [wait(staged) for _ in range(PLACES)]
    all_wait(staged, PLACES)
    told = time.monotonic()
    end(staged)
    for waited in waiting:
        waited.result(timeout=5)
    assert time.monotonic() - told < 1
    assert str(staged) not in verdicts._events


def test_all_of_a_process_hear_through_one_connection(staged: uuid.UUID, wait: Wait) -> None:
    waiting = [wait(staged, seconds=1) for _ in range(PLACES)]
    all_wait(staged, PLACES)
    assert len(listeners()) == 1
    assert all(waited.result() >= 1 for waited in waiting)


def test_what_is_not_committed_is_not_told(
    staged: uuid.UUID, wait: Wait, only_the_database_wakes: None
) -> None:
    waited = wait(staged, seconds=0.5)
    all_wait(staged, 1)
    with pytest.raises(RuntimeError), transaction.atomic():
        verdicts.tell(staged)
        raise RuntimeError
    assert waited.result() >= 0.5


def test_another_upload_wakes_nobody(
    staged: uuid.UUID, wait: Wait, only_the_database_wakes: None
) -> None:
    waited = wait(staged, seconds=0.5)
    all_wait(staged, 1)
    verdicts.tell(uuid.uuid4())
    assert waited.result() >= 0.5


def test_what_has_its_verdict_is_not_waited_for(wait: Wait) -> None:
    assert wait(uuid.uuid4()).result() < 1


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_no_wait_is_no_wait(staged: uuid.UUID, wait: Wait, seconds: float) -> None:
    assert wait(staged, seconds=seconds).result() < 1


def test_half_of_the_threads_may_wait_and_the_next_gets_its_answer_at_once(
    staged: uuid.UUID, wait: Wait
) -> None:
    waiting = [wait(staged) for _ in range(PLACES)]
    all_wait(staged, PLACES)
    assert wait(staged).result() < 1
    end(staged)
    for waited in waiting:
        waited.result(timeout=5)
    assert wait(uuid.uuid4()).result() < 1


def test_a_place_is_free_again_after_a_fault(staged: uuid.UUID) -> None:
    def down(*_: object) -> None:
        raise OperationalError

    for _ in range(PLACES + 1):
        with connection.execute_wrapper(down), pytest.raises(OperationalError):
            verdicts.wait(staged, seconds=20)
    assert verdicts._places._value == PLACES  # type: ignore[attr-defined]
    assert not verdicts._events


def test_without_listen_the_row_is_looked_at_each_second(staged: uuid.UUID, wait: Wait) -> None:
    waited = wait(staged)
    all_wait(staged, 1)
    with connection.cursor() as cursor:
        for pid in listeners():
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    Upload.objects.all().delete()  # and nobody tells
    assert waited.result(timeout=5) < 5


def test_listen_comes_back(staged: uuid.UUID, wait: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    first = wait(staged, seconds=0.1)
    until(listeners)
    first.result()
    with connection.cursor() as cursor:
        for pid in listeners():
            cursor.execute("SELECT pg_terminate_backend(%s)", [pid])
    until(lambda: not listeners())
    until(listeners)
    monkeypatch.setattr(verdicts, "SLICE", 30.0)
    waited = wait(staged)
    all_wait(staged, 1)
    end(staged)
    waited.result(timeout=5)


def test_who_waits_holds_no_transaction_open(staged: uuid.UUID, wait: Wait) -> None:
    waited = wait(staged, seconds=1)
    all_wait(staged, 1)
    threading.Event().wait(0.2)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE state = 'idle in transaction' AND datname = current_database()"
        )
        assert cursor.fetchone() == (0,)
    waited.result()
