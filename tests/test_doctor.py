"""`manage.py doctor`: what each store is known to answer, and one fault after another."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client
from pytest_django import Settings

from media_api import checks, doctor, imaging
from media_api.doctor import CHECKS, Finding, State, database, examine
from media_api.epoch import claim_bucket
from media_api.models import Image, Upload, database_now
from media_api.storage import EPOCH_KEY, ImageStorage, image_storage
from media_api.sweeps import sweep_staging
from media_api.uploads import Announcement, announce
from minio import Minio
from project.embedded.addresses import free_port, url
from tests.conftest import emptied, objects, store_down, stored_on
from tests.services import HOST, Store
from tests.serving import READY, Service, wait_until

Keep = Callable[..., Image]

OF_THE_STORE = (
    "store",
    "store clock",
    "bucket",
    "owner",
    "removal",
    "private",
    "upload",
    "signed length",
    "signed type",
    "expiry",
    "upload identity",
    "conditional put",
    "range",
    "parts",
    "public address",
    "public link",
    "public upload",
    "cors",
)
WRITING = OF_THE_STORE[4:]


def examined() -> dict[str, Finding]:
    return dict(examine())


def look(name: str) -> Finding:
    (found,) = [check.look() for check in CHECKS if check.name == name]
    return found


def states(*names: str) -> dict[str, State]:
    """Of these checks alone."""
    return {check.name: check.look().state for check in CHECKS if check.name in names}


def sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@contextmanager
def prepared(store: Store, **options: object) -> Iterator[ImageStorage]:
    """The app works on this store, which is empty and ours."""
    with stored_on(store):
        emptied(image_storage())
        claim_bucket()
    with stored_on(store, **options) as bucket:
        yield bucket


# --- what the stores answer -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("minio", {}),
        (
            "rclone",
            {
                "conditional put": State.NOTE,
                "range": State.NOTE,
                "upload identity": State.NOTE,
            },
        ),
        (
            "moto",
            {
                "private": State.FAIL,
                "signed length": State.FAIL,
                "signed type": State.FAIL,
                "expiry": State.FAIL,
                "upload identity": State.FAIL,
                "cors": State.WARN,
            },
        ),
    ],
)
def test_a_store_answers_as_it_is_known_to(
    request: pytest.FixtureRequest, settings: Settings, name: str, expected: dict[str, State]
) -> None:
    settings.EMBEDDED = name == "rclone"
    with prepared(request.getfixturevalue(name)) as bucket:
        assert states(*OF_THE_STORE) == dict.fromkeys(OF_THE_STORE, State.OK) | expected
        assert objects(bucket) == []
        assert bucket.open_parts() == []


def test_pictures_that_are_there_are_left_alone(
    storage: ImageStorage, alice: User, keep: Keep
) -> None:
    keep(alice)
    before = objects(storage)
    examined()
    assert objects(storage) == before


# --- the whole, as its user sees it ---------------------------------------------------------------


def test_a_new_installation_is_well_and_one_that_was_stopped_is_not(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", port=free_port(HOST))
    answers = []

    def is_well() -> bool:
        answers.append(service.manage("doctor"))
        return answers[-1].returncode == 0

    service.start()
    try:
        service.wait_for(READY)
        wait_until(is_well, seconds=60)  # the worker may have yet to say that it is there
        left = [path for path in (service.data / "bucket/shoebox").rglob("*") if path.is_file()]
        service.environment["WEB_THREADS"] = "60"
        warned = service.manage("doctor", "--json")
        service.stop()
        down = service.manage("doctor")
    finally:
        service.kill()
    told = answers[-1]
    assert told.stdout.endswith("All is well.\n"), told.stdout
    assert told.stderr == ""
    assert "\033" not in told.stdout
    listed = json.loads(warned.stdout)
    assert {finding["state"] for finding in listed} == {"ok", "note", "warn"}
    assert {tuple(finding) for finding in listed} == {("name", "state", "sentence", "remedy")}
    assert {"epoch"} <= {path.name for path in left} <= {"epoch", "turn"}
    assert warned.returncode == down.returncode == 1
    assert down.stdout.count("make run") == 2, down.stdout
    assert 'Not looked at: see "database".' in down.stdout
    assert 'Not looked at: see "store".' in down.stdout
    assert down.stdout.endswith("\n2 failed, 0 warned of, 24 not looked at.\n")


@contextmanager
def forwarding(
    target: str,
    *,
    request: Mapping[str, str] | None = None,
    answer: Mapping[str, str] | None = None,
    host: str = HOST,
    without_query: bool = False,
    hangs: Callable[[str], bool] = lambda method: False,
) -> Iterator[str]:
    """The address of a proxy to `target` that sets these headers of requests and of answers, and its other faults."""
    end = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def forward(self) -> None:
            if hangs(self.command):
                end.wait(60)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            seen = cache.get(self.path.partition("?")[0]) if without_query else None
            found = seen or httpx2.request(
                self.command,
                target + self.path,
                content=body,
                headers={**dict(self.headers.items()), **(request or {})},
            )
            if self.command == "GET" and found.is_success:
                cache[self.path.partition("?")[0]] = found
            self.send_response_only(found.status_code)
            for name, value in (dict(found.headers) | dict(answer or {})).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(found.content)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do_OPTIONS = forward

        def log_message(self, *_: object) -> None:
            pass

    cache: dict[str, httpx2.Response] = {}
    server = ThreadingHTTPServer((host, 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield url(host, server.server_address[1])
    finally:
        end.set()
        server.shutdown()
        server.server_close()
        thread.join()


def environment(**variables: str) -> dict[str, str]:
    """Of a command that runs beside the test, on its database and bucket."""
    name = connection.settings_dict["NAME"]
    database_url = os.environ["DATABASE_URL"].replace("/postgres?", f"/{name}?")
    return os.environ | {"DATABASE_URL": database_url} | variables


def test_what_a_killed_doctor_leaves_is_swept(storage: ImageStorage) -> None:
    hanging = threading.Event()

    def hangs(method: str) -> bool:
        if method == "DELETE" and objects(storage):
            hanging.set()
        return hanging.is_set()

    with forwarding(storage.endpoint_url, hangs=hangs) as proxy:
        process = subprocess.Popen(
            [sys.executable, "manage.py", "doctor"],
            env=environment(S3_ENDPOINT_URL=proxy),
            stdout=subprocess.DEVNULL,
        )
        assert hanging.wait(60)
        process.kill()
        process.wait()
    assert len(objects(storage)) == 1
    assert sweep_staging() == 1
    assert objects(storage) == []


def test_without_the_database_the_bucket_is_looked_at(storage: ImageStorage) -> None:
    nowhere = f"postgres://nobody:loose-lips@{HOST}:{free_port(HOST)}/none"
    result = subprocess.run(
        [sys.executable, "manage.py", "doctor", "--json"],
        env=environment(DATABASE_URL=nowhere),
        capture_output=True,
        text=True,
    )
    found = {finding["name"]: finding["state"] for finding in json.loads(result.stdout)}
    assert result.returncode == 1
    assert found["database"] == "fail"
    assert found["migrations"] == found["queue"] == found["owner"] == "skipped"
    assert found["expiry"] == found["public upload"] == "ok"
    assert "loose-lips" not in result.stdout + result.stderr
    assert objects(storage) == []


@pytest.mark.parametrize("options", [{}, {"json": True}])
@pytest.mark.parametrize("name", ["rclone", "minio", "moto"])
def test_nothing_secret_is_said(
    request: pytest.FixtureRequest, name: str, options: dict[str, bool]
) -> None:
    store = request.getfixturevalue(name)
    said = StringIO()
    with prepared(store), forwarding(store.endpoint_url, request={"Host": "elsewhere"}) as proxy:  # noqa: SIM117
        with stored_on(store, public_endpoint_url=proxy), pytest.raises(SystemExit) as ended:
            call_command("doctor", stdout=said, **options)
    assert ended.value.code == 1
    for secret in (store.credentials[1], store.upload_credentials[1]):
        assert secret == "secret" or secret not in said.getvalue()
    assert "X-Amz" not in said.getvalue()
    assert "<Error>" not in said.getvalue()  # some stores quote there what they were sent


# --- settings and machine -------------------------------------------------------------------------


def test_what_is_not_looked_at_in_time_is_not_called_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PATIENCE", 0)
    said = StringIO()
    with pytest.raises(SystemExit):
        call_command("doctor", stdout=said)
    assert said.getvalue().count("the time was over") == len(CHECKS)


def test_what_the_settings_lack_is_told_and_the_rest_looked_at() -> None:
    found = examined()  # the tests' store has one identity, and is not the embedded one
    assert found["settings"].state == State.FAIL
    assert "minio/upload.json" in found["settings"].remedy
    assert found["decoders"].state == found["cage"].state == State.OK


def test_a_decoder_with_a_known_hole_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imaging, "versions", lambda: {"webp": "1.3.1"})
    found = examined()
    assert found["decoders"].state == State.FAIL
    assert found["decoders"].sentence.startswith("webp 1.3.1 ")
    assert "webp" not in found["settings"].sentence


def test_a_machine_without_a_net_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks.NETS["media_api.W002"][0], "is_available", lambda: False)
    found = look("cage")
    assert found.state == State.WARN
    assert "Landlock" in found.sentence


def test_a_full_disk_is_told(settings: Settings) -> None:
    settings.WEB_THREADS = 1_000_000
    assert states("disk") == {"disk": State.WARN}
    settings.MAX_UPLOAD_SIZE = 1 << 60
    assert states("disk") == {"disk": State.FAIL}


def test_a_worker_that_may_take_more_memory_than_there_is(settings: Settings) -> None:
    assert states("memory") == {"memory": State.OK}
    settings.EXAMINE_MEMORY = 1 << 60
    assert states("memory") == {"memory": State.NOTE}


# --- the database ---------------------------------------------------------------------------------


def test_commits_that_are_not_durable_are_told() -> None:
    sql("SET synchronous_commit = off")
    found = look("durability")
    assert found.state == State.FAIL
    assert found.sentence.startswith("fsync and synchronous_commit are off")  # the tests' is quick
    assert "fsync = on" in found.remedy


@pytest.fixture
def own_migrations() -> Iterator[None]:
    """What was applied, in a table of this connection that hides the real one."""
    sql("CREATE TEMPORARY TABLE django_migrations AS TABLE public.django_migrations")
    yield
    sql("DROP TABLE IF EXISTS pg_temp.django_migrations")


def test_a_migration_that_is_missing_is_named(own_migrations: None, storage: ImageStorage) -> None:
    newest = MigrationRecorder.Migration.objects.filter(app="media_api").latest("name")
    sql(f"DELETE FROM pg_temp.django_migrations WHERE id = {newest.pk}")
    found = examined()
    assert found["migrations"].state == State.FAIL
    assert (
        f"Migrations that are missing: 1, first media_api.{newest.name}"
        in found["migrations"].sentence
    )
    assert found["worker"].state == found["queue"].state == found["owner"].state == State.SKIPPED
    assert found["signed length"].state == State.OK


def test_a_database_of_newer_code_is_told(own_migrations: None) -> None:
    sql("UPDATE pg_temp.django_migrations SET name = '9999_later' WHERE id = 1")
    sql("INSERT INTO pg_temp.django_migrations SELECT * FROM public.django_migrations WHERE id = 1")
    found = look("migrations")
    assert found.state == State.WARN
    assert "9999_later" in found.sentence


def test_too_few_connections_are_told(settings: Settings) -> None:
    assert states("connections") == {"connections": State.OK}
    settings.WEB_THREADS = 100
    assert states("connections") == {"connections": State.WARN}


@pytest.fixture
def workers() -> Iterator[None]:
    yield
    sql("TRUNCATE procrastinate_workers CASCADE")


def test_a_dead_worker_is_told(workers: None) -> None:
    assert states("worker") == {"worker": State.FAIL}
    sql("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (now() - interval '40 s')")
    assert states("worker") == {"worker": State.FAIL}
    sql("INSERT INTO procrastinate_workers DEFAULT VALUES")
    assert states("worker") == {"worker": State.OK}


JOB = (
    "INSERT INTO procrastinate_jobs (queue_name, task_name, args, status, scheduled_at)"
    " VALUES ('default', 'examine', '{{}}', '{}', {})"
)


def test_jobs_that_wait_for_long_are_told() -> None:
    sql(JOB.format("todo", "now() + interval '1 hour'"))
    sql(JOB.format("todo", "NULL"))
    assert states("queue") == {"queue": State.OK}
    sql("UPDATE procrastinate_events SET at = at - interval '7 minutes'")
    found = look("queue")
    assert found.state == State.WARN
    assert found.sentence == "Jobs that wait: 1, the oldest for 7 minutes."


def test_jobs_that_failed_are_told() -> None:
    sql(JOB.format("failed", "NULL"))
    found = look("queue")
    assert (found.state, found.sentence) == (State.WARN, "Jobs that were given up: 1.")
    assert "manage.py retry" in found.remedy
    sql("UPDATE procrastinate_jobs SET queueing_lock = 'retry_stalled'")  # the clock has others
    assert states("queue") == {"queue": State.OK}


def test_uploads_that_are_set_aside_are_told(alice: User) -> None:
    assert states("uploads") == {"uploads": State.OK}
    announce(alice, Announcement(name="dog.jpg", size=9, content_type="image/jpeg"))
    Upload.objects.update(state="staged", staged_at=database_now())
    assert states("uploads") == {"uploads": State.OK}
    Upload.objects.update(error_code="internal")
    found = look("uploads")
    assert found.state == State.WARN
    assert found.sentence == "Uploads that could not be looked at and are set aside: 1."
    assert "manage.py retry" in found.remedy


@pytest.mark.parametrize(("minutes", "state"), [(0, State.OK), (2, State.WARN), (-20, State.FAIL)])
def test_a_database_with_another_time_is_told(
    monkeypatch: pytest.MonkeyPatch, minutes: int, state: State
) -> None:
    monkeypatch.setattr(database, "database_now", lambda: later(minutes))
    assert states("database clock") == {"database clock": state}


def later(minutes: int) -> datetime:
    return datetime.now(UTC) + timedelta(minutes=minutes)


# --- the bucket -----------------------------------------------------------------------------------


def test_a_store_that_is_down_is_told() -> None:
    with store_down():
        found = examined()
    assert found["store"].state == State.FAIL
    assert "refused" in found["store"].sentence
    assert {found[name].state for name in WRITING} == {State.SKIPPED}
    assert found["migrations"].state == State.OK


def test_a_store_that_does_not_know_us_is_told(minio: Store) -> None:
    with prepared(minio, secret_key="wrong"):
        found = examined()
    assert found["bucket"].state == State.FAIL
    assert "SignatureDoesNotMatch" in found["bucket"].sentence
    assert {found[name].state for name in WRITING} - {State.OK} == {State.SKIPPED}


def test_a_bucket_that_is_not_there_is_told(rclone: Store) -> None:
    with stored_on(rclone, bucket_name="elsewhere"):
        found = look("bucket")
    assert found.state == State.FAIL
    assert "no bucket elsewhere" in found.sentence


@pytest.mark.parametrize(
    ("mark", "sentence"),
    [(b"another", "belongs to another installation"), (None, "No installation owns the bucket")],
)
def test_nothing_is_written_into_a_bucket_that_is_not_ours(
    storage: ImageStorage, rclone: Store, mark: bytes | None, sentence: str
) -> None:
    storage.remove([EPOCH_KEY])
    if mark:
        storage.keep(EPOCH_KEY, mark, content_type="text/plain")
    methods: list[str] = []
    with (
        forwarding(storage.endpoint_url) as proxy,
        stored_on(rclone, endpoint_url=proxy, public_endpoint_url=proxy) as bucket,
    ):
        bucket.client.meta.events.register(
            "before-send.s3", lambda request, **_: methods.append(request.method)
        )
        found = examined()
    assert found["owner"].state == State.FAIL
    assert sentence in found["owner"].sentence
    assert {found[name].state for name in WRITING if name != "public address"} == {State.SKIPPED}
    assert set(methods) == {"GET"}


@pytest.mark.parametrize(("minutes", "state"), [(2, State.WARN), (-20, State.FAIL)])
def test_a_store_with_another_time_is_told(
    storage: ImageStorage, rclone: Store, minutes: int, state: State
) -> None:
    date = {"date": format_datetime(later(minutes), usegmt=True)}
    with (
        forwarding(storage.endpoint_url, answer=date) as proxy,
        stored_on(rclone, endpoint_url=proxy),
    ):
        assert states("store clock") == {"store clock": state}


def test_readiness_says_how_far_the_clock_of_a_store_is_off_that_refuses_us(
    storage: ImageStorage, rclone: Store, client: Client
) -> None:
    date = {"date": format_datetime(later(20) + timedelta(seconds=30), usegmt=True)}
    with (
        forwarding(storage.endpoint_url, answer=date) as proxy,
        stored_on(rclone, endpoint_url=proxy, secret_key="wrong"),
    ):
        answer = client.get("/readyz")
    assert (answer.status_code, answer.json()["bucket"]) == (200, "clock is 20 minutes off")


def test_an_upload_identity_that_may_do_more_is_told(minio: Store) -> None:
    with prepared(minio, upload_credentials=minio.root_credentials) as bucket:
        found = look("upload identity")
        assert objects(bucket) == []
    assert found.state == State.FAIL
    assert "can read and list and delete and copy and put outside of staging/." in found.sentence


# --- a bucket that anybody can read ---------------------------------------------------------------


@contextmanager
def opened(minio: Store, action: str, resource: str) -> Iterator[None]:
    """The bucket has a policy that lets anybody in."""
    root = Minio(urlsplit(minio.endpoint_url).netloc, *minio.root_credentials, secure=False)
    statement = {
        "Effect": "Allow",
        "Principal": {"AWS": ["*"]},
        "Action": [action],
        "Resource": [f"arn:aws:s3:::{minio.bucket_name}{resource}"],
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    root.set_bucket_policy(minio.bucket_name, json.dumps(policy))
    try:
        yield
    finally:
        root.delete_bucket_policy(minio.bucket_name)


@pytest.mark.parametrize(
    ("action", "resource", "sentence"),
    [
        ("s3:ListBucket", "", "anybody can list its keys"),
        ("s3:GetObject", "/images/*", "anybody can read images/"),
        ("s3:GetObject", "/*", "anybody can read _meta/epoch and read images/"),
    ],
)
def test_a_public_bucket_is_told_and_refused(
    minio: Store, action: str, resource: str, sentence: str
) -> None:
    with prepared(minio) as bucket:
        bucket.keep("images/1/original.png", b"x", content_type="image/png")
        with opened(minio, action, resource):
            found = look("private")
            assert found.state == State.FAIL
            assert sentence in found.sentence
            for command in ("prepare_bucket",), ("procrastinate", "worker", "--one-shot"):
                with pytest.raises(CommandError, match=f"The bucket is public.*{sentence}"):
                    call_command(*command)
        call_command("prepare_bucket")


def test_a_bucket_that_anybody_can_write_to_is_told(minio: Store) -> None:
    with prepared(minio) as bucket:
        with opened(minio, "s3:PutObject", "/staging/*"):
            found = look("private")
        assert objects(bucket) == []
    assert found.sentence == "Without any key, anybody can put objects."


def test_a_worker_refuses_a_bucket_that_is_not_ours(storage: ImageStorage) -> None:
    storage.remove([EPOCH_KEY])
    with pytest.raises(CommandError, match="never prepared"):
        call_command("procrastinate", "worker", "--one-shot")
    storage.keep(EPOCH_KEY, b"another", content_type="text/plain")
    with pytest.raises(CommandError, match="belongs to another installation"):
        call_command("procrastinate", "worker", "--one-shot")


@pytest.mark.parametrize("missing", ["S3_ENDPOINT_URL", "nothing"])
def test_a_worker_starts_where_the_bucket_is_ours_or_down(
    storage: ImageStorage, missing: str
) -> None:
    result = subprocess.run(
        [sys.executable, "manage.py", "procrastinate", "worker", "--one-shot"],
        env=environment(S3_UPLOAD_ACCESS_KEY_ID="other", **{missing: url(HOST, free_port(HOST))}),
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert ("bucket_not_looked_at" in result.stderr) is (missing == "S3_ENDPOINT_URL")


# --- as a browser sees it -------------------------------------------------------------------------

BROWSING = ("public link", "public upload", "cors")


def test_a_public_address_where_nobody_is_is_told(minio: Store) -> None:
    with prepared(minio, public_endpoint_url=url(HOST, free_port(HOST))):
        found = examined()
    assert found["public address"].state == State.FAIL
    assert {found[name].state for name in BROWSING} == {State.SKIPPED}
    assert found["expiry"].state == State.OK


def test_a_proxy_that_changes_the_host_is_told(store: Store) -> None:
    with (
        forwarding(store.endpoint_url, request={"Host": "elsewhere"}) as proxy,
        prepared(store, public_endpoint_url=proxy),
    ):
        found = examined()
    assert found["public link"].state == found["public upload"].state == State.FAIL
    assert "SignatureDoesNotMatch" in found["public link"].sentence
    assert "Host" in found["public link"].remedy
    assert found["expiry"].state == State.OK


def test_a_proxy_that_changes_nothing_is_well(minio: Store) -> None:
    with forwarding(minio.endpoint_url) as proxy, prepared(minio, public_endpoint_url=proxy):
        assert states(*BROWSING) == dict.fromkeys(BROWSING, State.OK)


def test_a_proxy_that_changes_what_was_signed_into_a_link_is_told(minio: Store) -> None:
    with (
        forwarding(minio.endpoint_url, answer={"content-type": "text/html"}) as proxy,
        prepared(minio, public_endpoint_url=proxy),
    ):
        found = look("public link")
    assert (found.state, found.sentence[-13:]) == (State.FAIL, "Content-Type.")


def test_a_cache_that_gives_to_anybody_is_told(minio: Store) -> None:
    with (
        forwarding(minio.endpoint_url, without_query=True) as proxy,
        prepared(minio, public_endpoint_url=proxy),
    ):
        found = look("public link")
    assert found.state == State.FAIL
    assert "without its signature" in found.sentence


def test_a_container_asks_in_the_name_of_a_machine_that_it_cannot_reach(minio: Store) -> None:
    """The public address is the loopback of the machine around it."""
    nowhere = url(HOST, free_port(HOST))
    with (
        forwarding(minio.endpoint_url, host="127.0.0.2") as inside,
        prepared(minio, endpoint_url=inside, public_endpoint_url=nowhere),
    ):
        assert states("public address", *BROWSING) == {
            "public address": State.NOTE,
            **dict.fromkeys(BROWSING, State.OK),
        }


def test_pages_that_the_store_does_not_let_in_are_told(minio: Store, settings: Settings) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://pictures.example"]
    with prepared(minio):
        found = examined()
    assert found["cors"].state == found["public upload"].state == State.FAIL
    assert "https://pictures.example" in found["cors"].sentence


def test_a_store_that_lets_in_any_page_is_warned_of(minio: Store) -> None:
    with (
        forwarding(minio.endpoint_url, answer={"access-control-allow-origin": "*"}) as proxy,
        prepared(minio, public_endpoint_url=proxy),
    ):
        assert states("cors") == {"cors": State.WARN}
