"""What may fail below the service fails, and nothing is lost: the bucket, the database, a disk."""

import os
import resource
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import psycopg
import pytest
from botocore.config import Config
from django.contrib.auth.models import User
from django.db import connection
from procrastinate.contrib.django.utils import connector_params
from pytest_django import Settings
from rest_framework.test import APIClient

from media_api import examination, holds, sweeps
from media_api.exceptions import ForeignBucket, StorageUnavailable
from media_api.models import ApiKey, Image, Upload
from media_api.storage import CLIENT_CONFIG, ImageStorage
from media_api.waiters import PATIENCE as PATIENCE_OF_WAITERS
from project.embedded import environment
from project.embedded.addresses import free_port
from tests import faulty as faults
from tests import pictures
from tests.conftest import Serve, Work, database_of_the_test, objects, stored_on
from tests.faulty import Exchange, Fault, Faulty
from tests.sending import API, Answer, announce, complete, put, read, refusal, send
from tests.services import HOST, Store
from tests.serving import READY, Service, command_line, wait_until

QUICK = 0.5  # seconds: what does not need the bucket
PATIENCE = Config(read_timeout=2.5)  # seconds, of a client that else waits for ten


@pytest.fixture
def faulty(storage: ImageStorage, rclone: Store) -> Iterator[Faulty]:
    """The app's way to its bucket."""
    proxy = Faulty(rclone)
    with stored_on(proxy.seen) as bucket:
        bucket.client_config = CLIENT_CONFIG.merge(PATIENCE)
        yield proxy
    proxy.close()


# --- the bucket -----------------------------------------------------------------------------------

OUTAGES = [
    faults.refused,
    faults.reset,
    faults.slow_down,
    faults.black_hole,
    faults.answer_lost,
    faults.full,
    faults.captured,
    faults.without_bucket,
    faults.emptied,
    faults.somebody_else,
]
WRONG_DOWN = [faults.cut_short, faults.shortened, faults.flipped]
WRONG_UP = [faults.reset, faults.slow_down, faults.answer_lost, faults.full, faults.captured]


def name(fault: Fault) -> str:
    return fault.__name__


@pytest.mark.parametrize("fault", [*OUTAGES, *WRONG_DOWN], ids=name)
def test_a_fault_of_the_bucket_costs_time_and_nothing_else(
    api: APIClient, faulty: Faulty, storage: ImageStorage, work: Work, fault: Fault
) -> None:
    body = pictures.jpeg(64, 48)
    staged = send(api, body).json()["id"]
    announced = announce(api, body).json()
    put(announced, body)
    with faulty.failing(fault):
        work()
        assert waits(staged)
        sent = send(api, body)
        completed = complete(api, announced["id"])
        assert_up_without_the_bucket(api)
    assert sent.status_code == 202 or refusal(sent) == (503, "storage_unavailable")
    assert sent.status_code == 202 or sent.headers["Retry-After"]
    assert completed.status_code in (202, 409, 503)

    accepted = {staged, announced["id"], *([sent.json()["id"]] if sent.status_code == 202 else [])}
    complete(api, announced["id"])
    wait_until_kept(accepted, work)
    for image_id in accepted:
        assert httpx2.get(read(api, image_id)["original"]["url"]).content == body
    sweeps.sweep_staging()
    assert {key.split("/")[1] for key in objects(storage)} == accepted


@pytest.mark.parametrize("fault", [*OUTAGES, *WRONG_DOWN], ids=name)
def test_no_fault_of_the_bucket_is_taken_for_a_restore(faulty: Faulty, fault: Fault) -> None:
    """Which would hold all that is removed by the clock, until somebody looks. It begins when the bucket is known."""
    for _ in range(12):
        holds.take_turn()
    before = iter([faults.healthy])
    with (
        faulty.failing(lambda exchange: next(before, fault)(exchange)),
        suppress(StorageUnavailable, FileNotFoundError, ForeignBucket),
    ):
        assert not holds.is_unconfirmed()
    assert not holds.is_unconfirmed()


@pytest.mark.parametrize("fault", [*WRONG_UP, faults.flipped_on_the_way_up], ids=name)
def test_what_is_kept_is_what_was_examined_or_nothing_yet(
    api: APIClient, faulty: Faulty, work: Work, fault: Fault
) -> None:
    """The bytes come down and are read; what is written in their place fails, more often than a decoder may."""
    body = pictures.jpeg(64, 48)
    staged = send(api, body).json()["id"]
    with faulty.failing(fault, writing):
        for _ in range(2 * examination.MAX_ATTEMPTS):
            with pytest.raises(StorageUnavailable):
                examination.examine(staged)
        assert waits(staged)
        assert refusal(send(api, body)) == (503, "storage_unavailable")
    wait_until_kept({staged}, work)
    assert httpx2.get(read(api, staged)["original"]["url"]).content == body


