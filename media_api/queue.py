"""The queue: jobs are rows in the same Postgres, so they begin and vanish with the transaction that they belong to."""

import uuid
from collections.abc import Iterable

import structlog
from procrastinate.contrib.django import app


def enqueue(task: str, argument: str, ids: Iterable[uuid.UUID]) -> None:
    """Add a job for each id, by the name of the task. The request's id follows into the jobs' log lines."""
    request_id = structlog.contextvars.get_contextvars().get("request_id", "")
    app.configure_task(task, allow_unknown=False).batch_defer(
        *({argument: str(id), "request_id": request_id} for id in ids)
    )
