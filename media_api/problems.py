"""How a refusal becomes an answer: `application/problem+json` (RFC 9457), inside the framework and outside."""

from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

import structlog
from django.conf import settings
from django.core import exceptions as django_exceptions
from django.db import DataError, InterfaceError, OperationalError
from django.http import Http404, JsonResponse, UnreadablePostError
from django.http.multipartparser import MultiPartParserError
from rest_framework import exceptions as drf
from rest_framework.response import Response
from rest_framework.views import set_rollback

from . import exceptions
from .exceptions import FieldError, Refusal

log = structlog.get_logger(__name__)

CONTENT_TYPE = "application/problem+json"

RENAMED: list[tuple[type[BaseException], type[Refusal]]] = [
    (drf.NotAuthenticated, exceptions.Unauthenticated),
    (drf.AuthenticationFailed, exceptions.Unauthenticated),
    (drf.PermissionDenied, exceptions.Forbidden),
    (django_exceptions.PermissionDenied, exceptions.Forbidden),
    (drf.NotFound, exceptions.NotFound),
    (Http404, exceptions.NotFound),
    (drf.MethodNotAllowed, exceptions.MethodNotAllowed),
    (drf.NotAcceptable, exceptions.NotAcceptable),
    (drf.UnsupportedMediaType, exceptions.UnsupportedMediaType),
    (drf.Throttled, exceptions.RateLimited),
    (django_exceptions.RequestDataTooBig, exceptions.TooLarge),
    (drf.ParseError, exceptions.Malformed),
    (django_exceptions.SuspiciousOperation, exceptions.Malformed),
    (django_exceptions.BadRequest, exceptions.Malformed),
    (MultiPartParserError, exceptions.Malformed),
    (UnreadablePostError, exceptions.Malformed),  # the client went away in the middle of its body
    (RecursionError, exceptions.Malformed),
    (DataError, exceptions.Malformed),  # what no column can hold, such as a NUL in a session cookie
    (OperationalError, exceptions.DatabaseUnavailable),
    (InterfaceError, exceptions.DatabaseUnavailable),
]


def refusal_for(error: BaseException) -> Refusal:
    """What a client is told of any exception. A fault of ours says nothing of itself."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, drf.ValidationError):
        return exceptions.Invalid(errors=list(field_errors(error.detail)))
    for raised, refusal in RENAMED:
        if isinstance(error, raised):
            return refusal()
    return exceptions.Internal()


def field_errors(detail: Any, pointer: str = "") -> Iterator[FieldError]:
    """DRF's nested errors as a flat list with JSON pointers (RFC 6901)."""
    if isinstance(detail, dict):
        for name, nested in detail.items():
            step = "" if name == "non_field_errors" else f"/{name}"
            yield from field_errors(nested, pointer + step)
    elif isinstance(detail, list) and any(isinstance(nested, dict) for nested in detail):
        for index, nested in enumerate(detail):
            yield from field_errors(nested, f"{pointer}/{index}")
    elif isinstance(detail, list):
        for nested in detail:
            yield from field_errors(nested, pointer)
    else:
        sentence = str(detail).encode(errors="replace").decode()  # it may repeat what was sent
        yield FieldError(pointer, getattr(detail, "code", "invalid"), sentence)


def problem(refusal: Refusal) -> dict[str, Any]:
    """The body of the answer. `type` is the address of the page that explains the code."""
    body: dict[str, Any] = {
        "type": f"{settings.PUBLIC_URL}/api/docs/errors/#{refusal.code}",
        "title": HTTPStatus(refusal.status).phrase,
        "status": refusal.status,
        "detail": refusal.detail,
        "code": refusal.code,
        "request_id": structlog.contextvars.get_contextvars().get("request_id", ""),
    }
    if refusal.errors:
        body["errors"] = [error._asdict() for error in refusal.errors]
    return body


def headers_of(refusal: Refusal) -> dict[str, str]:
    return {"Retry-After": str(refusal.retry_after)} if refusal.retry_after else {}


def log_fault(refusal: Refusal, error: BaseException) -> None:
    is_ours = refusal.status >= 500 and not isinstance(refusal, exceptions.Busy)
    if is_ours:
        log.error("request_failed", code=refusal.code, exc_info=error)


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """DRF's EXCEPTION_HANDLER."""
    set_rollback()
    refusal = refusal_for(error)
    log_fault(refusal, error)
    headers = headers_of(refusal)
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = challenge
    return Response(
        problem(refusal), status=refusal.status, headers=headers, content_type=CONTENT_TYPE
    )


def problem_response(refusal: Refusal) -> JsonResponse:
    """The same outside DRF: an unknown address below /api/, or a fault in a middleware."""
    return JsonResponse(
        problem(refusal),
        status=refusal.status,
        headers=headers_of(refusal),
        content_type=CONTENT_TYPE,
    )
