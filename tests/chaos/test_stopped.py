"""Workers that stand still in the middle of a job, each at another point, and wake up when others have done it."""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import pytest

from media_api.faults import Point
from tests.chaos.clients import Client, a_jpeg
from tests.chaos.history import Picture, State
from tests.chaos.run import Plan, Run
from tests.serving import wait_until

TAKEN_OVER = 60  # seconds until the jobs of a worker that stands still are another's
DONE = 180  # seconds until nine of them are done, on a busy machine
NOT_TAKEN_OVER = "SELECT 1 FROM procrastinate_jobs WHERE task_name = 'examine' AND attempts = 0"


class Fate(Enum):
    """What becomes of a picture before its first worker wakes up."""

    KEPT = auto()
    PURGED = auto()
    REPLACED = auto()  # other bytes were sent to where it was staged


FATES: dict[Point, Fate] = {
    "job_taken": Fate.KEPT,
    "object_half_read": Fate.PURGED,
    "hashed": Fate.REPLACED,
    "in_the_cage": Fate.KEPT,
    "hash_settled": Fate.REPLACED,
    "object_to_keep": Fate.PURGED,
    "object_kept": Fate.REPLACED,
    "keeping": Fate.KEPT,
    "kept": Fate.PURGED,
}


@dataclass(frozen=True)
class Stopped:
    """A worker that stands still, and the picture that it was at."""

    worker: "subprocess.Popen[bytes]"
    picture: Picture
    upload: dict[str, Any]


@pytest.fixture
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Without a worker but those that the test starts."""
    run = Run(tmp_path_factory.mktemp("stopped"), "rclone", seed="stopped", workers=0)
    yield run
    run.close()


@pytest.fixture
def client(run: Run) -> Iterator[Client]:
    client = Client("ann", run.deployment, run.history, run.seed)
    client.wait = 0
    yield client
    client.close()


@pytest.fixture
def workers(run: Run) -> Iterator[ExitStack]:
    with ExitStack() as workers:
        yield workers


def test_who_wakes_up_late_changes_nothing(run: Run, client: Client, workers: ExitStack) -> None:
    stopped = {}
    for point, fate in FATES.items():
        one = stopped[point] = stop_a_worker_at(point, run, client, workers)
        if fate is Fate.REPLACED:
            client.put(one.upload, bytes(one.upload["size"]))
            one.picture.may_become(State.GONE)  # unless another was quicker to take it over
    start_a_worker(run, workers)
    wait_until(lambda: not run.deployment.execute(NOT_TAKEN_OVER), seconds=TAKEN_OVER)
    wait_until(lambda: not staged(run), seconds=DONE)
    for point, one in stopped.items():
        if FATES[point] is Fate.PURGED:
            client.delete_for_good(one.picture)
    run.until_none("SELECT 1 FROM media_api_pendingdeletion WHERE removed_at IS NULL")
    for one in stopped.values():
        one.worker.send_signal(signal.SIGCONT)
        one.worker.terminate()  # when it has done what it was at
    for one in stopped.values():
        one.worker.wait(30)
    run.settle()
    assert run.found() == []


def stop_a_worker_at(point: Point, run: Run, client: Client, workers: ExitStack) -> Stopped:
    worker = start_a_worker(run, workers)
    body = a_jpeg(client.dice)
    picture = client.new(body)
    upload = client.announced(picture, body)
    assert upload
    client.put(upload, body)
    client.complete(picture, upload, body)
    hit = run.hit(Plan(point, "stop"))
    assert hit
    assert hit.read_text() == f"hit {worker.pid}"
    return Stopped(worker, picture, upload)


def start_a_worker(run: Run, workers: ExitStack) -> "subprocess.Popen[bytes]":
    worker = run.deployment.command("procrastinate", "worker")
    workers.callback(worker.wait)
    workers.callback(worker.kill)
    return worker


def staged(run: Run) -> list[tuple[Any, ...]]:
    return run.deployment.execute("SELECT 1 FROM media_api_upload WHERE state = 'staged'")
