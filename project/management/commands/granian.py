"""The web server, whose processes share one app.

By itself granian has each of them load the app: a second of a processor, and 60 MiB. Here it is loaded once, before
they are forked, and what they do not change stays shared, also with one that is started again later.
"""

import gc
import multiprocessing
from importlib import import_module
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand
from granian import Granian
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP1Settings
from granian.log import LogLevels

HEAD_SIZE = 64 * 1024  # bytes of a request's head; each connection may hold as much


class Command(BaseCommand):
    help = "Run the web server on HOST and PORT, with WEB_WORKERS processes of WEB_THREADS threads."
    requires_system_checks = []

    def handle(self, **options: Any) -> None:
        multiprocessing.set_start_method("fork")  # Python 3.14 has another default
        load_application()
        Granian(
            "project.wsgi:application",
            address=settings.HOST,
            port=settings.PORT,
            interface=Interfaces.WSGI,
            http=HTTPModes.http1,
            http1_settings=HTTP1Settings(max_buffer_size=HEAD_SIZE),
            workers=settings.WEB_WORKERS,
            blocking_threads=settings.WEB_THREADS,
            respawn_failed_workers=True,
            workers_kill_timeout=10,
            log_level=LogLevels.error,
        ).serve()


def load_application() -> None:
    import_module(settings.WSGI_APPLICATION.rpartition(".")[0])
    import_module(settings.ROOT_URLCONF)  # else the first request of each process would wait for it
    gc.collect()
    gc.freeze()  # no later collection writes to these objects, which would copy their pages
