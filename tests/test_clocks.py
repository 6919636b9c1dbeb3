"""The database has another time than the app, the worker and the store. Deadlines are the database's.

Its clock is moved by functions of the same names, found before its own: nothing of the app knows of it. (What the store
has to agree with is the app's clock, by which links are signed: `test_doctor` shows that a difference is told.)
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import httpx2
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from procrastinate.contrib.django import app as queue
from procrastinate.contrib.django.models import ProcrastinateJob
from rest_framework.test import APIClient

from media_api import images, sweeps
from media_api.models import (
    ApiKey,
    IdempotencyKey,
    Image,
    PendingDeletion,
    SignInLink,
    Upload,
    database_now,
)
from tests import pictures
from tests.conftest import Work, store_down
from tests.sending import API, announce, complete, put, refusal, send

Keep = Callable[..., Image]

MOMENT = timedelta(seconds=10)  # in which a test is done
CLOCKS = ("now", "statement_timestamp", "clock_timestamp")
DEFAULTS = """
SELECT attrelid::regclass::text, attname, pg_get_expr(adbin, adrelid)
FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
WHERE pg_get_expr(adbin, adrelid) ~* 'statement_timestamp|now'
"""


@pytest.fixture(params=[20, -20], ids=["ahead", "behind"], autouse=True)
def another_time(request: pytest.FixtureRequest, _database: None) -> Iterator[None]:
    """So many minutes, for all who connect."""
    name = connection.settings_dict["NAME"]
    with connection.cursor() as cursor:
        cursor.execute("CREATE SCHEMA moved")
        for clock in CLOCKS:
            cursor.execute(
                f"CREATE FUNCTION moved.{clock}() RETURNS timestamptz LANGUAGE sql"
                f" AS $$ SELECT pg_catalog.{clock}() + interval '{request.param} minutes' $$"
            )
        cursor.execute(DEFAULTS)
        defaults = cursor.fetchall()
        cursor.execute(f'ALTER DATABASE "{name}" SET search_path = moved, pg_catalog, public')
        set_defaults(cursor, [(table, column, "moved.now()") for table, column, _ in defaults])
    connection.close()
    yield
    with connection.cursor() as cursor:
        cursor.execute("SET search_path = public")
        set_defaults(cursor, defaults)
        cursor.execute(f'ALTER DATABASE "{name}" RESET search_path')
        cursor.execute("DROP SCHEMA moved CASCADE")
    connection.close()


def set_defaults(cursor: Any, defaults: list[tuple[str, str, str]]) -> None:
    for table, column, expression in defaults:
        cursor.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET DEFAULT {expression}")


def is_now(moment: datetime | None) -> bool:
    """By the database's clock."""
    return moment is not None and abs(moment - database_now()) < MOMENT


def ago(span: timedelta) -> datetime:
    return database_now() - span


def test_the_clocks_differ() -> None:
    assert timedelta(minutes=19) < abs(database_now() - datetime.now(UTC))


def test_an_upload_has_its_time(api: APIClient, work: Work) -> None:
    body = pictures.jpeg()
    announced = announce(api, body).json()
    upload = Upload.objects.get()
    assert is_now(upload.created_at)
    assert is_now(upload.expires_at - timedelta(seconds=settings.UPLOAD_LIFETIME))
    assert put(announced, body).status_code == 200
    assert complete(api, announced["id"]).status_code == 202
    work()
    image = Image.objects.get()
    assert is_now(image.date)
    link = api.get(f"{API}/images/{image.id}").json()["original"]["url"]
    assert httpx2.get(link).content == body


def test_an_upload_expires_when_its_time_is_over(api: APIClient) -> None:
    early, late = (announce(api, b"x").json()["id"] for _ in range(2))
    Upload.objects.filter(id=early).update(expires_at=ago(timedelta(seconds=1)))
    Upload.objects.filter(id=late).update(expires_at=ago(-timedelta(minutes=1)))
    assert refusal(complete(api, early)) == (410, "upload_expired")
    assert refusal(complete(api, late)) == (409, "not_staged")
    assert sweeps.expire_overdue() == 1
    assert Upload.objects.get(id=late).state == "announced"
    told = Upload.objects.get(id=early).expires_at
    assert is_now(told - timedelta(seconds=settings.REFUSAL_LIFETIME))


