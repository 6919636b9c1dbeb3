"""Waiting for the worker's verdict on an upload: woken by Postgres, never by a busy loop.

Each web process has one thread that LISTENs, started by the first who waits. It only wakes up early: whoever waits
looks at the row again at least once a second, so a lost connection costs a second and nothing else.
"""

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import psycopg
import structlog
from django.conf import settings
from django.db import connection

from .models import Upload

log = structlog.get_logger(__name__)

CHANNEL = "shoebox_verdict"
SLICE = 1.0


def tell(upload_id: uuid.UUID) -> None:
    """Wake those who wait for this upload, when the caller's transaction commits."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(upload_id)])


def wait(upload_id: uuid.UUID, *, seconds: float) -> None:
    """Return when there is nothing to be waited for any more, or after `seconds`.

    At most half of the threads of a process may wait at the same time; for whoever comes then it returns at once.
    """
    if seconds <= 0 or not _places.acquire(blocking=False):
        return
    try:
        with _woken(upload_id) as event:
            end = time.monotonic() + seconds
            while _is_waiting(upload_id) and (left := end - time.monotonic()) > 0:
                event.wait(min(left, SLICE))
                event.clear()
    finally:
        _places.release()


def _is_waiting(upload_id: uuid.UUID) -> bool:
    return Upload.objects.waiting().filter(id=upload_id).exists()


@contextmanager
def _woken(upload_id: uuid.UUID) -> Iterator[threading.Event]:
    """An event that is set when this upload gets its verdict."""
    _listener.start()
    event, name = threading.Event(), str(upload_id)
    with _lock:
        _events[name].add(event)
    try:
        yield event
    finally:
        with _lock:
            _events[name].discard(event)
            if not _events[name]:
                del _events[name]


class _Listener:
    """The one thread and connection of a process that hears what `tell` says."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="verdicts", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with suppress(psycopg.Error):
                self._listen()
            log.info("verdicts_not_heard")
            time.sleep(SLICE)

    def _listen(self) -> None:
        with psycopg.connect(**connection.get_connection_params(), autocommit=True) as heard:
            heard.execute(f"LISTEN {CHANNEL}")
            for notification in heard.notifies():
                with _lock:
                    for event in _events.get(notification.payload, ()):
                        event.set()


_lock = threading.Lock()
_events: defaultdict[str, set[threading.Event]] = defaultdict(set)
_places = threading.BoundedSemaphore(max(1, settings.WEB_THREADS // 2))
_listener = _Listener()
