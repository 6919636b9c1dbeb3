"""Whatever is written while the tests run: every line of every log, and every refusal; in the end none has a secret."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.test import override_settings
from structlog.stdlib import ProcessorFormatter

from project.logging import logging_config

# What never is a secret of the service: people's own pages show links, also when a form on them is refused.
FORMS = {(409, "text/html"), (422, "text/html")}
SECRETS = re.compile(
    r"X-Amz-Signature(?:=|%3D)[0-9a-f]{8}|sbx_[0-9a-f]{8}_[\w-]{20}|(?:/|%2F)login(?:/|%2F)[\w-]{40}"
    r"|wonderland-\d|looking-glass-\d",  # the passwords of the tests
    re.IGNORECASE,
)

_refusals: list[str] = []


class Listener:
    """A middleware in front of all others."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self.get_response(request)
        kind = response.headers.get("Content-Type", "").partition(";")[0]
        is_form = (response.status_code, kind) in FORMS
        if response.status_code >= 400 and isinstance(response, HttpResponse) and not is_form:
            route = request.resolver_match.route if request.resolver_match else "nowhere"
            headers = "\n".join(f"{name}: {value}" for name, value in response.headers.items())
            _refusals.append(f"{request.method} {route}\n{headers}\n{response.content.decode()}")
        return response


@contextmanager
def listening(log: Path) -> Iterator[None]:
    """Write all that the service says to its log into this file, and keep all that it refuses."""
    options = dict(logging_config("INFO", "json")["formatters"]["structured"])
    del options["()"]
    handler = logging.FileHandler(log)
    handler.setFormatter(ProcessorFormatter(**options))
    logging.getLogger().addHandler(handler)
    listener = f"{Listener.__module__}.{Listener.__qualname__}"
    with override_settings(MIDDLEWARE=[listener, *settings.MIDDLEWARE]):
        yield
    logging.getLogger().removeHandler(handler)
    handler.close()


def secrets_in(text: str) -> list[str]:
    """What must not be there, with a little of what is around it."""
    settled = [
        settings.SECRET_KEY,
        settings.S3_SECRET_ACCESS_KEY,
        settings.S3_UPLOAD_SECRET_ACCESS_KEY,
        settings.DATABASES["default"].get("PASSWORD"),
    ]
    known = "|".join(re.escape(secret) for secret in settled if secret)
    both = re.compile(f"{SECRETS.pattern}|{known}", re.IGNORECASE)
    return [text[max(0, found.start() - 60) : found.end()] for found in both.finditer(text)]


def is_sign_in(line: str) -> bool:
    """What `make run` says to the person who started it: there is no other way in."""
    return line.startswith("Sign in") and "/login/" in line


def refusals() -> list[str]:
    return _refusals
