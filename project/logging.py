"""Structured logs: readable on a terminal, one JSON object a line otherwise. No signature, key or token in any line."""

import re
import sys
from typing import Any

import structlog
from structlog.typing import EventDict, WrappedLogger

SECRETS = re.compile(
    r"((?<=X-Amz-Signature=)|(?<=X-Amz-Signature%3D))[0-9a-f]+"
    r"|((?<=X-Amz-Credential=)|(?<=X-Amz-Credential%3D))[^&\s'\"\\]+"
    r"|(?<=sbx_)[\w-]+"
    r"|((?<=/login/)|(?<=%2Flogin%2F))[\w-]{20,}",
    re.IGNORECASE,
)


PROBES = re.compile(r"GET /(livez|readyz|metrics)\b")


def quiet(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """One line for a request, when it is finished; none for a machine that is told that we are well."""
    if event.get("event") == "request_started":
        raise structlog.DropEvent
    if event.get("code") == 200 and PROBES.match(str(event.get("request"))):
        raise structlog.DropEvent
    return event


def redact(_logger: WrappedLogger, _method: str, line: str) -> str:
    """Signatures, API keys and sign-in tokens may stand in an address or an error text: cut them out."""
    return SECRETS.sub("[secret]", line)


def logging_config(level: str, style: str) -> dict[str, Any]:
    """Django's LOGGING: everything, the libraries included, through one structlog formatter on standard error."""
    readable = style == "text" or (style == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            quiet,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    renderer = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if readable
        else structlog.processors.JSONRenderer()
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    renderer,
                    redact,
                ],
                "foreign_pre_chain": shared,
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            "botocore": {"level": "WARNING"},
            "boto3": {"level": "WARNING"},
            "urllib3": {"level": "ERROR"},
            "procrastinate": {"level": "WARNING"},
            "django.request": {"level": "CRITICAL"},  # django_structlog says the same, structured
            "django.server": {"level": "WARNING"},
        },
    }
