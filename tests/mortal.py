"""A web server that is killed where it is told: `python -m tests.mortal`.

It prints its port. Of its input every other line is a point, or empty, and begins a life: a process that serves until
it gets to that point, where it is killed. A number is a point too: so many seconds after it has taken a request. The
next line ends that life, if it has not ended yet. Between two lives whoever connects waits for the next.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable
from typing import IO, Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django

if __name__ == "__main__":
    django.setup()

from django.core.signals import request_started
from django.core.wsgi import get_wsgi_application
from django.db import transaction
from django.db.models.signals import post_save, pre_save

from media_api import queue, uploads
from media_api.models import Upload
from media_api.storage import image_storage


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def on_commit(**_: Any) -> None:
    transaction.on_commit(die)


def when_saved(state: str, then: Callable[..., None]) -> None:
    def look(instance: Upload, **_: Any) -> None:
        if instance.state == state:
            then()

    post_save.connect(look, Upload, weak=False)


def when_enqueued(then: Callable[..., None]) -> None:
    def enqueue(*arguments: Any, **options: Any) -> None:
        queue.enqueue(*arguments, **options)
        then()

    vars(uploads)["enqueue"] = enqueue


class Cut:
    """A body, of which about a half can be read."""

    def __init__(self, body: IO[bytes]) -> None:
        self.body, self.left = body, os.fstat(body.fileno()).st_size // 2

    def read(self, size: int = -1) -> bytes:
        if self.left <= 0:
            die()
        chunk = self.body.read(min(size, self.left))
        self.left -= len(chunk)
        return chunk

    def __getattr__(self, name: str) -> Any:
        return getattr(self.body, name)


def cut(request: Any, **_: Any) -> None:
    request.body = Cut(request.body)


def at_the_bucket(event: str, then: Callable[..., None] = die) -> None:
    image_storage().client.meta.events.register(event, then)


def die_within(seconds: float) -> None:
    def begin(**_: Any) -> None:
        threading.Timer(seconds, die).start()

    request_started.connect(begin, weak=False)


def before_the_answer() -> None:
    server.set_app(unanswered)


def unanswered(environ: Any, start_response: Any) -> Iterable[bytes]:
    application(environ, start_response)
    die()
    return []


POINTS: dict[str, Callable[[], object]] = {
    "": lambda: None,
    "before the row": lambda: pre_save.connect(die, Upload),
    "row not committed": lambda: when_saved("announced", die),
    "row committed": lambda: when_saved("announced", on_commit),
    "before the parts": lambda: at_the_bucket("before-send.s3.CreateMultipartUpload"),
    "parts begun": lambda: at_the_bucket("after-call.s3.CreateMultipartUpload"),
    "half of it put": lambda: at_the_bucket("before-send.s3.PutObject", cut),
    "all of it put": lambda: at_the_bucket("after-call.s3.PutObject"),
    "staged, not committed": lambda: when_enqueued(die),
    "staged": lambda: when_enqueued(on_commit),
    "before the answer": before_the_answer,
}


class Silent(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def live(point: str) -> int:
    """The id of a process that serves until it gets to the point."""
    if pid := os.fork():
        return pid
    if point in POINTS:
        POINTS[point]()
    else:
        die_within(float(point))
    server.serve_forever()
    raise AssertionError


if __name__ == "__main__":
    application = get_wsgi_application()
    server = make_server("127.0.0.1", 0, application, handler_class=Silent)
    print(server.server_port, flush=True)
    for point in sys.stdin:
        pid = live(point.strip())
        sys.stdin.readline()
        os.kill(pid, signal.SIGKILL)  # nobody else has its id before it is waited for
        os.waitpid(pid, 0)
