"""What must hold of Postgres, and of the queue in it."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection
from django.db.migrations.executor import MigrationExecutor
from django.db.models import Min, Q
from django.db.models.functions import Coalesce
from procrastinate.contrib.django.models import ProcrastinateJob, ProcrastinateWorker

from media_api.models import Upload, database_now

from .findings import Finding, clock, fail, ok, start_it, warn

OLDEST = 14  # what Postgres itself still mends
HEARTBEAT = timedelta(seconds=30)  # older than that, and others take over (`tasks.retry_stalled`)
LONGEST_WAIT = timedelta(minutes=5)


def answers() -> Finding:
    begin = time.monotonic()
    try:
        connection.ensure_connection()
    except OperationalError as error:
        return fail(
            f"The database does not let us in: {reason(error)}.",
            start_it("See whether it runs, and DATABASE_URL and DATABASE_PASSWORD."),
        )
    took = time.monotonic() - begin
    _one(
        "SELECT set_config('statement_timeout', '5s', false)"
    )  # the connection is closed at the end
    version = _one("SHOW server_version")
    if int(_one("SHOW server_version_num")) < OLDEST * 10_000:
        return fail(f"PostgreSQL {version} is too old.", f"Upgrade to {OLDEST} or newer.")
    return ok(f"PostgreSQL {version} lets us in within {took * 1000:.0f} ms.")


def reason(error: Exception) -> str:
    return str(error).partition("\n")[0].rstrip(".")


def _one(statement: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchone()[0]


def commits_are_durable() -> Finding:
    names = ("fsync", "synchronous_commit", "full_page_writes")
    off = [name for name in names if _one(f"SHOW {name}") == "off"]
    if off:
        settings_are = f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off"
        return fail(
            f"{settings_are}: what was acknowledged can be lost when the machine goes down.",
            "".join(f"ALTER SYSTEM SET {name} = on; " for name in off) + "SELECT pg_reload_conf();",
        )
    return ok(f"{', '.join(names)} are on.")


def is_migrated() -> Finding:
    executor = MigrationExecutor(connection)
    pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    unknown = executor.loader.applied_migrations.keys() - executor.loader.disk_migrations.keys()
    if pending:
        first = pending[0][0]
        return fail(
            f"Migrations that are missing: {len(pending)}, first {first.app_label}.{first.name}.",
            "Run `manage.py migrate`.",
        )
    if unknown:
        return warn(
            f"The database was migrated by newer code ({'.'.join(min(unknown))}).",
            "Start the version of Shoebox that it belongs to.",
        )
    return ok("All migrations are applied.")


def clocks_agree() -> Finding:
    return clock("the database", (database_now() - datetime.now(UTC)).total_seconds())


def connections_suffice() -> Finding:
    """Each thread has one; each web process listens on one more, and so does the worker, which also has a pool."""
    needed = settings.WEB_WORKERS * (settings.WEB_THREADS + 1) + settings.WORKER_CONCURRENCY + 4
    left = _one(
        "SELECT current_setting('max_connections')::int"
        " - current_setting('superuser_reserved_connections')::int"
        " - coalesce(sum(numbackends), 0)::int FROM pg_stat_database WHERE datname <> current_database()"
    )
    if left < needed:
        return warn(
            f"One app and one worker need up to {needed} connections, and there are {left}.",
            "Raise max_connections, or lower WEB_WORKERS, WEB_THREADS or WORKER_CONCURRENCY.",
        )
    return ok(f"{left} connections, of which one app and one worker need up to {needed}.")


def a_worker_is_alive() -> Finding:
    since = database_now() - HEARTBEAT
    alive = ProcrastinateWorker.objects.filter(last_heartbeat__gte=since).count()
    if not alive:
        return fail(
            f"No worker has given a sign of life for {HEARTBEAT.seconds} s: uploads wait.",
            start_it("Start one with `manage.py procrastinate worker`, and see its log."),
        )
    return ok(f"Workers that are alive: {alive}.")


def queue_moves() -> Finding:
    now = database_now()
    due = ProcrastinateJob.objects.filter(
        Q(scheduled_at=None) | Q(scheduled_at__lte=now), status="todo"
    )
    since = due.annotate(since=Coalesce("scheduled_at", Min("procrastinateevent__at"))).aggregate(
        oldest=Min("since")
    )["oldest"]
    if since and now - since > LONGEST_WAIT:
        minutes = (now - since).total_seconds() / 60
        return warn(
            f"Jobs that wait: {due.count()}, the oldest for {minutes:.0f} minutes.",
            "See what the worker's log says; start more workers, or raise WORKER_CONCURRENCY.",
        )
    if failed := ProcrastinateJob.objects.filter(status="failed", queueing_lock=None).count():
        return warn(
            f"Jobs that were given up: {failed}.",
            "See what the worker's log says at job_given_up; after that is mended run `manage.py retry`.",
        )
    return ok(f"Jobs that wait: {due.count()}.")


def nothing_is_set_aside() -> Finding:
    if count := Upload.objects.set_aside().count():
        return warn(
            f"Uploads that could not be looked at and are set aside: {count}.",
            "See what the worker's log says at upload_failed; after that is mended run `manage.py retry`.",
        )
    return ok("No upload is set aside.")
