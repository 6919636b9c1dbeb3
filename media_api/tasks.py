"""The worker's jobs: each calls one function, may run twice at the same time, and is retried until it is done.

None is retried for ever because of a fault of ours. `examine` counts by itself and sets its upload aside. The others
are given up after TRIES, and the clock meets what they leave: `check_content` mends descriptions, `purge_due` purges.
"""

import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from django.contrib.sessions.models import Session
from django.db import DatabaseError, InterfaceError
from django.db.models.functions import Now
from procrastinate import BaseRetryStrategy, RetryDecision
from procrastinate.contrib.django import app
from procrastinate.jobs import Job

from . import damage, examination, holds, images, retries, sweeps
from .faults import fault_point
from .models import SignInLink, database_now
from .queue import FIRST, OUTAGES

log = structlog.get_logger(__name__)

LONGEST_WAIT = 60
LONG_AGO = datetime.fromtimestamp(0, UTC)  # due by any clock
TRIES = 10


class UntilDone(BaseRetryStrategy):
    """1, 2, 4, ... at most 60 seconds apart, without end; or `tries` in all, if what the last one met is no outage."""

    def __init__(self, *, tries: int | None = None) -> None:
        self.tries = tries

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:
        is_last = self.tries is not None and job.attempts + 1 >= self.tries
        if is_last and not isinstance(exception, OUTAGES):
            log.error("job_given_up", task=job.task_name, **told(job), exc_info=exception)
            return None
        log.warning("job_retried", task=job.task_name, **told(job), exc_info=exception)
        failed_at = getattr(exception, "failed_at", datetime.now(UTC))
        wait = timedelta(seconds=min(2 ** min(job.attempts, 10), LONGEST_WAIT))
        return RetryDecision(retry_at=failed_at + wait)


def told(job: Job) -> dict[str, Any]:
    """Its arguments, as they fit on a line: of a list the length."""
    arguments = job.task_kwargs.items()
    return {name: len(value) if isinstance(value, list) else value for name, value in arguments}


def dated(do: Callable[[], Any], *_: Any) -> Any:
    """Put the moment of a failure on it, by the database's clock, which says when a job is due.

    Here, because this is the job's own thread: where the strategy is asked, nothing may wait for the database.
    """
    try:
        return do()
    except Exception as error:
        with suppress(DatabaseError, InterfaceError):
            error.failed_at = database_now()  # type: ignore[attr-defined]
        raise


@app.task(name="examine", retry=UntilDone(), task_middleware=[dated])
def examine(*, upload_id: str, request_id: str = "") -> None:
    with structlog.contextvars.bound_contextvars(request_id=request_id, upload_id=upload_id):
        examination.examine(uuid.UUID(upload_id))


@app.task(name="describe", retry=UntilDone(tries=TRIES), task_middleware=[dated])
def describe(*, image_id: str, request_id: str = "") -> None:
    with structlog.contextvars.bound_contextvars(request_id=request_id, image_id=image_id):
        images.describe_again(uuid.UUID(image_id))


@app.task(name="purge", retry=UntilDone(tries=TRIES), task_middleware=[dated])
def purge(*, image_ids: Sequence[str] = (), image_id: str = "", request_id: str = "") -> None:
    """`image_id` is that of a job which waited when the service was upgraded."""
    with structlog.contextvars.bound_contextvars(request_id=request_id):
        images.purge([uuid.UUID(text) for text in image_ids or [image_id]])


def periodic(
    name: str, cron: str, *, priority: int = FIRST
) -> Callable[[Callable[[], object]], None]:
    """Run a function by the clock, one at a time. A failure is logged, and waits for the next turn."""

    def register(function: Callable[[], object]) -> None:
        @app.periodic(cron=cron)
        @app.task(name=name, queueing_lock=name, priority=priority)
        def turn(timestamp: int) -> None:
            try:
                function()
            except Exception:
                log.exception("turn_failed", task=name)

    return register


periodic("purge_due", "* * * * *")(images.purge_due)
periodic("expire_overdue", "* * * * *")(sweeps.expire_overdue)
periodic("enqueue_forgotten", "*/5 * * * *")(retries.enqueue_forgotten)
periodic("take_turn", "*/10 * * * *")(holds.take_turn)
periodic("sweep_staging", "*/15 * * * *")(sweeps.sweep_staging)
periodic("check_content", "* * * * *", priority=0)(damage.check_content)  # it takes long
periodic("empty_old_trash", "7 * * * *")(images.empty_old_trash)
periodic("forget_throttles", "23 * * * *")(sweeps.forget_throttles)
periodic("forget_idempotency_keys", "37 * * * *")(sweeps.forget_idempotency_keys)


@app.periodic(cron="* * * * * */10")  # the sixth field is that of the seconds
@app.task(name="retry_stalled", queueing_lock="retry_stalled", priority=FIRST)
async def retry_stalled(timestamp: int) -> None:
    """Give the jobs of a worker that died to those that live."""
    for job in await app.job_manager.get_stalled_jobs():
        fault_point("stalled_found")
        await app.job_manager.retry_job(job, retry_at=LONG_AGO)


@app.periodic(cron="13 3 * * *")
@app.task(name="forget_sign_ins", queueing_lock="forget_sign_ins", priority=FIRST)
def forget_sign_ins(timestamp: int) -> None:
    """Sessions and sign-in links that are over."""
    Session.objects.filter(expire_date__lt=Now()).delete()
    SignInLink.objects.filter(expires_at__lt=Now()).delete()
