"""The whole service, as `make run` starts it, for measurements that need its worker."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import django
import httpx2

from project.embedded.addresses import free_port
from tests.serving import READY, Service


@contextmanager
def running(data: Path) -> Iterator[Service]:
    """With the account `bench`. From here on this process works on its database and bucket too."""
    service = Service(data, port=free_port("127.0.0.1"))
    try:
        service.start()
        service.wait_for(READY)
        service.manage("user", "bench")
        os.environ.update(
            service.environment, DJANGO_SETTINGS_MODULE="project.settings", LOG_LEVEL="ERROR"
        )
        django.setup()
        yield service
    finally:
        service.kill()


def client(service: Service) -> httpx2.Client:
    """Of the API, for `bench`."""
    key = service.manage("apikey", "create", "bench", "--scope", "read", "--scope", "write").stdout
    return httpx2.Client(
        base_url=f"http://localhost:{service.port}/api/v1",
        headers={"Authorization": f"Bearer {key.strip()}"},
        timeout=60,
    )
