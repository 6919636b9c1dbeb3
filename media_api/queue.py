"""The queue: jobs are rows in the same Postgres, so they begin and vanish with the transaction that they belong to."""

import asyncio
import uuid
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal

import psycopg
import structlog
from django.db import InterfaceError, OperationalError, transaction
from django.db.models.fields.json import KT
from django.utils import timezone
from procrastinate import App, PsycopgConnector
from procrastinate.connector import BaseAsyncConnector
from procrastinate.contrib.django import app
from procrastinate.contrib.django.django_connector import DjangoConnector
from procrastinate.contrib.django.models import ProcrastinateJob
from procrastinate.contrib.django.utils import connector_params
from procrastinate.exceptions import ConnectorException
from procrastinate.tasks import configure_task

from .exceptions import DatabaseUnavailable, ForeignBucket, StorageUnavailable

# Faults of the bucket, the database or the machine. They say nothing about a job, however often they come back.
OUTAGES = (
    StorageUnavailable,
    ForeignBucket,
    DatabaseUnavailable,
    OperationalError,
    InterfaceError,
    OSError,  # any: where the disk is full, `tempfile` says that there is no folder
)

# Of a higher priority a job is done before others. To examine a picture has 0 to MOST_WAITING, by how many of its owner
# wait already: nobody waits behind all that another has sent. What takes a moment waits behind no picture.
MOST_WAITING = 999
FIRST = 1000


def enqueue(
    task: Literal["examine", "describe", "purge"],
    argument: str,
    values: Iterable[uuid.UUID | Sequence[uuid.UUID]],
    *,
    priority: int = FIRST,
) -> None:
    """Add a job for each id, or list of ids, by the name of the task: to look for the task itself would load what only
    a worker needs.

    The request's id follows into the jobs' log lines. Raises DatabaseUnavailable.
    """
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    try:
        configure_task(name=task, job_manager=app.job_manager, priority=priority).batch_defer(
            *({argument: _told(value), "request_id": request_id} for value in values)
        )
    except ConnectorException as error:
        if isinstance(error.__cause__, psycopg.OperationalError | psycopg.InterfaceError):
            raise DatabaseUnavailable from error
        raise


def _told(value: uuid.UUID | Sequence[uuid.UUID]) -> str | list[str]:
    return str(value) if isinstance(value, uuid.UUID) else [str(id) for id in value]


def arguments(task: str, argument: str) -> set[str]:
    """The ids that the jobs of a task have which wait or are being done."""
    jobs = ProcrastinateJob.objects.filter(task_name=task, status__in=["todo", "doing"])
    return set(jobs.values_list(KT(f"args__{argument}"), flat=True))


def retry_failed() -> int:
    """Let the jobs that were given up be tried once more. How many there were."""
    jobs = ProcrastinateJob.objects.filter(status="failed", queueing_lock=None)
    with transaction.atomic():
        failed = list(jobs.select_for_update(skip_locked=True).values_list("id", flat=True))
        for job_id in failed:
            app.job_manager.retry_job_by_id(job_id, retry_at=timezone.now())
    return len(failed)


# --- the worker's connections ---------------------------------------------------------------------

# Seconds that a worker at work waits for a connection, before it ends and is started again.
PATIENCE = 4.0
PAUSE = 1.0  # seconds between the attempts of one that starts


class WorkerConnector(PsycopgConnector):
    """Back soon after the database is. The library's own would wait half a minute, and longer each time, also to say
    that it stops; one that starts asks every second here, for as long as it takes."""

    def __init__(self, parameters: dict[str, Any]) -> None:
        super().__init__(kwargs=parameters, timeout=PATIENCE)
        self.parameters = parameters

    async def open_async(self, pool: Any = None) -> None:
        while not await self._is_there():
            await asyncio.sleep(PAUSE)
        await super().open_async(pool)

    async def _is_there(self) -> bool:
        with suppress(psycopg.OperationalError):
            connection = await psycopg.AsyncConnection.connect(**self.parameters)
            await connection.close()
            return True
        return False


class Connector(DjangoConnector):
    def get_worker_connector(self) -> BaseAsyncConnector:
        return WorkerConnector(connector_params())


def connect(app: App) -> None:
    """PROCRASTINATE_ON_APP_READY."""
    app.connector = Connector()
