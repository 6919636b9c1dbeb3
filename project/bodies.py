"""Bodies that are slow to arrive, so that nobody can hold every thread by sending nothing.

A thread belongs to its request until the body is read, and the server's own read cannot be interrupted. So another
thread reads, and that of the request looks at its clock. What is not here at once needs one of a few places, and what
comes too slowly is refused. Then the connection is closed, which also ends the read.
"""

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from io import BufferedReader, RawIOBase
from threading import BoundedSemaphore
from typing import TYPE_CHECKING, Any

from django.conf import settings

from media_api.exceptions import Busy, TooSlow

if TYPE_CHECKING:
    from _typeshed.wsgi import InputStream, StartResponse, WSGIApplication, WSGIEnvironment

AT_ONCE = 0.05  # seconds: what the client sent together with the head is here by then
CHUNK = 64 * 1024  # bytes that must arrive within BODY_TIMEOUT, or the rest of the body
FLUSH = 0.02  # seconds between an answer and the end of its connection


def patient(application: "WSGIApplication") -> "WSGIApplication":
    """The application, with bodies that raise Busy and TooSlow when they are read."""

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Any:
        size = int(environ.get("CONTENT_LENGTH") or 0)  # the server has looked at it
        if not size:
            return application(environ, start_response)
        body = Body(environ["wsgi.input"], size)
        environ["wsgi.input"] = BufferedReader(body, CHUNK)

        def start(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            return start_response(status, cut(headers) if body.is_refused else headers, *rest)

        try:
            response = application(environ, start)
        finally:
            body.give_place()
        return hanging_up(response) if body.is_refused else response

    return answer


class Body(RawIOBase):
    """`size` bytes from a stream. A place is held until the last of them is here."""

    def __init__(self, stream: "InputStream", size: int) -> None:
        self.is_refused = False
        self._stream = stream
        self._left = size
        self._has_place = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        chunk = self._read(min(len(buffer), CHUNK))
        buffer[: len(chunk)] = chunk
        self._left -= len(chunk)
        if not chunk or self._left <= 0:
            self.give_place()
        return len(chunk)

    def _read(self, size: int) -> bytes:
        arriving = _readers.submit(self._stream.read, size)
        try:
            return arriving.result(AT_ONCE)
        except TimeoutError:
            return self._wait(arriving)

    def _wait(self, arriving: Future[bytes]) -> bytes:
        self._has_place = self._has_place or _places.acquire(blocking=False)
        if not self._has_place:
            self.is_refused = True
            raise Busy from None
        try:
            return arriving.result(settings.BODY_TIMEOUT)
        except TimeoutError:
            self.is_refused = True
            raise TooSlow from None

    def give_place(self) -> None:
        if self._has_place:
            self._has_place = False
            _places.release()


def cut(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Promise a byte more than there is: the server closes the connection of an answer that ends too early."""
    kept = [(name, value) for name, value in headers if name != "Content-Length"]
    length = next(value for name, value in headers if name == "Content-Length")
    return [*kept, ("Content-Length", str(int(length) + 1)), ("Connection", "close")]


def hanging_up(response: Any) -> Iterator[bytes]:
    try:
        yield from response
        time.sleep(FLUSH)
    finally:
        response.close()


_readers = ThreadPoolExecutor(thread_name_prefix="bodies", max_workers=4 * settings.WEB_THREADS)
_places = BoundedSemaphore(max(1, settings.WEB_THREADS // 2 - 1))  # verdicts.wait takes half
