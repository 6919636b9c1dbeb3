"""Waiting for the worker's verdict: the database wakes who waits, and nothing depends on it."""

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import pytest
from django.conf import settings
from django.db import OperationalError, connection, connections, transaction
from rest_framework.test import APIClient

from media_api import verdicts
from media_api.models import Image, Upload
from tests import pictures
from tests.conftest import Work
from tests.sending import Answer, announce, complete, send
from tests.serving import wait_until

SOON = 15  # seconds; far less than any wait below, far more than a busy machine needs
LONG = 25

Aside = Callable[..., Future[Answer]]


@pytest.fixture
def aside() -> Iterator[Aside]:
    """Call a function in a thread with a database connection of its own."""

    def call(function: Callable[..., Answer], *arguments: object, **options: object) -> Answer:
        try:
            return function(*arguments, **options)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(settings.WEB_THREADS) as pool:
        yield lambda *arguments, **options: pool.submit(call, *arguments, **options)


def staged(api: APIClient, body: bytes | None = None) -> str:
    upload_id: str = send(api, body or pictures.jpeg()).json()["id"]
    return upload_id


def listening() -> list[int]:
    """The processes of Postgres that hear verdicts for us."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE query = %s AND state = 'idle'",
            [f"LISTEN {verdicts.CHANNEL}"],
        )
        return [pid for (pid,) in cursor.fetchall()]


@pytest.fixture
def heard(api: APIClient) -> None:
    """The first who waits starts to listen."""
    verdicts.wait(uuid.UUID(staged(api)), seconds=0.01)
    wait_until(lambda: len(listening()) == 1)


@pytest.fixture
def only_woken(heard: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at the row again before the wait is over, unless the database wakes them."""
    monkeypatch.setattr(verdicts, "SLICE", 10 * LONG)


def test_who_waits_is_woken_by_the_image(
    api: APIClient, work: Work, only_woken: None, aside: Aside
) -> None:
    upload_id = staged(api)
    waiting = aside(complete, api, upload_id, wait=LONG)
    work()
    answer = waiting.result(SOON)
    assert (answer.status_code, answer.json()["id"]) == (201, upload_id)


def test_who_waits_is_woken_by_a_refusal(
    api: APIClient, work: Work, only_woken: None, aside: Aside
) -> None:
    waiting = aside(complete, api, staged(api, b"no picture"), wait=LONG)
    work()
    assert waiting.result(SOON).json()["code"] == "not_an_image"


def test_everyone_who_waits_for_it_is_woken_and_nobody_else(
    api: APIClient, work: Work, only_woken: None, aside: Aside
) -> None:
    first, other = staged(api), staged(api)
    both = [aside(verdicts.wait, uuid.UUID(first), seconds=LONG) for _ in range(2)]
    another = aside(verdicts.wait, uuid.UUID(other), seconds=LONG)
    Upload.objects.filter(id=first).delete()
    verdicts.tell(uuid.UUID(first))
    for waiting in both:
        waiting.result(SOON)
    assert not another.done()
    work()
    another.result(SOON)


def test_a_verdict_that_is_there_is_not_waited_for(
    api: APIClient, work: Work, only_woken: None, aside: Aside
) -> None:
    upload_id = staged(api)
    work()
    assert aside(complete, api, upload_id, wait=LONG).result(SOON).status_code == 200


def test_who_does_not_want_to_wait_does_not(api: APIClient, only_woken: None, aside: Aside) -> None:
    upload_id = staged(api)
    assert aside(complete, api, upload_id, wait=0).result(SOON).status_code == 202
    aside(verdicts.wait, uuid.UUID(upload_id), seconds=-1).result(SOON)


def test_when_the_wait_is_over_the_upload_is_told(api: APIClient, only_woken: None) -> None:
    answer = complete(api, staged(api), wait=0.2)
    assert (answer.status_code, answer.json()["state"]) == (202, "staged")


def test_nobody_waits_for_what_is_not_there(only_woken: None, aside: Aside) -> None:
    aside(verdicts.wait, uuid.uuid4(), seconds=LONG).result(SOON)


