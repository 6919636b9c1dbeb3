"""The queue: jobs are rows in the same Postgres, so they begin and vanish with the transaction that they belong to."""

import uuid
from collections.abc import Iterable

import psycopg
import structlog
from procrastinate.contrib.django import app
from procrastinate.exceptions import ConnectorException

from .exceptions import DatabaseUnavailable


def enqueue(task: str, argument: str, ids: Iterable[uuid.UUID], *, priority: int = 0) -> None:
    """Add a job for each id, by the name of the task; of a higher priority it is done before others.

    The request's id follows into the jobs' log lines. Raises DatabaseUnavailable.
    """
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    try:
        app.configure_task(task, allow_unknown=False, priority=priority).batch_defer(
            *({argument: str(id), "request_id": request_id} for id in ids)
        )
    except ConnectorException as error:
        if isinstance(error.__cause__, psycopg.OperationalError | psycopg.InterfaceError):
            raise DatabaseUnavailable from error
        raise
