from typing import Any

import structlog
from django.apps import AppConfig
from django.dispatch import receiver
from django.http import HttpRequest, HttpResponse
from django_structlog.signals import (
    bind_extra_request_finished_metadata,
    bind_extra_request_metadata,
    update_failure_response,
)


class ProjectConfig(AppConfig):
    name = "project"


@receiver([bind_extra_request_finished_metadata, update_failure_response])
def name_the_request(response: HttpResponse, **_: Any) -> None:
    """Every answer has the id that stands in the log lines of its request."""
    response["X-Request-ID"] = structlog.contextvars.get_contextvars()["request_id"]


@receiver(bind_extra_request_metadata)
def name_the_client(request: HttpRequest, **_: Any) -> None:
    """The `ip` of log lines is the address that `proxies` found. The library would believe seven headers of anybody."""
    structlog.contextvars.bind_contextvars(ip=request.META["REMOTE_ADDR"])
