"""How many threads may wait for the bucket at once: a web server has other requests, which need only the database.

Whoever asks the bucket is a waiter until it has answered. One too many waits until one less does, but not for long. If
nobody was answered in that time the bucket is stuck: then one too many is told so at once, until somebody is answered.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from .exceptions import StorageUnavailable

PATIENCE = 2.0  # seconds
ANY = 1000


class Waiters:
    def __init__(self) -> None:
        self.limit(ANY)

    def limit(self, count: int) -> None:
        self._places = threading.BoundedSemaphore(count)
        self._patience = PATIENCE

    @contextmanager
    def one_more(self) -> Iterator[None]:
        """While the bucket is asked. Raises StorageUnavailable."""
        places = self._places
        if not places.acquire(timeout=self._patience):
            self._patience = 0.0
            raise StorageUnavailable
        try:
            yield
            self._patience = PATIENCE
        finally:
            places.release()


waiters = Waiters()