def test_nobody_waits_for_what_has_not_arrived(
    api: APIClient, only_woken: None, aside: Aside
) -> None:
    upload_id = announce(api, pictures.jpeg()).json()["id"]
    aside(verdicts.wait, uuid.UUID(upload_id), seconds=LONG).result(SOON)


def test_at_most_half_of_the_threads_wait(
    api: APIClient, work: Work, only_woken: None, aside: Aside
) -> None:
    """Of one more than half, one is answered at once, and the others are still waiting."""
    upload_id, places = staged(api), settings.WEB_THREADS // 2
    asked = [aside(complete, api, upload_id, wait=LONG) for _ in range(places + 1)]
    answered, waiting = wait(asked, SOON, return_when=FIRST_COMPLETED)
    assert [future.result().status_code for future in answered] == [202]
    assert not any(future.done() for future in waiting)
    work()
    assert {future.result(SOON).status_code for future in waiting} == {201}

    again = [aside(complete, api, staged(api), wait=LONG) for _ in range(places)]
    work()  # every place is free again
    assert {future.result(SOON).status_code for future in again} == {201}


def test_a_place_is_free_again_after_a_fault(
    api: APIClient, work: Work, only_woken: None, aside: Aside
) -> None:
    def down(*_: object) -> None:
        raise OperationalError

    upload_id = staged(api)
    for _ in range(settings.WEB_THREADS):
        with connection.execute_wrapper(down), pytest.raises(OperationalError):
            verdicts.wait(uuid.UUID(upload_id), seconds=LONG)
    waiting = aside(complete, api, upload_id, wait=LONG)
    work()
    assert waiting.result(SOON).status_code == 201


def test_a_lost_connection_costs_a_slice_and_is_made_anew(
    api: APIClient, work: Work, heard: None, aside: Aside, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lost,) = listening()
    waiting = aside(complete, api, staged(api), wait=LONG)
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", [lost])
    wait_until(lambda: lost not in listening())
    work()  # while nobody hears it
    assert waiting.result(SOON).status_code == 201

    wait_until(lambda: listening() not in ([], [lost]))
    monkeypatch.setattr(verdicts, "SLICE", 10 * LONG)
    waiting = aside(complete, api, staged(api), wait=LONG)
    work()
    assert waiting.result(SOON).status_code == 201


def test_all_of_a_process_hear_through_one_connection(
    api: APIClient, work: Work, only_woken: None, aside: Aside
) -> None:
    waiting = [aside(complete, api, staged(api), wait=LONG) for _ in range(3)]
    assert len(listening()) == 1
    work()
    assert {future.result(SOON).status_code for future in waiting} <= {200, 201}
    assert len(listening()) == 1


def test_what_is_not_committed_wakes_nobody(
    api: APIClient, work: Work, only_woken: None, aside: Aside
) -> None:
    upload_id = uuid.UUID(staged(api))
    waiting = aside(verdicts.wait, upload_id, seconds=LONG)
    with transaction.atomic():
        Upload.objects.filter(id=upload_id).delete()
        verdicts.tell(upload_id)
        transaction.set_rollback(True)
    with pytest.raises(TimeoutError):
        waiting.result(0.3)
    work()
    waiting.result(SOON)


def test_who_waits_holds_no_transaction_open(
    api: APIClient, work: Work, only_woken: None, aside: Aside
) -> None:
    """Else a hundred who wait would keep vacuum from its work, and a pooler's connections."""
    waiting = aside(complete, api, staged(api), wait=LONG)
    with pytest.raises(TimeoutError):
        waiting.result(0.3)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in trans%'")
        assert cursor.fetchone() == (0,)
    work()
    waiting.result(SOON)


def test_what_is_told_is_heard_when_it_is_committed(
    api: APIClient, work: Work, only_woken: None, aside: Aside
) -> None:
    """Who is woken finds the image: never an upload that is neither staged nor an image."""
    for _ in range(5):
        upload_id = staged(api)
        waiting = aside(verdicts.wait, uuid.UUID(upload_id), seconds=LONG)
        work()
        waiting.result(SOON)
        assert Image.objects.filter(id=upload_id).exists()
