"""`make run` as a whole: it starts, survives what happens to it, and leaves nothing behind."""

import os
import re
import signal
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from project import embedded
from project.embedded.addresses import answers, free_port
from tests.services import HOST
from tests.serving import READY, SIGN_IN, Service, wait_until, wait_until_gone

Serve = Callable[..., Service]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts services on one folder."""
    started: list[Service] = []
    port = free_port(HOST)

    def serve(**variables: str) -> Service:
        service = Service(tmp_path / "data", port=port, **{"WEB_WORKERS": "1", **variables})
        started.append(service)
        service.start()
        return service

    yield serve
    for service in started:
        service.kill()


@pytest.fixture
def idle(tmp_path: Path) -> Callable[..., Service]:
    """A service that is not started: for its commands."""
    return lambda **variables: Service(tmp_path / "data", port=free_port(HOST), **variables)


def get(address: str) -> httpx2.Response:
    return httpx2.get(address, trust_env=False)


def secrets_of(service: Service) -> dict[str, str]:
    remembered = embedded.environment(service.data)
    return {name: value for name, value in remembered.items() if "KEY" in name}


def test_it_starts_and_stops_and_starts_again(serve: Serve) -> None:
    first = serve()
    assert first.wait_for(READY) == f"http://localhost:{first.port}/"
    assert get(f"http://127.0.0.1:{first.port}/livez").status_code == 200
    assert get(first.wait_for(SIGN_IN)).status_code == 200
    assert (first.data / "environment.json").stat().st_mode & 0o777 == 0o600
    secrets, family = secrets_of(first), first.family()

    assert first.stop() == 0
    wait_until_gone(family)

    second = serve()
    second.wait_for(READY)
    assert secrets_of(second) == secrets
    listed = second.manage("shell", "--no-imports", "-c", COUNT_ACCOUNTS)
    assert listed.stdout.strip() == "1 admin"


COUNT_ACCOUNTS = """
from django.contrib.auth.models import User
print(User.objects.count(), User.objects.get().username)
"""


def test_it_mends_what_dies_and_nothing_outlives_it(serve: Serve) -> None:
    service = serve()
    service.wait_for(READY)

    link = service.manage("user", "somebody").stdout.strip()
    assert link.startswith(f"http://localhost:{service.port}/login/")

    again = service.manage("serve")
    assert again.returncode == 1
    assert "already running" in again.stderr

    worker = service.child("procrastinate")
    os.kill(worker, signal.SIGKILL)
    service.wait_for(r"The worker ended .* started again")
    wait_until(lambda: service.child("procrastinate") not in (0, worker), seconds=60)

    web = service.child("granian")
    os.kill(web, signal.SIGKILL)  # its workers live on and keep the port
    service.wait_for(r"The web server ended .* started again")
    wait_until(
        lambda: service.child("granian") not in (0, web) and answers(HOST, service.port), seconds=60
    )
    assert get(f"http://127.0.0.1:{service.port}/readyz").status_code == 200

    family = service.family()
    assert service.process
    os.kill(service.process.pid, signal.SIGKILL)
    service.process.wait()
    wait_until_gone(family)


def test_it_starts_after_everything_was_killed(serve: Serve) -> None:
    first = serve()
    first.wait_for(READY)
    first.kill()

    second = serve(PUBLIC_HOST="shoebox.test")
    assert second.wait_for(READY) == f"http://shoebox.test:{second.port}/"
    assert secrets_of(second) == secrets_of(first)


def test_django_is_loaded_three_times_and_the_app_once(serve: Serve) -> None:
    """To prepare, for all web processes together, and by the worker."""
    service = serve(WEB_WORKERS="2", PYTHONPROFILEIMPORTTIME="1")
    service.wait_for(READY)
    service.wait_for(r"\| +procrastinate\.worker\n")
    modules = re.findall(r"^import time:.*\| +(\S+)$", service.output.read_text(), re.MULTILINE)
    loads = Counter(modules)
    assert loads["django.db.models"] == 3
    assert loads["project.bodies"] == loads["project.health"] == 1  # with project.wsgi and urls


def test_a_busy_port_is_said(idle: Callable[..., Service]) -> None:
    service = idle()
    with socket.create_server((HOST, service.port)):
        refused = service.manage("serve")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert (
        f"Port {service.port} of 127.0.0.1 cannot be used: Address already in use" in refused.stderr
    )


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"HOST": "0.0.0.0"}, "needs PUBLIC_HOST"),
        ({"HOST": "shoebox.test"}, "HOST is an address"),
        (
            {"DATABASE_URL": "postgres://db/x", "S3_ENDPOINT_URL": "http://s3"}
            | dict.fromkeys(("SECRET_KEY", "S3_ACCESS_KEY_ID", "S3_SECRET_ACCESS_KEY"), "given")
            | dict.fromkeys(("S3_UPLOAD_ACCESS_KEY_ID", "S3_UPLOAD_SECRET_ACCESS_KEY"), "given"),
            "serve is for the embedded mode",
        ),
    ],
)
def test_what_it_cannot_do_is_said(
    idle: Callable[..., Service], variables: dict[str, str], sentence: str
) -> None:
    refused = idle(**variables).manage("serve")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert sentence in refused.stderr


def test_commands_say_what_to_start(idle: Callable[..., Service]) -> None:
    refused = idle().manage("user", "somebody")
    assert refused.returncode == 1
    assert (
        refused.stderr == "The database is not running. Start it with `make run`, then try again.\n"
    )