def writing(exchange: Exchange) -> bool:
    return exchange.command == "PUT"


def reading(exchange: Exchange) -> bool:
    return exchange.command in ("GET", "HEAD")


@pytest.mark.parametrize("fault", [faults.late, faults.slow], ids=name)
def test_a_slow_bucket_is_waited_for(
    api: APIClient, faulty: Faulty, work: Work, fault: Fault
) -> None:
    body = pictures.jpeg(640, 480)
    staged = send(api, body).json()["id"]
    with faulty.failing(fault, reading):
        work()
        assert_up_without_the_bucket(api)
    assert httpx2.get(read(api, staged)["original"]["url"]).content == body


def waits(upload_id: str) -> bool:
    """It is staged, and nothing counts against it."""
    upload = Upload.objects.get(id=upload_id)
    return (upload.state, upload.attempts) == ("staged", 0)


def wait_until_kept(ids: set[str], work: Work) -> None:
    """As a worker would that goes on."""

    def kept() -> bool:
        work()
        return Image.objects.filter(id__in=ids).count() == len(ids)

    wait_until(kept, seconds=30)


def assert_up_without_the_bucket(api: APIClient) -> None:
    """Readiness names the bucket in time, and what does not need it takes no longer than ever."""
    began = time.monotonic()
    ready = api.get("/readyz")
    assert time.monotonic() - began < 5
    assert (ready.status_code, set(ready.json())) == (200, {"status", "database", "bucket"})
    times = [timed(lambda: api.get(f"{API}/images")) for _ in range(20)]
    assert sorted(times)[18] < QUICK


def timed(ask: Callable[[], Answer]) -> float:
    began = time.monotonic()
    assert ask().status_code == 200
    return time.monotonic() - began


NOTICED = 2 * PATIENCE_OF_WAITERS  # seconds
CROWD = 3  # times as many as the web server has threads


def test_a_bucket_that_never_answers_leaves_threads_to_the_rest(
    serve: Serve, faulty: Faulty, alice: User, settings: Settings
) -> None:
    """Everybody sends pictures, and nothing comes back from the bucket; lists do not wait for that."""
    _, key = ApiKey.objects.mint(alice, scopes=["read", "write"])
    address = serve(S3_ENDPOINT_URL=faulty.seen.endpoint_url)
    http = httpx2.Client(
        base_url=address, headers={"Authorization": f"Bearer {key}"}, timeout=60, trust_env=False
    )
    crowd, over = CROWD * settings.WEB_THREADS, threading.Event()
    body, told = pictures.jpeg(), set()

    def send_on_and_on() -> None:
        while not over.is_set():
            answer = http.post(f"{API}/images?wait=0", content=body, headers=JPEG)
            told.add(answer.status_code)
            over.wait(0.1)

    def took() -> float:
        began = time.monotonic()
        assert http.get(f"{API}/images").status_code == 200
        return time.monotonic() - began

    with http, ThreadPoolExecutor(crowd) as pool:
        with faulty.failing(faults.black_hole):
            senders = [pool.submit(send_on_and_on) for _ in range(crowd)]
            over.wait(NOTICED)
            times = sorted(took() for _ in range(40))
            over.set()
        for sender in senders:
            sender.result()
        assert times[37] < QUICK, times
        assert told <= {202, 503}  # those that hung when it came back are done
        assert 503 in told
        assert http.post(f"{API}/images?wait=0", content=body, headers=JPEG).status_code == 202


JPEG = {"Content-Type": "image/jpeg"}


# --- the database -----------------------------------------------------------------------------------

SOON = 5  # seconds, to an answer without a database
BACK = 10  # seconds after its return until all is as it was
SHORT, LONG = (
    2,
    12,
)  # seconds without it: until somebody notices, until the worker has ended over it


