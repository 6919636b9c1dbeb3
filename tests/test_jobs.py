"""The queue: what runs by the clock, what a dead worker leaves to the others, how long a job waits for its turn."""

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast

import httpx2
import pytest
from croniter import croniter
from django.contrib.auth.models import User
from django.db import IntegrityError, OperationalError, connection, transaction
from procrastinate import JobContext
from procrastinate.contrib.django import app
from procrastinate.contrib.django.models import ProcrastinateJob
from procrastinate.jobs import Job
from rest_framework.test import APIClient

from media_api.exceptions import DatabaseUnavailable, StorageUnavailable
from media_api.models import Image, PendingDeletion, Upload, database_now, uuid7
from media_api.queue import enqueue
from media_api.storage import ImageStorage
from media_api.tasks import UntilDone
from tests import pictures
from tests.conftest import Work, closing_connections, objects, worker_connector
from tests.sending import API, announce, put, read, send

Keep = Callable[..., Image]


def sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def test_the_clock_runs_what_removes(
    api: APIClient, alice: User, keep: Keep, work: Work, storage: ImageStorage
) -> None:
    body = pictures.jpeg()
    put(announce(api, body).json(), body)
    storage.keep(f"staging/{uuid7()}", b"x", content_type="image/jpeg")
    keep(alice).delete()
    old = keep(alice)
    Image.objects.filter(id=old.id).update(trashed_at=database_now() - timedelta(days=31))
    Upload.objects.update(expires_at=database_now() - timedelta(seconds=1))
    for turn in "expire_overdue", "sweep_staging", "empty_old_trash", "purge_due":
        app.configure_task(turn).defer(timestamp=0)
        work()
    assert Upload.objects.get().state == "expired"
    assert not Image.objects.exists()
    assert objects(storage) == []
    assert not PendingDeletion.objects.filter(removed_at=None).exists()


@pytest.mark.usefixtures("clock_stands_still")
def test_nobody_waits_behind_all_that_another_has_sent(
    api: APIClient, stranger: APIClient, storage: ImageStorage
) -> None:
    theirs = [send(stranger, pictures.jpeg()).json()["id"] for _ in range(5)]
    mine = [send(api, pictures.jpeg()).json()["id"] for _ in range(2)]
    order = [job.task_kwargs["upload_id"] for job in done_one_by_one()]
    assert order == [theirs[0], mine[0], theirs[1], mine[1], *theirs[2:]]


def test_what_takes_a_moment_waits_behind_no_picture(
    api: APIClient, alice: User, keep: Keep
) -> None:
    """A permanent delete takes effect, and the jobs of a dead worker are taken over, however many pictures wait."""
    gone = keep(alice)
    send(api, pictures.jpeg())
    for turn in "retry_stalled", "purge_due":
        app.configure_task(turn, task_kwargs={"timestamp": 0}).defer()
    api.delete(f"{API}/images/{gone.id}?permanent=true")
    order = [job.task_name for job in done_one_by_one()]
    assert order == ["retry_stalled", "purge_due", "purge", "examine"]


def done_one_by_one() -> list[Job]:
    """All that is due, in the order in which a worker does it."""
    order: list[Job] = []

    def note(do: Callable[[], Any], context: JobContext, *_: Any) -> Any:
        order.append(context.job)
        return closing_connections(do)

    async def note_async(do: Callable[[], Awaitable[Any]], context: JobContext, *_: Any) -> Any:
        order.append(context.job)
        return await do()

    with app.replace_connector(worker_connector()) as worker:
        worker.run_worker(
            wait=False,
            concurrency=1,
            install_signal_handlers=False,
            listen_notify=False,
            task_middleware=[note, note_async],
        )
    return order


def test_a_connection_that_is_lost_while_a_job_is_added_is_no_fault_of_ours() -> None:
    def lose_it_and_add() -> None:
        with transaction.atomic():
            pid = connection.connection.info.backend_pid
            with ThreadPoolExecutor(1) as pool:
                pool.submit(terminate, pid).result()
            enqueue("examine", "upload_id", [uuid7()])

    with pytest.raises(DatabaseUnavailable):
        lose_it_and_add()
    connection.close()
    assert not ProcrastinateJob.objects.exists()


