"""Errors outside the views: problem+json below /api/, a page elsewhere."""

import sys

from django.http import HttpRequest, HttpResponse

from media_api.exceptions import Forbidden, Internal, Malformed, NotFound, Refusal
from media_api.problems import problem_response, refusal_for
from web.views import error_page


def answer(request: HttpRequest, refusal: Refusal) -> HttpResponse:
    if request.path.startswith("/api/") and not request.path.startswith("/api/docs/"):
        return problem_response(refusal)
    return error_page(request, refusal)


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return answer(request, refusal_for(exception) if exception else Malformed())


def forbidden(
    request: HttpRequest, exception: Exception | None = None, reason: str = ""
) -> HttpResponse:
    return answer(request, Forbidden(reason))


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:
    return answer(request, NotFound())


def fault(request: HttpRequest) -> HttpResponse:
    """Called while the exception is being handled, which django_structlog has logged: a refusal that no view answered,
    or a fault of ours."""
    error = sys.exc_info()[1]
    return answer(request, refusal_for(error) if error else Internal())