class Sender:
    """Sends pictures to a whole service, and remembers which were acknowledged."""

    def __init__(self, service: Service, key: str) -> None:
        self.http = httpx2.Client(
            base_url=f"http://{HOST}:{service.port}",
            headers={"Authorization": f"Bearer {key}"},
            timeout=60,
            trust_env=False,
        )
        self.kept: dict[str, bytes] = {}

    def send(
        self, seed: int, *, wait: int = 25, size: tuple[int, int] = (64, 48)
    ) -> httpx2.Response:
        body = pictures.jpeg(*size, seed=seed)
        answer = self.http.post(
            f"{API}/images?wait={wait}", content=body, headers={"Content-Type": "image/jpeg"}
        )
        if answer.status_code in (201, 202):
            self.kept[answer.json()["id"]] = body
        return answer

    def status(self, path: str) -> int:
        """Of an answer in time, also without a database."""
        began = time.monotonic()
        status = self.http.get(path).status_code
        assert time.monotonic() - began < SOON
        return status

    def assert_nothing_lost(self) -> None:
        wait_until(lambda: self.http.get(f"{API}/uploads").json()["results"] == [], seconds=60)
        for image_id, body in self.kept.items():
            image = self.http.get(f"{API}/images/{image_id}").json()
            assert httpx2.get(image["original"]["url"]).content == body


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    service = Service(
        tmp_path_factory.mktemp("outages") / "data", port=free_port(HOST), WEB_WORKERS="1"
    )
    service.start()
    service.wait_for(READY)
    yield service
    service.kill()


@pytest.fixture(scope="module")
def sender(service: Service) -> Iterator[Sender]:
    made = service.manage("apikey", "create", "admin", "--scope", "read", "--scope", "write")
    sender = Sender(service, made.stdout.strip())
    yield sender
    sender.http.close()


@contextmanager
def without_postgres(service: Service, how: signal.Signals) -> Iterator[None]:
    """Its parent, who would start it again, sleeps meanwhile."""
    assert service.process
    os.kill(service.process.pid, signal.SIGSTOP)
    postgres = service.child("bin/postgres")
    os.kill(postgres, how)
    wait_until(lambda: not command_line(postgres))
    try:
        yield
    finally:
        os.kill(service.process.pid, signal.SIGCONT)


@pytest.mark.parametrize(
    "how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL], ids=lambda how: how.name
)
def test_the_database_goes_and_comes_back(
    service: Service, sender: Sender, how: signal.Signals
) -> None:
    """Stopped, stopped at once, killed. The worker ends over it and is started again; the web server does not."""
    web = service.child("granian")
    assert sender.send(0).status_code == 201
    with without_postgres(service, how):
        gone = time.monotonic()
        while time.monotonic() - gone < (LONG if how == signal.SIGINT else SHORT):
            assert sender.status("/livez") == 200
            assert sender.status("/readyz") == 503
            assert refusal(sender.send(1)) == (503, "database_unavailable")
            time.sleep(0.2)
    wait_until(lambda: sender.status("/readyz") == 200, seconds=30)
    back = time.monotonic()
    assert sender.send(2).status_code == 201
    assert time.monotonic() - back < BACK
    sender.assert_nothing_lost()
    assert service.child("granian") == web


def test_connections_are_cut_one_by_one(service: Service, sender: Sender) -> None:
    """Whose was cut is told to come again, or has noticed nothing."""
    address = environment(service.data)["DATABASE_URL"]
    answers = []
    with psycopg.connect(address, autocommit=True) as database:
        for (pid,) in database.execute(OTHERS).fetchall():
            database.execute("SELECT pg_terminate_backend(%s, 1000)", [pid])
            answers.append(sender.send(pid, wait=0))
    assert {answer.status_code for answer in answers} <= {202, 503}
    assert sender.status("/readyz") == 200
    cut = time.monotonic()
    assert sender.send(3).status_code == 201
    assert time.monotonic() - cut < 2 * BACK
    sender.assert_nothing_lost()


OTHERS = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"


def test_the_service_is_stopped_under_load(service: Service, sender: Sender) -> None:
    """What was asked is answered, and the job that runs ends or is done later."""
    places = 4  # who waits: half of WEB_THREADS
    before = service.output.read_text().count("upload_staged")
    with ThreadPoolExecutor(places) as pool:
        asked = [pool.submit(sender.send, seed, size=(3000, 2000)) for seed in range(places)]
        wait_until(
            lambda: service.output.read_text().count("upload_staged") >= before + places, seconds=60
        )
        assert service.process
        service.process.terminate()
        assert service.process.wait(30) == 0
        assert {answer.result().status_code for answer in asked} <= {201, 202}
    service.start()
    service.wait_for(READY)
    sender.assert_nothing_lost()