def terminate(pid: int) -> None:
    """Called in a thread, which has a connection of its own."""
    try:
        sql(f"SELECT pg_terminate_backend({pid}, 1000)")
    finally:
        connection.close()


def test_the_clock_knows_how_often() -> None:
    tasks = app.periodic_registry.periodic_tasks.items()
    assert {name: seconds_between(task.cron) for (name, _), task in tasks} == {
        "retry_stalled": 10,
        "purge_due": MINUTE,
        "expire_overdue": MINUTE,
        "check_content": MINUTE,
        "enqueue_forgotten": 5 * MINUTE,
        "take_turn": 10 * MINUTE,
        "sweep_staging": 15 * MINUTE,
        "empty_old_trash": HOUR,
        "forget_throttles": HOUR,
        "forget_idempotency_keys": HOUR,
        "forget_sign_ins": 24 * HOUR,
    }


MINUTE, HOUR = 60, 3600


def seconds_between(cron: str) -> float:
    """The longest time from one turn to the next, over some hundred turns."""
    times = croniter(cron, datetime(2026, 1, 1, tzinfo=UTC))
    turns: list[float] = [times.get_next(float) for _ in range(300)]
    return max(later - earlier for earlier, later in pairwise(turns))


def test_the_job_of_a_dead_worker_is_done_by_another(api: APIClient, work: Work) -> None:
    body = pictures.jpeg()
    upload_id = send(api, body).json()["id"]
    sql(
        "WITH dead AS (INSERT INTO procrastinate_workers (last_heartbeat)"
        " VALUES (now() - interval '40 seconds') RETURNING id)"
        " UPDATE procrastinate_jobs SET status = 'doing', worker_id = dead.id FROM dead"
    )
    app.configure_task("retry_stalled").defer(timestamp=0)
    work()
    work()
    assert httpx2.get(read(api, upload_id)["original"]["url"]).content == body
    assert not ProcrastinateJob.objects.exists()


def test_the_job_of_a_living_worker_is_left_to_it(api: APIClient, work: Work) -> None:
    send(api, pictures.jpeg())
    sql(
        "WITH living AS (INSERT INTO procrastinate_workers DEFAULT VALUES RETURNING id)"
        " UPDATE procrastinate_jobs SET status = 'doing', worker_id = living.id FROM living"
    )
    app.configure_task("retry_stalled").defer(timestamp=0)
    work()
    assert ProcrastinateJob.objects.get(task_name="examine").status == "doing"


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(0, 1), (1, 2), (5, 32), (6, 60), (1000, 60), (10**9, 60)]
)
@pytest.mark.parametrize("outage", [OSError(), StorageUnavailable(), OperationalError()])
def test_a_job_is_tried_again_without_end(outage: Exception, attempts: int, seconds: int) -> None:
    decision: Any = UntilDone(tries=3).get_retry_decision(exception=outage, job=tried(attempts))
    left = decision.retry_at - database_now()
    assert abs(left.total_seconds() - seconds) < 1


@pytest.mark.parametrize("tries", [1, 10])
def test_a_job_is_given_up_when_the_fault_is_ours(tries: int) -> None:
    ours = partial(UntilDone(tries=tries).get_retry_decision, exception=IntegrityError())
    assert all(ours(job=tried(attempts)) for attempts in range(tries - 1))
    assert ours(job=tried(tries - 1)) is None


def tried(attempts: int) -> Job:
    """A job that was tried so many times before this one."""
    told = SimpleNamespace(attempts=attempts, task_name="purge", task_kwargs={}, id=1)
    return cast(Job, told)


def test_what_was_described_late_is_described_as_it_is(
    api: APIClient, alice: User, keep: Keep, work: Work, storage: ImageStorage
) -> None:
    image = keep(alice)
    for name in "first.jpg", "second.jpg":
        api.patch(f"{API}/images/{image.id}", {"name": name}, format="json")
    gone = keep(alice)
    api.patch(f"{API}/images/{gone.id}", {"name": "gone.jpg"}, format="json")
    api.delete(f"{API}/images/{gone.id}?permanent=true")
    work()
    assert "second.jpg" in storage.read(f"images/{image.id}/image.json").decode()
    assert {key.split("/")[1] for key in objects(storage)} == {str(image.id)}
    assert not ProcrastinateJob.objects.exists()
