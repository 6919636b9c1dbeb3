"""The rows of our tables in files, as COPY writes and reads them.

Not pg_dump: it is no part of Python, has to be at least as new as the server, and is not in our image. The text of
COPY goes into every version of Postgres whose tables have the same columns; the migrations see to that.
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import BinaryIO, LiteralString

from django.apps import apps
from django.core.management.color import no_style
from django.db import connection, transaction
from django.db.migrations.recorder import MigrationRecorder
from django.db.models import Model
from psycopg import sql

# What is under way, over soon, or counted by triggers. Everybody signs in again.
LEFT_OUT = {
    "django_session",
    "media_api_hold",
    "media_api_idempotencykey",
    "media_api_imagetag",
    "media_api_signinlink",
    "media_api_throttle",
    "media_api_upload",
    "media_api_usage",
}

CHUNK = 256 * 1024


def tables() -> dict[str, type[Model]]:
    """Every table of ours that is there, by its name, those between many and many too; not the queue's."""
    there = set(connection.introspection.table_names())
    models = apps.get_models(include_auto_created=True)
    managed = {model._meta.db_table: model for model in models if model._meta.managed}
    return {name: model for name, model in managed.items() if name in there}


def kept_tables() -> dict[str, type[Model]]:
    """Those whose rows are worth keeping."""
    return {name: model for name, model in tables().items() if name not in LEFT_OUT}


def columns(model: type[Model]) -> list[str]:
    return [str(field.column) for field in model._meta.local_concrete_fields if not field.generated]


def migrations() -> dict[str, str]:
    """The last one that was applied of each app: what the columns are is theirs to say."""
    applied = MigrationRecorder(connection).applied_migrations()
    names = {app.label for app in apps.get_app_configs()} - {"procrastinate"}
    return {app: name for app, name in sorted(applied) if app in names}


@contextmanager
def snapshot() -> Iterator[None]:
    """What is read in the block is of one moment, however long it takes."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            cursor.execute(
                "SET LOCAL idle_in_transaction_session_timeout = 0"
            )  # a disk may be slow
        yield


def copy_out(model: type[Model], names: list[str], write: Callable[[bytes], object]) -> int:
    """These columns of all rows of a table, in the order of their keys; how many rows there are."""
    statement = sql.SQL("COPY (SELECT {} FROM {} ORDER BY {}) TO STDOUT").format(
        _names(names),
        sql.Identifier(model._meta.db_table),
        sql.Identifier(str(model._meta.pk.column)),
    )
    with connection.cursor() as cursor:
        with cursor.copy(statement) as copy:
            for block in copy:
                write(bytes(block))
        return int(cursor.rowcount)


def copy_in(model: type[Model], names: list[str], file: BinaryIO) -> None:
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(model._meta.db_table), _names(names)
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        while chunk := file.read(CHUNK):
            copy.write(chunk)


def digest_of(model: type[Model], names: list[str]) -> str:
    """SHA-256 of what `copy_out` writes."""
    digest = hashlib.sha256()
    copy_out(model, names, digest.update)
    return digest.hexdigest()


def lock_all() -> None:
    """Nobody else reads or writes anything but the queue until the end of the transaction."""
    _execute("LOCK TABLE {}")


def empty_all() -> None:
    _execute("TRUNCATE {}")


def _execute(statement: LiteralString) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL(statement).format(_names(tables())))


def count_on() -> None:
    """The next row that is written gets a number that no loaded one has."""
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), [*kept_tables().values()]):
            cursor.execute(statement)


def _names(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))