def test_a_repeat_waits_for_the_lease(api: APIClient, settings: Any) -> None:
    settings.PART_THRESHOLD = 10
    client: Any = api
    client.credentials(**client._credentials, HTTP_IDEMPOTENCY_KEY="one")
    announce(api, bytes(20))
    key = IdempotencyKey.objects.get()
    assert is_now(key.leased_until - timedelta(minutes=1)) if key.leased_until else False
    assert is_now(key.expires_at - timedelta(days=1))
    Upload.objects.update(multipart_id="")  # as if the first had been killed
    assert refusal(announce(api, bytes(20))) == (409, "in_progress")
    IdempotencyKey.objects.update(leased_until=ago(timedelta(seconds=1)))
    assert announce(api, bytes(20)).status_code == 201


def test_the_trash_keeps_for_its_time(api: APIClient, alice: User, keep: Keep) -> None:
    young, old = keep(alice), keep(alice)
    images.trash(Image.objects.all())
    assert all(is_now(image.trashed_at) for image in Image.objects.all())
    lifetime, minute = timedelta(seconds=settings.TRASH_LIFETIME), timedelta(minutes=1)
    Image.objects.filter(id=young.id).update(trashed_at=ago(lifetime - minute))
    Image.objects.filter(id=old.id).update(trashed_at=ago(lifetime + minute))
    assert images.empty_old_trash() == 1
    assert Image.objects.get().id == young.id
    assert images.purge_due() == 1
    assert is_now(PendingDeletion.objects.get().due_at - images.SECOND_LOOK)


def test_a_sign_in_link_works_for_its_time(alice: User, client: Client) -> None:
    token = SignInLink.objects.mint(alice)
    assert is_now(SignInLink.objects.get().expires_at - SignInLink.LIFETIME)
    assert client.get(f"/login/{token}/").status_code == 200
    SignInLink.objects.update(expires_at=ago(timedelta(seconds=1)))
    assert client.post(f"/login/{token}/").status_code != 302


def test_a_key_ends_when_it_says(api: APIClient) -> None:
    def ask(moment: datetime) -> int:
        asked = {"name": "k", "scopes": ["read"], "expires_at": moment.isoformat()}
        status: int = api.post(f"{API}/keys", asked, format="json").status_code
        return status

    ApiKey.objects.update(expires_at=None)
    assert ask(ago(timedelta(minutes=1))) == 422
    assert ask(ago(-timedelta(minutes=1))) == 201
    ApiKey.objects.update(expires_at=ago(timedelta(seconds=1)))
    assert refusal(api.get(f"{API}/images")) == (401, "unauthenticated")


def test_a_key_for_thirty_days_has_thirty_days(alice: User, client: Client) -> None:
    call_command("apikey", "create", "alice", "--scope", "read", "--days", "30", stdout=StringIO())
    client.force_login(alice)
    client.post("/keys/", {"name": "k", "scopes": ["read"], "expires_at": "30"})
    ends = [key.expires_at for key in ApiKey.objects.all()]
    assert [end is not None and is_now(end - timedelta(days=30)) for end in ends] == [True, True]


def test_what_was_just_kept_is_shown(alice: User, keep: Keep, client: Client) -> None:
    image = keep(alice, name="just-now.jpg")
    client.force_login(alice)
    assert b"just-now.jpg" in client.get("/uploads/").content
    Image.objects.filter(id=image.id).update(date=ago(timedelta(minutes=11)))
    assert b"just-now.jpg" not in client.get("/uploads/").content


def test_a_job_that_failed_waits_no_longer_than_it_should(api: APIClient, work: Work) -> None:
    send(api, pictures.jpeg())
    with store_down():
        work()
    (job,) = ProcrastinateJob.objects.filter(task_name="examine")
    assert is_now(job.scheduled_at)


def test_the_job_of_a_dead_worker_is_due_at_once(api: APIClient, work: Work) -> None:
    upload_id = send(api, pictures.jpeg()).json()["id"]
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH dead AS (INSERT INTO procrastinate_workers (last_heartbeat)"
            " VALUES (now() - interval '40 seconds') RETURNING id)"
            " UPDATE procrastinate_jobs SET status = 'doing', worker_id = dead.id FROM dead"
        )
    queue.configure_task("retry_stalled").defer(timestamp=0)
    work()
    work()
    assert Image.objects.filter(id=upload_id).exists()
