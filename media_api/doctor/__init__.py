"""What is wrong with an installation, and what to do about it: `manage.py doctor`.

Looks at the real database and bucket, from the most fundamental on. Nothing is changed, and the probes that it puts
into the bucket are gone in the end.
"""

import time
from collections.abc import Iterator
from http.client import HTTPException

from django.db import DatabaseError, InterfaceError, connection

from media_api.exceptions import StorageUnavailable

from . import bucket, database, machine, public
from .findings import Check, Finding, State, fail

__all__ = ["CHECKS", "Finding", "State", "examine"]

PATIENCE = 60  # seconds for all of it, in front of a store that takes its time

SETTLED = ("store", "bucket", "owner")  # nothing is put into somebody else's bucket
PUBLIC = (*SETTLED, "public address")

CHECKS = (
    Check("settings", machine.settings_hold),
    Check("decoders", machine.decoders_are_mended),
    Check("cage", machine.decoders_are_caged),
    Check("disk", machine.disk_has_room),
    Check("memory", machine.memory_suffices),
    Check("database", database.answers),
    Check("durability", database.commits_are_durable, ("database",)),
    Check("database clock", database.clocks_agree, ("database",)),
    Check("connections", database.connections_suffice, ("database",)),
    Check("migrations", database.is_migrated, ("database",)),
    Check("worker", database.a_worker_is_alive, ("database", "migrations")),
    Check("queue", database.queue_moves, ("database", "migrations")),
    Check("uploads", database.nothing_is_set_aside, ("database", "migrations")),
    Check("store", bucket.answers),
    Check("store clock", bucket.clocks_agree, ("store",)),
    Check("bucket", bucket.lets_us_in, ("store",)),
    Check("owner", bucket.is_ours, ("store", "bucket", "database", "migrations")),
    Check("removal", bucket.is_cleared, SETTLED),
    Check("private", bucket.is_private, SETTLED),
    Check("upload", bucket.takes_uploads, SETTLED),
    Check("signed length", bucket.holds_length, (*SETTLED, "upload")),
    Check("signed type", bucket.holds_type, (*SETTLED, "upload")),
    Check("expiry", bucket.holds_expiry, (*SETTLED, "upload")),
    Check("upload identity", bucket.upload_identity_only_puts, SETTLED),
    Check("conditional put", bucket.puts_once, (*SETTLED, "upload")),
    Check("range", bucket.gives_ranges, SETTLED),
    Check("parts", bucket.takes_parts, SETTLED),
    Check("public address", public.answers, ("store",)),
    Check("public link", public.shows_links, PUBLIC),
    Check("public upload", public.takes_uploads, (*PUBLIC, "upload")),
    Check("cors", public.lets_pages_in, PUBLIC),
)


def examine() -> Iterator[tuple[str, Finding]]:
    """The name of each check with what was found, as soon as it is."""
    failed: set[str] = set()
    end = time.monotonic() + PATIENCE
    try:
        for check in CHECKS:
            missing = [f'see "{name}"' for name in check.needs if name in failed]
            if time.monotonic() >= end:
                missing.append("the time was over")
            finding = _left_out(missing[0]) if missing else _looked_at(check)
            if finding.state is State.FAIL:
                failed.add(check.name)
            yield check.name, finding
    finally:
        connection.close()


def _left_out(why: str) -> Finding:
    return Finding(State.SKIPPED, f"Not looked at: {why}.")


def _looked_at(check: Check) -> Finding:
    try:
        return check.look()
    except StorageUnavailable as error:
        return fail(f"The store does not do it: {bucket.reason(error)}.", "See the store's log.")
    except (DatabaseError, InterfaceError) as error:
        return fail(f"The database does not do it: {database.reason(error)}.", "See its log.")
    except (OSError, HTTPException) as error:
        return fail(f"No answer, or half of one: {error}.", "See the store's log.")
