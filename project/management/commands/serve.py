"""`make run`: the whole service on one machine, under one parent.

Postgres and the bucket come first; the worker waits for the tables. A child that ends is started again.
When the parent ends, however it does, so do all of them: web server, worker, bucket, Postgres.

The parent needs no models, and has yet to write what the settings of its children will read: manage.py
starts it without django.setup(), which also saves it a second and 45 MB.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from project import embedded
from project.embedded import AlreadyRunning, Bucket, Child, NotStarted, Postgres
from project.embedded.addresses import reachable, refusal

PAUSE = 1.0  # seconds before a child that ended is started again


class Web(Child):
    """Ready when /readyz is: the workers have loaded the app, and the database has its tables."""

    patience = 12.0  # requests that have begun are answered

    def __init__(self, host: str, public_url: str, environment: Mapping[str, str]) -> None:
        self.address = reachable(host), settings.PORT
        self.public_name = urlsplit(public_url).netloc
        super().__init__(
            "The web server", _manage("granian"), environment={**environment, "HOST": host}
        )

    def is_ready(self) -> bool:
        connection = HTTPConnection(*self.address, timeout=5)
        try:
            connection.request("GET", "/readyz", headers={"Host": self.public_name})
            return connection.getresponse().status == 200
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()


class Worker(Child):
    patience = 4.0
    orphan_signal = signal.SIGKILL  # without a database it would take half a minute to stop

    def __init__(self, environment: Mapping[str, str]) -> None:
        super().__init__("The worker", _manage("procrastinate", "worker"), environment=environment)


class Command(BaseCommand):
    help = "Run Shoebox with all that it needs on this machine."
    requires_system_checks = []

    def handle(self, **options: Any) -> None:
        if not settings.EMBEDDED:
            raise CommandError(
                "serve is for the embedded mode: it brings what DATABASE_URL and S3_ENDPOINT_URL name."
            )
        host, public_host = _hosts()
        for number in (signal.SIGINT, signal.SIGTERM):  # a shell's background job ignores the first
            signal.signal(number, signal.default_int_handler)
        try:
            with embedded.lock(settings.DATA):
                _refuse_busy(host, settings.PORT)
                chosen = embedded.configure(
                    settings.DATA, host=host, port=settings.PORT, public_host=public_host
                )
                self._serve(host, chosen)
        except AlreadyRunning:
            raise CommandError(f"Shoebox is already running in {settings.DATA}.") from None
        except NotStarted as error:
            raise CommandError(str(error)) from error
        except KeyboardInterrupt:
            self._say("Shoebox has stopped.")

    def _serve(self, host: str, chosen: Mapping[str, str]) -> None:
        postgres, bucket = _services(host, chosen)
        environment = _for_children(chosen)
        worker = Worker(environment)
        web = Web(host, chosen["PUBLIC_URL"], environment)
        children = [postgres, bucket, worker, web]
        try:
            web.start()  # loads meanwhile, and is not ready before the tables are made
            postgres.start()
            bucket.start()
            link = _prepare(environment)
            web.wait_until(web.is_ready, seconds=120)
            worker.start()
            self._announce(chosen, link)
            self._watch(children)
        finally:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            for child in reversed(children):
                child.stop()

    def _announce(self, chosen: Mapping[str, str], link: str) -> None:
        self._say(f"Shoebox is ready at {chosen['PUBLIC_URL']}/")
        self._say(f"Pictures come from {chosen['S3_PUBLIC_ENDPOINT_URL']}/")
        self._say(f"Sign in, once and within 15 minutes: {link}")
        self._say("Ctrl-C stops it.")

    def _watch(self, children: Sequence[Child]) -> None:
        while True:
            for child in children:
                if child.exit_code is not None:
                    self._revive(child)
            time.sleep(0.2)

    def _revive(self, child: Child) -> None:
        child.kill()  # what is left of its group
        self._say(f"{child.name} ended with code {child.exit_code} and is started again.")
        time.sleep(PAUSE)
        try:
            child.start()
        except NotStarted as error:
            self._say(str(error))

    def _say(self, sentence: str) -> None:
        self.stdout.write(sentence)
        self.stdout.flush()


def _hosts() -> tuple[str, str]:
    """Where to listen, and the name that browsers need when that is not this machine alone."""
    host = "127.0.0.1" if settings.HOST == "localhost" else settings.HOST
    public_host = os.environ.get("PUBLIC_HOST", "")
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        raise CommandError(
            f"HOST is an address, such as 127.0.0.1 or 0.0.0.0, not {host}."
        ) from None
    if not loopback and not public_host:
        raise CommandError(f"HOST={host} needs PUBLIC_HOST: what browsers call this machine.")
    return host, public_host


def _refuse_busy(host: str, port: int) -> None:
    if reason := refusal(host, port):
        raise CommandError(f"Port {port} of {host} cannot be used: {reason}. Choose another PORT.")


def _for_children(chosen: Mapping[str, str]) -> dict[str, str]:
    """They find the services through DATA, as every command does, and so know that these are embedded."""
    ours = {name: value for name, value in os.environ.items() if name not in chosen}
    return ours | {"DATA": str(settings.DATA)}


def _services(host: str, chosen: Mapping[str, str]) -> tuple[Postgres, Bucket]:
    log = settings.DATA / "log"
    query = parse_qs(urlsplit(chosen["DATABASE_URL"]).query)
    postgres = Postgres(
        settings.DATA / "postgres", sockets=Path(query["host"][0]), log=log / "postgres.log"
    )
    bucket = Bucket(
        settings.DATA / "bucket",
        name=settings.S3_BUCKET,
        host=host,
        port=urlsplit(chosen["S3_ENDPOINT_URL"]).port or 80,
        credentials=(chosen["S3_ACCESS_KEY_ID"], chosen["S3_SECRET_ACCESS_KEY"]),
        origin=chosen["PUBLIC_URL"],
        log=log / "bucket.log",
    )
    return postgres, bucket


def _prepare(environment: Mapping[str, str]) -> str:
    """A sign-in link; the command says itself what went wrong."""
    result = subprocess.run(
        _manage("prepare"), env=environment, stdout=subprocess.PIPE, text=True, process_group=0
    )
    if result.returncode:
        raise NotStarted("The database or the bucket could not be prepared.")
    return result.stdout.strip()


def _manage(*arguments: str) -> list[str]:
    return [sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments]