class Forwarder(socketserver.BaseRequestHandler):
    """TCP in front of the Postgres of the tests, which has only a socket of the machine."""

    def handle(self) -> None:
        sockets = connection.settings_dict["HOST"] or connection.settings_dict["OPTIONS"]["host"]
        with socket.socket(socket.AF_UNIX) as postgres, ThreadPoolExecutor(2) as pool:
            postgres.connect(f"{sockets}/.s.PGSQL.5432")
            pool.submit(self.copy, self.request, postgres)
            pool.submit(self.copy, postgres, self.request)

    @staticmethod
    def copy(source: socket.socket, target: socket.socket) -> None:
        while chunk := source.recv(4096):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def over_tcp() -> Iterator[dict[str, Any]]:
    """The address of Postgres, if it were on another machine."""
    server = socketserver.ThreadingTCPServer((HOST, 0), Forwarder)
    threading.Thread(target=server.serve_forever, args=(0.05,)).start()
    host, port = server.server_address[:2]
    yield {"host": host, "port": port}
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("parameters", [connection.get_connection_params, connector_params])
def test_a_database_whose_host_is_gone_is_given_up_soon(
    over_tcp: dict[str, Any], parameters: Callable[[], dict[str, Any]]
) -> None:
    """What the kernel is told (tcp(7)): 10 seconds for what was sent, and to ask after 5 seconds of silence."""
    with psycopg.connect(**parameters() | over_tcp) as database:
        assert database.execute("SELECT 1").fetchone() == (1,)
        with socket.socket(fileno=os.dup(database.fileno())) as connected:
            assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            told = [connected.getsockopt(socket.IPPROTO_TCP, option) for option in WHEN_SILENT]
    assert told == [10_000, 5, 3, 3]


WHEN_SILENT = (
    socket.TCP_USER_TIMEOUT,
    socket.TCP_KEEPIDLE,
    socket.TCP_KEEPINTVL,
    socket.TCP_KEEPCNT,
)


@pytest.fixture
def exhausted(api: APIClient) -> Iterator[None]:
    """Every connection that Postgres has is somebody else's."""
    parameters = connection.get_connection_params()
    parameters.pop("cursor_factory", None)
    parameters.pop("context", None)
    connection.close()
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(psycopg.connect(**parameters))
            except psycopg.OperationalError:
                break
        yield


def test_no_connection_is_left(api: APIClient, exhausted: None) -> None:
    began = time.monotonic()
    assert api.get("/livez").status_code == 200
    assert api.get("/readyz").status_code == 503
    assert refusal(api.get(f"{API}/images")) == (503, "database_unavailable")
    assert refusal(send(api, pictures.jpeg())) == (503, "database_unavailable")
    assert time.monotonic() - began < SOON


# --- disks ----------------------------------------------------------------------------------------


@contextmanager
def full(table: str) -> Iterator[None]:
    """What Postgres says of a table when its disk is full (SQLSTATE 53100)."""
    sql(FULL)
    sql(f"CREATE TRIGGER full_disk BEFORE INSERT ON {table} EXECUTE FUNCTION full_disk()")
    try:
        yield
    finally:
        sql("DROP FUNCTION full_disk CASCADE")


FULL = """
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE disk_full USING MESSAGE = 'could not extend file: No space left on device'; END $$
"""


def sql(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def test_the_disk_of_the_database_is_full(
    api: APIClient, work: Work, storage: ImageStorage
) -> None:
    body = pictures.jpeg()
    staged = send(api, body).json()["id"]
    with full("media_api_upload"):
        assert refusal(send(api, body)) == (503, "database_unavailable")
    with full("media_api_image"):
        work()
        assert waits(staged)
    wait_until_kept({staged}, work)
    assert {key.split("/")[1] for key in objects(storage)} == {staged}


def test_the_disk_of_the_worker_is_full(api: APIClient, work: Work, tmp_path: Path) -> None:
    """Its temporary file cannot grow: RLIMIT_FSIZE, which needs no right to mount anything."""
    body = pictures.jpeg(2400, 1800, quality=100)
    assert len(body) > FILE_LIMIT
    staged = send(api, body).json()["id"]
    command = [sys.executable, "manage.py", "procrastinate", "worker", "--one-shot"]
    done = subprocess.run(
        command,
        env=os.environ
        | {
            "DATABASE_URL": database_of_the_test(),
            "S3_UPLOAD_ACCESS_KEY_ID": "another",  # as must be where this is not embedded
            "TMPDIR": str(tmp_path),
        },
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (FILE_LIMIT, FILE_LIMIT)),
        capture_output=True,
        text=True,
    )
    assert "job_retried" in done.stderr
    assert "File too large" in done.stderr
    assert waits(staged)
    assert list(tmp_path.iterdir()) == []
    wait_until_kept({staged}, work)


FILE_LIMIT = 1024 * 1024
